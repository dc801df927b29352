package netmap

import (
	"slices"
	"sync"
	"time"

	"selvage"
	"selvage/internal/policy"
)

// watchers are the map sessions of a tailnet, found by node and by class.
type watchers struct {
	mu sync.Mutex
	// guards the following fields
	byNode  map[selvage.NodeID]*Watch
	byClass map[policy.Class]map[*Watch]struct{}
}

// Watch is the presence of one node: while it is open, the node is online and is
// told of changes that may concern it.
type Watch struct {
	net      *Net
	node     selvage.NodeID
	class    policy.Class // guarded by watchers.mu
	wake     chan struct{}
	replaced chan struct{}
}

// Watch opens the presence of a node. A newer one takes the place of an older one.
func (n *Net) Watch(id selvage.NodeID) (*Watch, error) {
	w := &Watch{net: n, node: id, wake: make(chan struct{}, 1), replaced: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.edit()
	cur := e.v.Node(id)
	if cur == nil {
		return nil, selvage.Errorf(selvage.KindNotFound, "no node %d", id)
	}
	n.watchers.add(w, cur.Class)
	rec := *cur
	rec.Online, rec.Unreachable = true, false
	soft := *cur.Soft
	soft.LastSeen = n.hub.now().UTC()
	rec.Soft = &soft
	n.unsaved[id] = rec.Soft
	e.put(&rec)
	e.publish()
	return w, nil
}

// Wake receives after something changed that may concern the node; several changes
// may be one wake-up.
func (w *Watch) Wake() <-chan struct{} { return w.wake }

// Replaced is closed when a newer session of the node has taken over.
func (w *Watch) Replaced() <-chan struct{} { return w.replaced }

// Close ends the presence. Others are told after OfflineGrace, unless the node is
// back by then.
func (w *Watch) Close() {
	if !w.net.watchers.remove(w) {
		return
	}
	time.AfterFunc(OfflineGrace, func() { w.net.offline(w.node) })
}

// offline marks a node as gone unless it has a session.
func (n *Net) offline(id selvage.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.watchers.watching(id) {
		return
	}
	e := n.edit()
	cur := e.v.Node(id)
	if cur == nil || !cur.Online {
		return
	}
	rec := *cur
	rec.Online, rec.Unreachable = false, false
	soft := *cur.Soft
	soft.LastSeen = n.hub.now().UTC().Add(-OfflineGrace)
	rec.Soft = &soft
	n.unsaved[id] = rec.Soft
	e.put(&rec)
	e.publish()
}

// Online returns how many nodes have a session.
func (n *Net) Online() int {
	n.watchers.mu.Lock()
	defer n.watchers.mu.Unlock()
	return len(n.watchers.byNode)
}

func (ws *watchers) add(w *Watch, c policy.Class) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if old := ws.byNode[w.node]; old != nil {
		ws.unclass(old)
		close(old.replaced)
	}
	ws.byNode[w.node] = w
	ws.reclass(w, c)
}

func (ws *watchers) remove(w *Watch) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.byNode[w.node] != w {
		return false
	}
	delete(ws.byNode, w.node)
	ws.unclass(w)
	return true
}

func (ws *watchers) watching(id selvage.NodeID) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return ws.byNode[id] != nil
}

func (ws *watchers) unclass(w *Watch) {
	delete(ws.byClass[w.class], w)
	if len(ws.byClass[w.class]) == 0 {
		delete(ws.byClass, w.class)
	}
}

func (ws *watchers) reclass(w *Watch, c policy.Class) {
	w.class = c
	if ws.byClass[c] == nil {
		ws.byClass[c] = map[*Watch]struct{}{}
	}
	ws.byClass[c][w] = struct{}{}
}

// notify wakes the sessions that an edit concerns: the changed nodes' own, and those
// whose class sees a class that a changed node was or is of.
func (ws *watchers) notify(e *edit) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	told := map[policy.Class]struct{}{}
	for _, slot := range e.dirty {
		old, now := e.old.nodes.at(int(slot)), e.v.nodes.at(int(slot))
		if now != nil {
			if w := ws.byNode[now.ID]; w != nil && w.class != now.Class {
				ws.unclass(w)
				ws.reclass(w, now.Class)
			}
		}
		ws.wakeSelf(old, now)
		if e.wide || old != nil && now != nil && !peersCare(old, now) {
			continue
		}
		if old != nil {
			told[old.Class] = struct{}{}
		}
		if now != nil {
			told[now.Class] = struct{}{}
		}
	}
	if e.wide {
		for _, w := range ws.byNode {
			w.wakeUp()
		}
		return
	}
	for c := range told {
		for _, viewer := range e.v.Policy.Viewers(c) {
			for w := range ws.byClass[viewer] {
				w.wakeUp()
			}
		}
	}
}

func (ws *watchers) wakeSelf(old, now *Node) {
	if old != nil && (now == nil || old.ID != now.ID) {
		if w := ws.byNode[old.ID]; w != nil {
			w.wakeUp()
		}
	}
	if now != nil && (old == nil || old.ID != now.ID || selfCares(old, now)) {
		if w := ws.byNode[now.ID]; w != nil {
			w.wakeUp()
		}
	}
}

// wakeUp never waits: a session that has not looked since the last time sees both
// changes when it does.
func (w *Watch) wakeUp() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// peersCare reports whether any peer may have to be told of the change.
func peersCare(old, now *Node) bool {
	return old.ID != now.ID || old.Class != now.Class || changed(old, now) != 0 ||
		!slices.Equal(old.Routes, now.Routes) || !slices.Equal(old.Primary, now.Primary)
}

// selfCares reports whether the node itself may have to be told of the change.
func selfCares(old, now *Node) bool {
	return old.Node != now.Node || old.Class != now.Class || old.Expired != now.Expired ||
		!slices.Equal(old.Routes, now.Routes) || !slices.Equal(old.Primary, now.Primary)
}
