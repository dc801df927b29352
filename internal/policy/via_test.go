package policy

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestCarriersAreThoseOfGrants checks who carries a route for whom: with a grant
// without via the primary, else the first router that has a tag of via.
func TestCarriersAreThoseOfGrants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, w := drawWorld(t)
		for i, a := range w.devices {
			for _, r := range naiveRoutes {
				routers := w.routersOf(r)
				want := -1
				switch {
				case len(routers) == 0:
				case n.without(false).usesRoute(a, r), n.hearsRoute(a, r):
					want = 0
				default:
					want = slices.IndexFunc(routers, func(j int) bool { return n.without(true).carries(a, w.devices[j], r) })
				}
				got := w.c.Carrier(w.classes[i], r, w.classesOf(routers))
				if got != want {
					t.Fatalf("%v for %+v: got router %d, want %d of %v\n%s", r, a, got, want, routers, n.text())
				}
				if got >= 0 && !w.c.UsesRoute(w.classes[i], r) {
					t.Fatalf("%+v does not use %v, which %d carries\n%s", a, r, got, n.text())
				}
				if got >= 0 && i != routers[got] && !w.c.Sees(w.classes[i], w.classes[routers[got]]) {
					t.Fatalf("%+v has %v of a device that it does not see\n%s", a, r, n.text())
				}
			}
		}
	})
}

// without returns the policy with the grants that have via, or that have not.
func (n *naivePolicy) without(via bool) *naivePolicy {
	m := *n
	m.Grants = slices.DeleteFunc(slices.Clone(n.Grants), func(g naiveGrant) bool { return (len(g.Via) > 0) != via })
	return &m
}

// carries reports whether a grant with via lets the device send into the route by
// way of the router.
func (n *naivePolicy) carries(a, router Device, r netip.Prefix) bool {
	served := Device{Routes: []netip.Prefix{r}}
	return slices.ContainsFunc(n.Grants, func(g naiveGrant) bool {
		return n.from(g, a) && n.isAny(g.Via, router) && slices.ContainsFunc(g.Dst, func(s string) bool {
			return (n.isLiteral(s) || s == "autogroup:internet") && n.is(s, served)
		})
	})
}
