package netmap

import (
	"net/netip"
	"slices"

	"selvage"
	"selvage/internal/policy"
)

// RoutesFor returns those routes that viewer may send into through peer: subnet
// routes that peer carries for it now, and exit routes.
func (v *View) RoutesFor(viewer, peer *Node) []netip.Prefix {
	var routes []netip.Prefix
	for _, r := range peer.Routes {
		if v.carries(viewer, peer, r) {
			routes = append(routes, r)
		}
	}
	return routes
}

// carries reports whether peer is the router of a route for viewer. It is the one that
// serves the route for everybody, unless the policy gives the route to viewer by way of
// others only. Exit nodes each carry their own.
func (v *View) carries(viewer, peer *Node, r netip.Prefix) bool {
	exit := selvage.IsExitRoute(r)
	switch {
	case !v.Policy.hasVia:
		return (exit || slices.Contains(peer.Primary, r)) && v.Policy.UsesRoute(viewer.Class, r)
	case exit:
		return v.Policy.ExitVia(viewer.Class, peer.Class)
	}
	routers := v.serving(r)
	if slices.Contains(viewer.Routes, r) { // it stands by for the route
		return len(routers) > 0 && routers[0].ID == peer.ID
	}
	classes := make([]policy.Class, len(routers))
	for i, n := range routers {
		classes[i] = n.Class
	}
	at := v.Policy.Carrier(viewer.Class, r, classes)
	return at >= 0 && routers[at].ID == peer.ID
}

// serving returns the nodes that serve a subnet route at the moment: first the one that
// does it for everybody, then those that could, by ID.
func (v *View) serving(r netip.Prefix) []*Node {
	v.serversOnce.Do(func() {
		v.servers = map[netip.Prefix][]*Node{}
		for n := range v.nodes.all {
			for _, r := range n.Routes {
				switch {
				case selvage.IsExitRoute(r):
				case slices.Contains(n.Primary, r):
					v.servers[r] = slices.Insert(v.servers[r], 0, n)
				case n.healthy():
					v.servers[r] = append(v.servers[r], n)
				}
			}
		}
	})
	return v.servers[r]
}
