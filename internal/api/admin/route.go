package admin

import (
	"cmp"
	"net/netip"
	"slices"

	"selvage"
	"selvage/internal/authz"
	"selvage/internal/netmap"
)

// maxRoutes is how many routes a request may name.
const maxRoutes = 1000

// routesOf returns the routes that a device advertises or is approved to serve.
func routesOf(n *netmap.Node) []Route {
	advertised := n.Soft.Advertised()
	all := append(slices.Clone(advertised), n.ApprovedRoutes...)
	slices.SortFunc(all, netip.Prefix.Compare)
	var list []Route
	for _, p := range slices.Compact(all) {
		j := Route{
			Route: p, Node: n.Name, NodeID: n.ID, Online: n.Online, Exit: selvage.IsExitRoute(p),
			Advertised: slices.Contains(advertised, p), Approved: slices.Contains(n.ApprovedRoutes, p),
		}
		j.Primary = slices.Contains(n.Primary, p) || j.Exit && j.Advertised && j.Approved && j.Online
		list = append(list, j)
	}
	return list
}

func listRoutes(r *request) (any, error) {
	net, err := r.net(authz.RouteRead)
	if err != nil {
		return nil, err
	}
	list := []Route{}
	for n := range net.View().Nodes() {
		list = append(list, routesOf(n)...)
	}
	slices.SortFunc(list, func(a, b Route) int {
		return cmp.Or(a.Route.Compare(b.Route), cmp.Compare(a.NodeID, b.NodeID))
	})
	return list, nil
}

func approveRoutes(r *request) (any, error) {
	return changeRoutes(r, func(approved, routes []netip.Prefix) []netip.Prefix { return append(approved, routes...) })
}

func withdrawRoutes(r *request) (any, error) {
	return changeRoutes(r, func(approved, routes []netip.Prefix) []netip.Prefix {
		return slices.DeleteFunc(approved, func(p netip.Prefix) bool { return slices.Contains(routes, p) })
	})
}

func changeRoutes(r *request, change func(approved, routes []netip.Prefix) []netip.Prefix) (any, error) {
	net, n, err := r.node(authz.RouteWrite)
	if err != nil {
		return nil, err
	}
	b, err := body[RouteChange](r)
	if err != nil {
		return nil, err
	}
	routes, err := completed(b.Routes)
	if err != nil {
		return nil, err
	}
	r.s.routeMu.Lock()
	defer r.s.routeMu.Unlock()
	// From the newest state, not that of the look-up.
	n = net.View().Node(n.ID)
	if n == nil {
		return nil, selvage.Errorf(selvage.KindNotFound, "the device is no longer there")
	}
	approved := change(slices.Clone(n.ApprovedRoutes), routes)
	if err := net.SetApprovedRoutes(r.Context(), r.actor, n.ID, approved); err != nil {
		return nil, err
	}
	return current(net, n.ID)
}

// completed checks the routes of a request. Clients take an exit node only with both
// default routes, so one stands for both.
func completed(routes []netip.Prefix) ([]netip.Prefix, error) {
	if len(routes) == 0 || len(routes) > maxRoutes {
		return nil, selvage.Errorf(selvage.KindInvalid, "%d routes: want 1 to %d", len(routes), maxRoutes)
	}
	for _, p := range routes {
		if !p.IsValid() {
			return nil, selvage.Errorf(selvage.KindInvalid, "an empty route: want a prefix such as 192.0.2.0/24")
		}
	}
	if slices.ContainsFunc(routes, selvage.IsExitRoute) {
		routes = append(slices.Clone(routes), selvage.ExitRoutes()...)
	}
	return routes, nil
}
