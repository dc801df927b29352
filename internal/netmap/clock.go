package netmap

import (
	"context"
	"time"

	"selvage"
)

// Bounds of what the clock asks for.
const (
	// restInterval is when tick looks at the nodes although nothing is due.
	restInterval = time.Hour
	// reapBatch is how many silent nodes one transaction removes.
	reapBatch = 500
	// reapRetry is when silent nodes that could not be removed are tried again.
	reapRetry = 10 * time.Second
)

// tick does what the clock asks for: nodes expire, silent ephemeral nodes go. As
// long as nothing is due it doesn't look at the nodes.
func (n *Net) tick(ctx context.Context) {
	silent := n.expire(n.hub.now())
	if len(silent) == 0 {
		return
	}
	if err := n.reap(ctx, silent); err != nil && ctx.Err() == nil {
		n.hub.log.Error("silent ephemeral nodes not removed; will try again", "tailnet", n.id, "nodes", len(silent), "err", err)
		n.mu.Lock()
		defer n.mu.Unlock()
		n.dueBy(n.ticked.Add(reapRetry))
	}
}

// expire marks nodes whose key has run out and returns ephemeral ones that have been
// silent for too long, at most reapBatch of them.
func (n *Net) expire(now time.Time) (silent []selvage.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	idle := now.Before(n.due) && !now.Before(n.ticked) // else the clock was set back
	n.ticked = now
	if idle {
		return nil
	}
	n.due = now.Add(restInterval)
	e := n.edit()
	timeout := e.v.Tailnet.Settings.EphemeralTimeout
	for cur := range e.old.Nodes() {
		if cur.Node.Expired(now) != cur.Expired {
			rec := *cur
			rec.Expired = !cur.Expired
			e.put(&rec)
			cur = &rec
		}
		if !n.silent(cur, now, timeout) {
			n.dueBy(n.deadline(cur, timeout))
			continue
		}
		if len(silent) == reapBatch {
			n.dueBy(now)
			continue
		}
		silent = append(silent, cur.ID)
	}
	e.publish()
	return silent
}

// reap removes those of the nodes that are still silent.
func (n *Net) reap(ctx context.Context, ids []selvage.NodeID) error {
	return n.Update(ctx, selvage.System(), func(tx *Tx) error {
		for _, id := range ids {
			// It may have come back meanwhile, so the newest view says.
			cur := n.View().Node(id)
			if cur == nil || !n.silent(cur, tx.Now, tx.v.Tailnet.Settings.EphemeralTimeout) {
				continue
			}
			if err := tx.DeleteNode(id); err != nil {
				return err
			}
		}
		return nil
	})
}

// silent reports whether the node is ephemeral and has been silent for too long.
func (n *Net) silent(rec *Node, now time.Time, timeout time.Duration) bool {
	at := n.silence(rec, timeout)
	return !at.IsZero() && now.After(at)
}

// silence returns when an ephemeral node without a session goes; zero for others.
func (n *Net) silence(rec *Node, timeout time.Duration) time.Time {
	switch {
	case !rec.Ephemeral || rec.Online:
		return time.Time{}
	case rec.Soft.LastSeen.IsZero():
		return rec.Created.Add(neverSeenTimeout)
	case n.hub.started.After(rec.Soft.LastSeen):
		// After a restart everybody gets the time to come back.
		return n.hub.started.Add(timeout)
	}
	return rec.Soft.LastSeen.Add(timeout)
}

// deadline returns when the clock will ask for something about the node; zero if
// never.
func (n *Net) deadline(rec *Node, timeout time.Duration) time.Time {
	at := n.silence(rec, timeout)
	if !rec.KeyExpiry.IsZero() && !rec.Expired && (at.IsZero() || rec.KeyExpiry.Before(at)) {
		at = rec.KeyExpiry
	}
	return at
}
