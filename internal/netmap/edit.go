package netmap

import (
	"maps"
	"slices"
	"time"

	"selvage"
	"selvage/internal/policy"
)

// edit is a new view in the making. It lives under Net.mu.
type edit struct {
	n   *Net
	old *View
	v   *View
	// dirty are the nodes that changed; one may be in it more than once.
	dirty []selvage.NodeID
	// wide is set when something changed that any session may have to tell.
	wide bool
	// quiet is set when something changed that is no session's business.
	quiet bool
}

// edit starts a new view as a copy of the newest.
func (n *Net) edit() *edit {
	old := n.View()
	return &edit{n: n, old: old, v: &View{
		Seq: old.Seq + 1, Tailnet: old.Tailnet, Policy: old.Policy,
		nodes: old.nodes, users: old.users, keys: old.keys, members: old.members,
		count: old.count, compact: old.compact, routesSeq: old.routesSeq, superseded: make(chan struct{}),
	}}
}

// put sets the state of a node. rec is new and not yet shared; what follows from
// its facts is worked out here.
func (e *edit) put(rec *Node) {
	old := e.v.Node(rec.ID)
	rec.derive(old, e.v.Policy)
	e.set(rec)
	if old == nil {
		e.v.count++
	}
	if old == nil || old.Class != rec.Class || old.takesPart() != rec.takesPart() {
		if old != nil {
			e.membership(old.Class)
		}
		e.membership(rec.Class)
	}
	if old == nil && len(rec.Routes) > 0 || old != nil && !slices.Equal(old.Routes, rec.Routes) {
		e.v.routesSeq = e.v.Seq
	}
	for _, id := range e.n.routes.update(old, rec) {
		e.elect(id)
	}
	e.n.dueBy(e.n.deadline(rec, e.v.Tailnet.Settings.EphemeralTimeout))
}

// derive works out what follows from the node's facts, given its last state.
func (n *Node) derive(old *Node, p *Policy) {
	if old != nil && old.Node == n.Node && old.Soft.Hostinfo == n.Soft.Hostinfo {
		n.Routes, n.Class, n.onlyV6, n.shown = old.Routes, old.Class, old.onlyV6, old.shown
		return
	}
	n.Routes = approvedRoutes(n)
	n.shown = PeerHostinfo(n.Soft.Hostinfo)
	if old != nil && sameShown(old.shown, n.shown) {
		n.shown = old.shown // so that comparing states is comparing pointers
	}
	if old != nil && old.Node == n.Node && slices.Equal(old.Routes, n.Routes) && sameAttrs(old, n) {
		n.Class, n.onlyV6 = old.Class, old.onlyV6
		return
	}
	n.judge(p)
}

// sameAttrs reports whether two states of a node have the same posture.
func sameAttrs(a, b *Node) bool {
	return a.Soft.Hostinfo == b.Soft.Hostinfo || maps.Equal(policy.Reported(a.Soft.Hostinfo), policy.Reported(b.Soft.Hostinfo))
}

func (e *edit) set(rec *Node) {
	e.v.nodes = e.v.nodes.set(uint64(rec.ID), rec)
	e.dirty = append(e.dirty, rec.ID)
}

// elect writes the outcome of an election into the node's record.
func (e *edit) elect(id selvage.NodeID) {
	cur := e.v.Node(id)
	if cur == nil {
		return
	}
	won := e.n.routes.wonBy(cur)
	if slices.Equal(cur.Primary, won) && !e.v.Policy.hasVia {
		return
	}
	rec := *cur
	rec.Primary, rec.turn = won, e.v.Seq
	e.set(&rec)
}

// remove takes a node out.
func (e *edit) remove(old *Node) {
	e.v.nodes = e.v.nodes.set(uint64(old.ID), nil)
	e.v.count--
	e.dirty = append(e.dirty, old.ID)
	e.membership(old.Class)
	if len(old.Routes) > 0 {
		e.v.routesSeq = e.v.Seq
	}
	for _, id := range e.n.routes.update(old, nil) {
		e.elect(id)
	}
	delete(e.n.unsaved, old.ID)
}

// membership notes that the members of a class changed.
func (e *edit) membership(c policy.Class) {
	e.v.members = e.v.members.set(uint64(c), e.v.Seq)
}

// reclass puts a policy in force. classed is what the nodes of an earlier view are
// under it; of those that changed since, the classes are worked out anew.
func (e *edit) reclass(p *Policy, before, classed trie[*Node]) {
	differing(before, e.v.nodes, func(i uint64, _, cur *Node) bool {
		if cur != nil {
			cur = p.classed(cur)
		}
		classed = classed.set(i, cur)
		return true
	})
	e.v.nodes, e.v.Policy, e.wide = classed, p, true
	e.v.members = trie[uint64]{} // classes belong to a policy
}

// classed returns a copy of the node with its class under the policy.
func (p *Policy) classed(cur *Node) *Node {
	rec := *cur
	rec.judge(p)
	return &rec
}

// publish makes the edit the newest view and wakes the sessions that it concerns.
func (e *edit) publish() {
	if len(e.dirty) == 0 && !e.wide && !e.quiet {
		return
	}
	if compact := e.n.hub.compactAt(e.v.count, e.old.compact); compact != e.v.compact {
		e.v.compact, e.wide = compact, true
	}
	e.v.Published = e.n.hub.now()
	slices.Sort(e.dirty)
	e.dirty = slices.Compact(e.dirty)
	e.n.view.Store(e.v)
	close(e.old.superseded)
	e.n.watchers.notify(e)
}

// dueBy makes tick look at the nodes at the given time, if not sooner.
func (n *Net) dueBy(at time.Time) {
	if !at.IsZero() && at.Before(n.due) {
		n.due = at
	}
}
