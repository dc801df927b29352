package netmap

import (
	"context"

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
