package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
	"tailscale.com/tailcfg"

	"selvage/internal/policy/posture"
	"selvage/internal/policy/source"
)

// postureDef is a named list of conditions that hold together.
type postureDef struct {
	name  string
	conds []posture.Condition
}

func (p *parser) readPostures(v *hujson.Value) {
	if v == nil {
		return
	}
	ms := p.Members(v, "postures")
	if len(ms) > maxPostures {
		p.Errorf(v.StartOffset, "", "%d postures; at most %d are allowed", len(ms), maxPostures)
		return
	}
	for _, m := range ms {
		what := fmt.Sprintf("postures[%q]", source.Clip(m.Name.S))
		if !strings.HasPrefix(m.Name.S, "posture:") || m.Name.S == "posture:" || len(m.Name.S) > source.MaxName {
			p.Errorf(m.Name.Off, fmt.Sprintf("write %q", "posture:"+source.Clip(m.Name.S)), "%s: posture names must start with 'posture:'", what)
			continue
		}
		def := &postureDef{name: m.Name.S}
		for _, t := range p.Texts(m.Val, what) {
			cond, err := posture.Parse(t.S)
			if err != nil {
				p.Errorf(t.Off, `conditions are like "node:os == 'linux'"`, "%s: %q: %v", what, source.Clip(t.S), err)
				continue
			}
			p.checkAttribute(cond.Attr(), t.Off, what)
			def.conds = append(def.conds, cond)
		}
		if len(def.conds) == 0 {
			p.Warnf(m.Name.Off, "add a condition", "%s: a posture without conditions holds for no device", what)
		}
		p.postures[def.name] = def
		p.postureNames = append(p.postureNames, def.name)
	}
	slices.Sort(p.postureNames)
}

// checkAttribute warns of attributes that this server does not know.
func (p *parser) checkAttribute(name string, off int, what string) {
	if strings.HasPrefix(name, "node:") && !slices.Contains(posture.Known(), name) {
		p.Warnf(off, p.suggest(name, posture.Known(), ""), "%s: %q is not an attribute that this server sets", what, name)
	}
}

// postureRefs reads srcPosture, or takes the default if there is none.
func (p *parser) postureRefs(v *hujson.Value, what string) []*postureDef {
	var out []*postureDef
	for _, t := range p.Texts(v, what) {
		def := p.postures[t.S]
		if def == nil {
			p.Errorf(t.Off, p.suggest(t.S, p.postureNames, "postures"), "%s=posture not found: %q", what, t.S)
			continue
		}
		out = append(out, def)
		if p.postureWork += len(def.conds); p.postureWork > maxPostureWork {
			p.Errorf(t.Off, "use fewer or smaller postures", "rules and postures together are too large to decide")
			return nil
		}
	}
	if len(out) == 0 {
		return p.defaultPosture
	}
	return out
}

// holds reports whether one of the postures holds for a device.
func holds(defs []*postureDef, attrs posture.Attrs) bool {
	return slices.ContainsFunc(defs, func(def *postureDef) bool {
		return len(def.conds) > 0 && !slices.ContainsFunc(def.conds, func(c posture.Condition) bool { return !c.Holds(attrs) })
	})
}

func postureNames(defs []*postureDef) []string {
	out := make([]string, len(defs))
	for i, def := range defs {
		out[i] = def.name
	}
	return out
}

// passing removes from both the sets that ask for a posture, and returns those that
// the device matches in spite of it. Matched is by identity and address: what lies
// behind a router has no posture.
func (c *Compiled) passing(d Device, ident, matched bitset) bitset {
	if c.postured == nil {
		return nil
	}
	passed := newBitset(len(c.sets))
	known := make(map[int]bool, 1)
	for i := range matched.all() {
		if !c.postured.has(i) {
			continue
		}
		list := c.sets[i].posture
		ok, seen := known[list]
		if !seen {
			ok = holds(c.postureLists[list], d.Attrs)
			known[list] = ok
		}
		if ok {
			passed.set(i)
		}
	}
	ident.without(c.postured)
	return passed
}

// isSource reports whether the device is one of the sources of a rule.
func (c *Compiled) isSource(src []selector, defs []*postureDef, d Device) bool {
	if len(defs) == 0 {
		return c.anyMatches(src, d)
	}
	d.Routes = nil
	return c.anyMatches(src, d) && holds(defs, d.Attrs)
}

// Reported returns the posture attributes that follow from what a device says of itself,
// for [Device.Attrs], or nil if it has said nothing.
func Reported(h *tailcfg.Hostinfo) map[string]any { return posture.Reported(h) }

// Postures returns the names of the postures that hold for the device, sorted.
func (c *Compiled) Postures(d Device) []string {
	var out []string
	for _, def := range c.pol.postures {
		if holds([]*postureDef{def}, d.Attrs) {
			out = append(out, def.name)
		}
	}
	slices.Sort(out)
	return out
}
