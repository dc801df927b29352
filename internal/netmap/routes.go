package netmap

import (
	"maps"
	"net/netip"
	"slices"

	"selvage"
)

// election decides which of several routers of one subnet route serves it. The one
// that serves keeps it while it is healthy, so that a router which comes back does
// not break connections again. It lives under Net.mu.
type election struct {
	candidates map[netip.Prefix]map[selvage.NodeID]bool // healthy?
	primary    map[netip.Prefix]selvage.NodeID
}

func newElection() election {
	return election{
		candidates: map[netip.Prefix]map[selvage.NodeID]bool{},
		primary:    map[netip.Prefix]selvage.NodeID{},
	}
}

// update takes in a node's change and returns the nodes that won or lost a route, and
// those whose part in a route may differ for some viewers.
func (el *election) update(old, now *Node) []selvage.NodeID {
	var affected []selvage.NodeID
	if old != nil {
		for _, r := range old.Routes {
			if now == nil || !slices.Contains(now.Routes, r) {
				delete(el.candidates[r], old.ID)
				affected = append(affected, el.elect(r)...)
				affected = append(affected, el.offering(r)...)
			}
		}
	}
	if now == nil {
		return affected
	}
	for _, r := range now.Routes {
		if selvage.IsExitRoute(r) {
			continue // every exit node serves
		}
		if el.candidates[r] == nil {
			el.candidates[r] = map[selvage.NodeID]bool{}
		}
		was, known := el.candidates[r][now.ID]
		if known && was == now.healthy() && (old == nil || old.Class == now.Class) {
			continue
		}
		el.candidates[r][now.ID] = now.healthy()
		affected = append(affected, el.elect(r)...)
		affected = append(affected, el.offering(r)...)
	}
	return affected
}

// offering returns the candidates for a route.
func (el *election) offering(r netip.Prefix) []selvage.NodeID {
	return slices.Sorted(maps.Keys(el.candidates[r]))
}

// elect chooses who serves r: who serves it now if healthy, else the healthy
// candidate with the lowest ID. With nobody healthy the route stays where it is, so
// that it is there again when its router is.
func (el *election) elect(r netip.Prefix) []selvage.NodeID {
	cur, had := el.primary[r]
	best, found := el.best(r)
	if !found {
		delete(el.candidates, r)
		delete(el.primary, r)
		if had {
			return []selvage.NodeID{cur}
		}
		return nil
	}
	healthy, still := el.candidates[r][cur]
	if had && still && (healthy || !el.candidates[r][best]) {
		return nil
	}
	el.primary[r] = best
	if had {
		return []selvage.NodeID{cur, best}
	}
	return []selvage.NodeID{best}
}

func (el *election) best(r netip.Prefix) (best selvage.NodeID, found bool) {
	var bestHealthy bool
	for id, healthy := range el.candidates[r] {
		if !found || healthy && !bestHealthy || healthy == bestHealthy && id < best {
			best, bestHealthy, found = id, healthy, true
		}
	}
	return best, found
}

// wonBy returns the routes that the node serves, sorted.
func (el *election) wonBy(n *Node) []netip.Prefix {
	var won []netip.Prefix
	for _, r := range n.Routes { // sorted
		if winner, ok := el.primary[r]; ok && winner == n.ID {
			won = append(won, r)
		}
	}
	return won
}

// contested returns the nodes that offer a route which another one offers too; those
// are worth probing.
func (el *election) contested() []selvage.NodeID {
	var ids []selvage.NodeID
	for _, c := range el.candidates {
		if len(c) < 2 {
			continue
		}
		for id := range c {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Contested returns the nodes that share a subnet route with another node, so that
// it matters whether they really answer.
func (n *Net) Contested() []selvage.NodeID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.routes.contested()
}

// approvedRoutes returns the routes that are both advertised and approved, sorted.
func approvedRoutes(rec *Node) []netip.Prefix {
	if len(rec.ApprovedRoutes) == 0 {
		return nil
	}
	var routes []netip.Prefix
	for _, r := range rec.Soft.Advertised() {
		if _, ok := slices.BinarySearchFunc(rec.ApprovedRoutes, r, netip.Prefix.Compare); ok {
			routes = append(routes, r)
		}
	}
	return routes
}

// viaPrefix is the range of 4via6 routes, inside the default IPv6 range.
var viaPrefix = netip.MustParsePrefix("fd7a:115c:a1e0:b1a::/64")

// checkRoute says why no node may serve the route, if so. Exit routes are fine.
func checkRoute(s *selvage.Settings, r netip.Prefix) error {
	switch {
	case !r.IsValid():
		return selvage.Errorf(selvage.KindInvalid, "bad route: want a prefix such as 10.0.0.0/8")
	case r != r.Masked():
		return selvage.Errorf(selvage.KindInvalid, "bad route %v: it has bits set after the prefix; did you mean %v?", r, r.Masked())
	case selvage.IsExitRoute(r):
		return nil
	case r.Overlaps(s.IPv4), r.Overlaps(s.IPv6) && !within(viaPrefix, r):
		return selvage.Errorf(selvage.KindInvalid, "route %v overlaps the tailnet's own addresses %v and %v", r, s.IPv4, s.IPv6)
	}
	return nil
}

// within reports whether r is outer or a part of it.
func within(outer, r netip.Prefix) bool {
	return outer.Bits() <= r.Bits() && outer.Contains(r.Addr())
}
