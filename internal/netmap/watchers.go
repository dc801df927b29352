package netmap

import (
	"slices"
	"sync"

	"selvage"
	"selvage/internal/policy"
)

// watchers are the map sessions of a tailnet, found by node and by class.
type watchers struct {
	mu sync.Mutex
	// guards the following fields
	byNode  map[selvage.NodeID]*Watch
	byClass map[policy.Class][]*Watch
	left    map[selvage.NodeID]*Watch // the closed sessions whose grace runs
}

// Watch is the presence of one node: while it is open, the node is online and is
// told of changes that may concern it.
type Watch struct {
	net      *Net
	node     selvage.NodeID
	wake     chan struct{}
	replaced chan struct{}

	// watchers.mu guards the following fields
	class policy.Class
	place int // in byClass[class]
}

// noClass is the class of sessions whose node is gone, until they end.
const noClass policy.Class = -1

func newWatchers() watchers {
	return watchers{
		byNode:  map[selvage.NodeID]*Watch{},
		byClass: map[policy.Class][]*Watch{},
		left:    map[selvage.NodeID]*Watch{},
	}
}

func (ws *watchers) add(w *Watch, c policy.Class) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if old := ws.byNode[w.node]; old != nil {
		ws.unclass(old)
		close(old.replaced)
	}
	delete(ws.left, w.node)
	ws.byNode[w.node] = w
	ws.class(w, c)
}

// remove takes a session out, and returns false if a newer one has its place.
func (ws *watchers) remove(w *Watch) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.byNode[w.node] != w {
		return false
	}
	delete(ws.byNode, w.node)
	ws.unclass(w)
	ws.left[w.node] = w
	return true
}

// forget ends the grace of a closed session, and returns false if its node has come
// back since.
func (ws *watchers) forget(w *Watch) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.left[w.node] != w {
		return false
	}
	delete(ws.left, w.node)
	return true
}

func (ws *watchers) class(w *Watch, c policy.Class) {
	w.class, w.place = c, len(ws.byClass[c])
	ws.byClass[c] = append(ws.byClass[c], w)
}

func (ws *watchers) unclass(w *Watch) {
	all := ws.byClass[w.class]
	last := all[len(all)-1]
	all[w.place], last.place = last, w.place
	all[len(all)-1] = nil
	if all = all[:len(all)-1]; len(all) == 0 {
		delete(ws.byClass, w.class)
		return
	}
	ws.byClass[w.class] = all
}

// follow keeps a session's class in step with its node, which may be gone.
func (ws *watchers) follow(w *Watch, now *Node) {
	c := noClass
	if now != nil {
		c = now.Class
	}
	if w.class != c {
		ws.unclass(w)
		ws.class(w, c)
	}
}

// notify wakes the sessions that an edit concerns: the changed nodes' own, and those
// whose class sees a class that a changed node was or is of.
func (ws *watchers) notify(e *edit) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if e.wide {
		for id, w := range ws.byNode {
			ws.follow(w, e.v.Node(id))
			w.wakeUp()
		}
		return
	}
	told := map[policy.Class]struct{}{}
	for _, id := range e.dirty {
		old, now := e.old.Node(id), e.v.Node(id)
		if w := ws.byNode[id]; w != nil {
			ws.follow(w, now)
			if old == nil || now == nil || selfCares(old, now) {
				w.wakeUp()
			}
		}
		if old != nil && now != nil && !peersCare(old, now) {
			continue
		}
		if old != nil {
			told[old.Class] = struct{}{}
		}
		if now != nil {
			told[now.Class] = struct{}{}
		}
	}
	for c := range told {
		for viewer := range e.v.Policy.row(c).all() {
			wakeAll(ws.byClass[viewer])
		}
	}
}

func wakeAll(sessions []*Watch) {
	for _, w := range sessions {
		w.wakeUp()
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
	return old.Class != now.Class || changed(old, now) != 0 ||
		!slices.Equal(old.Routes, now.Routes) || !slices.Equal(old.Primary, now.Primary) || old.turn != now.turn
}

// selfCares reports whether the node itself may have to be told of the change.
func selfCares(old, now *Node) bool {
	return old.Node != now.Node || old.Class != now.Class || old.offersMore() != now.offersMore() || old.onlyV6 != now.onlyV6 || old.Expired != now.Expired ||
		!slices.Equal(old.Routes, now.Routes) || !slices.Equal(old.Primary, now.Primary)
}
