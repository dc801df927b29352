package netmap

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"selvage"
	"selvage/internal/policy"
	"selvage/internal/store"
)

// Net is one tailnet: its model and the one writer's lock. It is safe for
// concurrent use.
type Net struct {
	id   selvage.TailnetID
	hub  *Hub
	view atomic.Pointer[View]
	ring ring

	watchers watchers

	slotMu sync.RWMutex
	// guards the following field
	slots map[selvage.NodeID]int

	mu sync.Mutex
	// is the writer's lock and guards the following fields
	nextSlot  int
	freed     []freedSlot // slots of deleted nodes, oldest first
	routes    election
	addresses pool
	unsaved   map[selvage.NodeID]*selvage.Soft
}

// freedSlot may be used again once no session can still know its last node.
type freedSlot struct {
	slot int
	seq  uint64
}

func newNet(h *Hub, id selvage.TailnetID) *Net {
	return &Net{
		id: id, hub: h,
		watchers: watchers{
			byNode:  map[selvage.NodeID]*Watch{},
			byClass: map[policy.Class]map[*Watch]struct{}{},
		},
		slots:     map[selvage.NodeID]int{},
		routes:    newElection(),
		addresses: pool{taken: map[netip.Addr]struct{}{}},
		unsaved:   map[selvage.NodeID]*selvage.Soft{},
	}
}

// ID returns the tailnet's ID.
func (n *Net) ID() selvage.TailnetID { return n.id }

// View returns the newest view.
func (n *Net) View() *View { return n.view.Load() }

func (n *Net) slotOf(id selvage.NodeID) (int, bool) {
	n.slotMu.RLock()
	defer n.slotMu.RUnlock()
	slot, ok := n.slots[id]
	return slot, ok
}

// Update changes configuration. decide says what to change by the methods of Tx; it
// may be called again if the database asks for it, so it must have no effect but
// through tx. If decide or the database fails, nothing has changed. When Update
// returns nil, the change is stored, in the journal, and in the newest view.
func (n *Net) Update(ctx context.Context, actor selvage.Actor, decide func(tx *Tx) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var tx *Tx
	err := n.hub.db.Tx(ctx, func(stx *store.Tx) error {
		// The lock comes before anything is read or decided.
		if _, err := stx.LockTailnet(n.id); err != nil {
			return err
		}
		tx = newTx(n, stx, actor)
		if err := decide(tx); err != nil {
			return err
		}
		return tx.write()
	})
	if err != nil {
		return err
	}
	n.apply(tx)
	return nil
}

// edit is a change of the view under way. It lives under Net.mu.
type edit struct {
	n     *Net
	old   *View
	v     *View
	dirty []int32
	// wide is set when something changed that any session may have to tell.
	wide bool
	// ownMembers is set once v.members is no longer the old view's.
	ownMembers bool
}

// edit starts a new view as a copy of the newest.
func (n *Net) edit() *edit {
	old := n.view.Load()
	return &edit{n: n, old: old, v: &View{
		Seq: old.Seq + 1, Tailnet: old.Tailnet, Policy: old.Policy, net: n,
		nodes: old.nodes, users: old.users, keys: old.keys, members: old.members,
		routesSeq: old.routesSeq, superseded: make(chan struct{}),
	}}
}

// put sets the state of a node. rec is new and not yet shared; what follows from
// its facts is worked out here.
func (e *edit) put(rec *Node) {
	old := e.v.nodes.at(rec.slot)
	if old != nil && old.ID != rec.ID {
		old = nil
	}
	rec.Routes = approvedRoutes(rec)
	rec.Class = e.v.Policy.Class(rec.Device())
	e.v.nodes = e.v.nodes.set(rec.slot, rec)
	e.dirty = append(e.dirty, int32(rec.slot))
	if old == nil || old.Class != rec.Class || old.IPv4 != rec.IPv4 || old.takesPart() != rec.takesPart() {
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
}

// elect writes the outcome of an election into the node's record.
func (e *edit) elect(id selvage.NodeID) {
	slot, ok := e.n.slotOf(id)
	if !ok {
		return
	}
	cur := e.v.nodes.at(slot)
	if cur == nil || cur.ID != id {
		return
	}
	won := e.n.routes.wonBy(id)
	if slices.Equal(cur.Primary, won) {
		return
	}
	rec := *cur
	rec.Primary = won
	e.v.nodes = e.v.nodes.set(slot, &rec)
	e.dirty = append(e.dirty, int32(slot))
}

// remove takes a node out.
func (e *edit) remove(old *Node) {
	e.v.nodes = e.v.nodes.set(old.slot, nil)
	e.dirty = append(e.dirty, int32(old.slot))
	e.membership(old.Class)
	if len(old.Routes) > 0 {
		e.v.routesSeq = e.v.Seq
	}
	for _, id := range e.n.routes.update(old, nil) {
		e.elect(id)
	}
	e.n.slotMu.Lock()
	delete(e.n.slots, old.ID)
	e.n.slotMu.Unlock()
	e.n.freed = append(e.n.freed, freedSlot{old.slot, e.v.Seq})
}

// slotFor finds a slot for a new node.
func (n *Net) slotFor(id selvage.NodeID) int {
	slot := n.nextSlot
	if len(n.freed) > 0 && n.freed[0].seq < n.ring.oldest() {
		slot, n.freed = n.freed[0].slot, n.freed[1:]
	} else {
		n.nextSlot++
	}
	n.slotMu.Lock()
	n.slots[id] = slot
	n.slotMu.Unlock()
	return slot
}

// membership notes that the members of a class changed.
func (e *edit) membership(c policy.Class) {
	if !e.ownMembers {
		e.ownMembers = true
		e.v.members = maps.Clone(e.v.members)
	}
	e.v.members[c] = e.v.Seq
}

// reclass works out every node's class under the view's policy.
func (e *edit) reclass() {
	e.wide = true
	e.v.members, e.ownMembers = map[policy.Class]uint64{}, true
	for old := range e.old.nodes.all {
		cur := e.v.nodes.at(old.slot)
		if cur == nil || cur.ID != old.ID {
			continue
		}
		rec := *cur
		rec.Class = e.v.Policy.Class(rec.Device())
		e.v.nodes = e.v.nodes.set(rec.slot, &rec)
		e.dirty = append(e.dirty, int32(rec.slot))
	}
}

// publish makes the edit the newest view and wakes the sessions that it concerns.
func (e *edit) publish() {
	if len(e.dirty) == 0 && !e.wide {
		return
	}
	e.v.Published = e.n.hub.now()
	e.dirty = compactSlots(e.dirty)
	e.n.ring.push(e.v.Seq, e.dirty)
	e.n.view.Store(e.v)
	close(e.old.superseded)
	for _, slot := range e.dirty {
		old, now := e.old.nodes.at(int(slot)), e.v.nodes.at(int(slot))
		if old != nil && now != nil && old.ID != now.ID {
			e.n.hub.index(e.n, old, nil)
			old = nil
		}
		e.n.hub.index(e.n, old, now)
	}
	e.n.watchers.notify(e)
}

// tick does what the clock asks for: nodes expire, silent ephemeral nodes go.
func (n *Net) tick(ctx context.Context) {
	now := n.hub.now()
	n.expire(now)
	n.reap(ctx, now)
}

// expire marks nodes whose key has run out.
func (n *Net) expire(now time.Time) {
	var due []selvage.NodeID
	for rec := range n.View().Nodes() {
		if rec.Node.Expired(now) != rec.Expired {
			due = append(due, rec.ID)
		}
	}
	if len(due) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.edit()
	for _, id := range due {
		cur := e.v.Node(id)
		if cur == nil {
			continue
		}
		rec := *cur
		rec.Expired = rec.Node.Expired(now)
		e.put(&rec)
	}
	e.publish()
}

// reap removes ephemeral nodes that have been silent for too long.
func (n *Net) reap(ctx context.Context, now time.Time) {
	v := n.View()
	for rec := range v.Nodes() {
		if !rec.Ephemeral || rec.Online || !n.silent(rec, now, v.Tailnet.Settings.EphemeralTimeout) {
			continue
		}
		err := n.Update(ctx, selvage.System(), func(tx *Tx) error {
			// It may have come back since the view was taken.
			if cur := n.View().Node(rec.ID); cur == nil || cur.Online {
				return nil
			}
			return tx.DeleteNode(rec.ID)
		})
		if err != nil && ctx.Err() == nil {
			n.hub.log.Error("silent ephemeral node not removed", "node", rec.ID, "err", err)
		}
	}
}

func (n *Net) silent(rec *Node, now time.Time, timeout time.Duration) bool {
	if rec.Soft.LastSeen.IsZero() {
		return now.Sub(rec.Created) > neverSeenTimeout
	}
	// After a restart everybody gets the time to come back.
	since := rec.Soft.LastSeen
	if n.hub.started.After(since) {
		since = n.hub.started
	}
	return now.Sub(since) > timeout
}

// compactSlots returns the slots in order, each once.
func compactSlots(slots []int32) []int32 {
	slices.Sort(slots)
	return slices.Compact(slots)
}
