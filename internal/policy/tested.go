package policy

import (
	"maps"
	"slices"
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

// Members returns the logins of a group ("group:name"), in lower case, and whether
// there is such a group.
func (pol *Policy) Members(group string) (logins []string, ok bool) {
	g, ok := pol.groups[group]
	if !ok {
		return nil, false
	}
	return slices.Clone(g.logins), true
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
		work += len(c.people)
		for _, src := range c.examples(t.src) {
			src.Attrs = t.attrs
			for _, claim := range slices.Concat(t.accept, t.deny) {
				if work += len(c.people) + len(pol.rules); work > maxTestWork {
					return out
				}
				c.markTested(out, src, c.destinations(claim.sel, src))
			}
		}
	}
	return out
}

func (c *Compiled) markTested(out map[int]bool, src Device, dsts []Device) {
	for i := range c.pol.rules {
		ru := &c.pol.rules[i]
		if out[i] || !c.isSource(ru.src, ru.posture, src) {
			continue
		}
		out[i] = slices.ContainsFunc(dsts, func(dst Device) bool {
			return slices.ContainsFunc(ru.dst, func(t target) bool { return c.reachesRule(ru, t.sel, src, dst) })
		})
	}
}
