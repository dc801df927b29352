package netmap

import (
	"time"

	"selvage"
)

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
	e.present(cur, true, n.hub.now())
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
	if w.net.watchers.remove(w) {
		time.AfterFunc(OfflineGrace, func() { w.net.offline(w) })
	}
}

// offline marks the node of a closed session as gone, unless it has come back since,
// even if it left again: then its grace is that of the later session.
func (n *Net) offline(w *Watch) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.watchers.forget(w) {
		return
	}
	e := n.edit()
	cur := e.v.Node(w.node)
	if cur == nil || !cur.Online {
		return
	}
	e.present(cur, false, n.hub.now().Add(-OfflineGrace))
	e.publish()
}

// present sets whether a node is online.
func (e *edit) present(cur *Node, online bool, seen time.Time) {
	rec := *cur
	rec.Online, rec.Unreachable = online, false
	soft := *cur.Soft
	soft.LastSeen = seen.UTC()
	rec.Soft = &soft
	e.n.unsaved[cur.ID] = rec.Soft
	e.put(&rec)
}

// parting notes that the nodes with a session are here until now, for the last save
// before the server stops: nobody will be there to see them leave.
func (n *Net) parting() {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.hub.now().UTC()
	for cur := range n.View().Nodes() {
		if cur.Online {
			soft := *cur.Soft
			soft.LastSeen = now
			n.unsaved[cur.ID] = &soft
		}
	}
}

// Online returns how many nodes have a session.
func (n *Net) Online() int {
	n.watchers.mu.Lock()
	defer n.watchers.mu.Unlock()
	return len(n.watchers.byNode)
}
