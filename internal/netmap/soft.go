package netmap

import (
	"context"
	"slices"

	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/store"
)

// Report takes in what a device says of itself. change gets a copy of the last report
// and modifies it; it must be quick, and must replace slices and pointers, not write
// through them. It returns false if there was nothing new. Memory changes at once, the
// database within FlushInterval.
func (n *Net) Report(id selvage.NodeID, change func(*selvage.Soft)) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	cur := n.View().Node(id)
	if cur == nil {
		return false, selvage.Errorf(selvage.KindNotFound, "no node %d", id)
	}
	soft := *cur.Soft
	change(&soft)
	if soft.Hostinfo == nil {
		soft.Hostinfo = new(tailcfg.Hostinfo)
	}
	if soft.Hostinfo != cur.Soft.Hostinfo && soft.Hostinfo.Equal(cur.Soft.Hostinfo) {
		soft.Hostinfo = cur.Soft.Hostinfo // so that comparing states is comparing pointers
	}
	if softEqual(cur.Soft, &soft) {
		return false, nil
	}
	rec := *cur
	rec.Soft = &soft
	rec.asks = cur.asks || !slices.Equal(requestedTags(cur.Soft.Hostinfo), requestedTags(soft.Hostinfo))
	n.unsaved[id] = &soft
	e := n.edit()
	e.put(&rec)
	e.publish()
	return true, nil
}

// softEqual compares; equal Hostinfos are one.
func softEqual(a, b *selvage.Soft) bool {
	return a.Cap == b.Cap && a.Disco == b.Disco && a.HomeDERP == b.HomeDERP && a.Hostinfo == b.Hostinfo &&
		a.LastSeen.Equal(b.LastSeen) && slices.Equal(a.Endpoints, b.Endpoints)
}

// SetReachable notes whether a node with a session answers probes. An unreachable
// node loses its routes to a healthy one.
func (n *Net) SetReachable(id selvage.NodeID, reachable bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	cur := n.View().Node(id)
	if cur == nil || cur.Unreachable == !reachable {
		return
	}
	rec := *cur
	rec.Unreachable = !reachable
	e := n.edit()
	e.put(&rec)
	e.publish()
}

// flush saves the soft state that changed since the last time. What fails to be
// saved is tried again next time.
func (n *Net) flush(ctx context.Context) error {
	n.saving.Lock()
	defer n.saving.Unlock()
	batch := n.takeUnsaved()
	if len(batch) == 0 {
		return nil
	}
	err := n.hub.db.Tx(ctx, func(tx *store.Tx) error { return tx.PutSoft(batch) })
	if err != nil {
		n.putBack(batch)
	}
	return err
}

func (n *Net) takeUnsaved() map[selvage.NodeID]*selvage.Soft {
	n.mu.Lock()
	defer n.mu.Unlock()
	batch := n.unsaved
	n.unsaved = map[selvage.NodeID]*selvage.Soft{}
	return batch
}

// putBack returns what could not be saved, unless there is something newer.
func (n *Net) putBack(batch map[selvage.NodeID]*selvage.Soft) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, soft := range batch {
		if n.unsaved[id] == nil && n.View().Node(id) != nil {
			n.unsaved[id] = soft
		}
	}
}
