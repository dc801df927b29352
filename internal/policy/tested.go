package policy

import (
	"maps"
	"slices"
	"strings"
)

// Place is a name in the text and where it is.
type Place struct {
	Name      string
	Line, Col int
}

// OwnerlessTags returns the tags that nobody but administrators may give, sorted.
func (pol *Policy) OwnerlessTags() []Place {
	var out []Place
	for _, tag := range slices.Sorted(maps.Keys(pol.owners)) {
		if len(pol.owners[tag]) == 0 {
			p := Place{Name: tag}
			p.Line, p.Col = pol.src.At(pol.tagOffs[tag])
			out = append(out, p)
		}
	}
	return out
}

// InGroup reports whether a login is listed in a group ("group:name").
func (pol *Policy) InGroup(name, login string) bool {
	g := pol.groups[name]
	return g != nil && slices.Contains(g.logins, strings.ToLower(login))
}

// EmptyGroup reports whether the group ("group:name") has no members.
func (pol *Policy) EmptyGroup(name string) bool {
	g := pol.groups[name]
	return g != nil && len(g.logins) == 0
}

// Tested returns the rules that the policy's tests have something to do with, as
// indices into Rules: those that apply to what a test must or must not reach. It is
// empty if there are no tests.
func (pol *Policy) Tested() map[int]bool {
	out := make(map[int]bool)
	if len(pol.tests) == 0 {
		return out
	}
	c := pol.Compile(pol.everybody(nil))
	work := 0
	for _, t := range pol.tests {
		for _, src := range c.examples(t.src) {
			src.Attrs = t.attrs
			for _, target := range slices.Concat(t.accept, t.deny) {
				if work += len(pol.rules); work > maxTestWork {
					return out
				}
				c.markTested(out, src, target)
			}
		}
	}
	return out
}

func (c *Compiled) markTested(out map[int]bool, src Device, claim testTarget) {
	for i := range c.pol.rules {
		ru := &c.pol.rules[i]
		if out[i] || !c.isSource(ru.src, ru.posture, src) {
			continue
		}
		for _, dst := range c.destinations(claim.sel, src) {
			if slices.ContainsFunc(ru.dst, func(t target) bool { return c.reachesRule(ru, t.sel, src, dst) }) {
				out[i] = true
				break
			}
		}
	}
}
