package policy

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/tailscale/hujson"

	"selvage"
)

// viaTags reads the tags of the routers that carry what a grant opens.
func (p *parser) viaTags(v *hujson.Value) []selector {
	var out []selector
	for _, t := range p.Texts(v, "via") {
		if !strings.HasPrefix(t.S, "tag:") {
			p.Errorf(t.Off, "name the tag of routers", "via=%q: not a tag", t.S)
			continue
		}
		out = append(out, p.selector(t, inSource, "via="))
	}
	return out
}

// checkVia warns of destinations that no router carries.
func (p *parser) checkVia(ru rule) {
	if len(ru.via) == 0 {
		return
	}
	for _, t := range ru.dst {
		if t.sel.kind != selAddr && t.sel.kind != selInternet && t.sel.kind != selNone {
			p.Warnf(t.sel.off, "name a network or autogroup:internet", "dst=%q: via has no meaning for it, and the grant opens nothing there", t.sel.text())
		}
	}
}

// routedOnly returns the selectors that routers can carry.
func routedOnly(sels []selector) []selector {
	return slices.DeleteFunc(slices.Clone(sels), func(s selector) bool { return s.kind != selAddr && s.kind != selInternet })
}

// isTarget reports whether the device is the destination of a rule that a selector
// names. If the rule says by which routers, the device is one of these and serves
// some of the destination; a made-up device that is nobody's is an address behind
// some router.
func (c *Compiled) isTarget(ru *rule, s selector, d Device) bool {
	switch {
	case len(ru.via) == 0 || d.User == 0 && len(d.Tags) == 0:
		return c.matches(s, d)
	case s.kind != selAddr && s.kind != selInternet:
		return false
	}
	return c.anyMatches(ru.via, d) && c.matches(s, Device{Routes: d.Routes})
}

// HasVia reports whether some rule says by which routers it is carried. If none does,
// every device uses the primary router of a route.
func (c *Compiled) HasVia() bool {
	return slices.ContainsFunc(c.rules, func(ru compiledRule) bool { return ru.viaSet >= 0 })
}

// Carrier returns which of the routers carries a route for devices of the class
// viewer: an index into routers, or -1 if none does. routers are the classes of
// those that serve the route at the moment, in the order in which they are preferred
// for everybody; the first is the primary. Only a viewer that has the route by
// grants with via alone may get another than the first.
//
// A device that serves the route as well takes it from the first of routers, if the
// two see each other, whatever this says.
func (c *Compiled) Carrier(viewer Class, r netip.Prefix, routers []Class) int {
	k, rb := c.class(viewer), c.routeBits(r)
	if len(routers) == 0 {
		return -1
	}
	if k.dst.meets(rb.src) {
		return 0
	}
	best := -1
	for i := range k.src.all() {
		if !rb.dst.has(i) {
			continue
		}
		if c.rules[i].viaSet < 0 {
			return 0
		}
		at := slices.IndexFunc(routers, func(id Class) bool { return c.class(id).dst.has(i) })
		if at >= 0 && (best < 0 || at < best) {
			best = at
		}
	}
	return best
}

// ExitVia reports whether devices of the class viewer may use those of the class
// exit as exit nodes. Each may be offered, since people choose.
func (c *Compiled) ExitVia(viewer, exit Class) bool {
	for _, r := range selvage.ExitRoutes() {
		if c.Carrier(viewer, r, []Class{exit}) == 0 {
			return true
		}
	}
	return false
}
