package netmap

import (
	"context"
	"fmt"
	"net/netip"

	"tailscale.com/types/key"

	"selvage"
)

// TickForTest does what the clock asks for, now.
func TickForTest(ctx context.Context, n *Net) { n.tick(ctx) }

// OfflineForTest ends the grace of a node without a session, now.
func OfflineForTest(n *Net, id selvage.NodeID) {
	n.watchers.mu.Lock()
	w := n.watchers.left[id]
	n.watchers.mu.Unlock()
	if w != nil {
		n.offline(w)
	}
}

// ExpireGraceForTest does what the timer of a closed session does.
func ExpireGraceForTest(w *Watch) { w.net.offline(w) }

// FollowForTest takes in what other servers have changed, now.
func FollowForTest(ctx context.Context, h *Hub) error { return h.follow(ctx) }

// PartForTest does what Run does when it ends.
func PartForTest(ctx context.Context, h *Hub) error { return h.last(ctx) }

// FailSaveForTest saves soft state in vain; meanwhile is called while it is under way.
func FailSaveForTest(n *Net, meanwhile func()) {
	batch := n.takeUnsaved()
	meanwhile()
	n.putBack(batch)
}

// CheckForTest compares all that is kept beside the view with the view.
func CheckForTest(n *Net) error {
	n.turn <- struct{}{}
	defer n.endTurn()
	n.mu.Lock()
	defer n.mu.Unlock()
	names, machines, taken := map[string]selvage.NodeID{}, map[key.MachinePublic][]selvage.NodeID{}, map[netip.Addr]struct{}{}
	candidates := map[netip.Prefix]map[selvage.NodeID]bool{}
	count := 0
	for rec := range n.View().Nodes() {
		count++
		names[rec.Name] = rec.ID
		machines[rec.Machine] = append(machines[rec.Machine], rec.ID)
		taken[rec.IPv4], taken[rec.IPv6] = struct{}{}, struct{}{}
		for _, r := range rec.Routes {
			if selvage.IsExitRoute(r) {
				continue
			}
			if candidates[r] == nil {
				candidates[r] = map[selvage.NodeID]bool{}
			}
			candidates[r][rec.ID] = rec.healthy()
		}
		n.hub.mu.RLock()
		ref := n.hub.byKey[rec.Key]
		n.hub.mu.RUnlock()
		if ref != (keyRef{n, rec.ID}) {
			return fmt.Errorf("the key of node %d leads to %v", rec.ID, ref.node)
		}
		if got := n.View().Policy.Class(rec.Device()); got != rec.Class {
			return fmt.Errorf("node %d has class %d, want %d", rec.ID, rec.Class, got)
		}
	}
	for r, ids := range candidates {
		if p := n.routes.primary[r]; !ids[p] && n.routes.anyHealthy(r) {
			return fmt.Errorf("route %v is served by node %d, which is not healthy; others are", r, p)
		}
	}
	keys := 0
	n.hub.mu.RLock()
	for _, ref := range n.hub.byKey {
		keys += one(ref.net == n)
	}
	n.hub.mu.RUnlock()
	switch {
	case fmt.Sprint(names) != fmt.Sprint(n.finds.byName):
		return fmt.Errorf("names %v, want %v", n.finds.byName, names)
	case fmt.Sprint(machines) != fmt.Sprint(n.finds.byMachine):
		return fmt.Errorf("machines %v, want %v", n.finds.byMachine, machines)
	case fmt.Sprint(taken) != fmt.Sprint(n.finds.addresses.taken):
		return fmt.Errorf("addresses %v, want %v", n.finds.addresses.taken, taken)
	case fmt.Sprint(candidates) != fmt.Sprint(n.routes.candidates):
		return fmt.Errorf("candidates %v, want %v", n.routes.candidates, candidates)
	case keys != count:
		return fmt.Errorf("%d node keys for %d nodes", keys, count)
	}
	return n.watchers.check(n.View())
}

func (el *election) anyHealthy(r netip.Prefix) bool {
	for _, healthy := range el.candidates[r] {
		if healthy {
			return true
		}
	}
	return false
}

func (ws *watchers) check(v *View) error {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	placed := 0
	for c, all := range ws.byClass {
		for i, w := range all {
			placed++
			if w.class != c || w.place != i || ws.byNode[w.node] != w {
				return fmt.Errorf("the session of node %d is out of place", w.node)
			}
			if rec := v.Node(w.node); rec != nil && rec.Class != c {
				return fmt.Errorf("the session of node %d is in class %d, want %d", w.node, c, rec.Class)
			}
		}
	}
	if placed != len(ws.byNode) {
		return fmt.Errorf("%d sessions have a class, of %d", placed, len(ws.byNode))
	}
	return nil
}
