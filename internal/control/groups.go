package control

import (
	"bytes"
	"slices"
	"sync"

	"selvage"
	"selvage/internal/control/mapresp"
	"selvage/internal/control/splice"
	"selvage/internal/netmap"
	"selvage/internal/policy"
)

const (
	// groupSpan is how many consecutive node IDs go into one group, if that makes
	// it groupSize peers or more; smaller groups compress badly.
	groupSpan = 128
	groupSize = 64
	// maxGroupBytes bounds the cache, in bytes of compressed peers.
	maxGroupBytes = 64 << 20
)

// groups keeps compressed peers for full maps. Viewers of one class get the same of
// the same peers, so after a restart each group is encoded once for each class and
// not for each viewer. Only the group that a viewer is in itself differs.
type groups struct {
	mu sync.Mutex
	// guards the following fields
	byKey map[groupKey]*group
	bytes int
}

// groupKey finds the newest group that starts at an ID, for one class of viewers.
type groupKey struct {
	tailnet selvage.TailnetID
	class   policy.Class
	first   selvage.NodeID
}

// group is some peers, compressed, and all that they were made from.
type group struct {
	policy  *netmap.Policy
	domain  string
	compact bool // as of netmap.View.Compact
	peers   []*netmap.Node

	once  sync.Once
	frame []byte
}

func newGroups() *groups { return &groups{byKey: map[groupKey]*group{}} }

// frames returns the peers, which are sorted by ID, as viewer sees them.
func (g *groups) frames(v *netmap.View, viewer *netmap.Node, peers []*netmap.Node) [][]byte {
	var out [][]byte
	for len(peers) > 0 {
		n := groupEnd(peers)
		out = append(out, g.frame(v, viewer, peers[:n:n]))
		peers = peers[n:]
	}
	return out
}

// groupEnd returns how many of the peers go into the first group: all up to an ID at
// which a span ends. It depends on the IDs alone, so that viewers agree on groups.
func groupEnd(peers []*netmap.Node) int {
	for i := groupSize; i < len(peers); i++ {
		if peers[i].ID/groupSpan != peers[i-1].ID/groupSpan {
			return i
		}
	}
	return len(peers)
}

func (g *groups) frame(v *netmap.View, viewer *netmap.Node, peers []*netmap.Node) []byte {
	k := groupKey{v.Tailnet.ID, viewer.Class, peers[0].ID / groupSpan}
	g.mu.Lock()
	e := g.byKey[k]
	if e == nil || e.policy != v.Policy || e.domain != v.Domain() || e.compact != v.Compact() || !slices.Equal(e.peers, peers) {
		e = &group{policy: v.Policy, domain: v.Domain(), compact: v.Compact(), peers: peers}
		if !spans(peers, viewer.ID) {
			g.byKey[k] = e
		}
	}
	g.mu.Unlock()
	e.once.Do(func() {
		e.frame = splice.Frame(encodePeers(v, viewer, peers))
		g.account(len(e.frame))
	})
	return e.frame
}

// spans reports whether the ID lies among the peers: such a group is of use to this
// one viewer only.
func spans(peers []*netmap.Node, id selvage.NodeID) bool {
	return peers[0].ID/groupSpan <= id/groupSpan && id/groupSpan <= peers[len(peers)-1].ID/groupSpan
}

// account forgets everything when much has been encoded since the last time.
func (g *groups) account(size int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bytes += size
	if g.bytes > maxGroupBytes {
		g.bytes = 0
		clear(g.byKey)
	}
}

func encodePeers(v *netmap.View, viewer *netmap.Node, peers []*netmap.Node) []byte {
	var b bytes.Buffer
	for i, p := range peers {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(jsonOf(mapresp.Peer(v, viewer, p)))
	}
	return b.Bytes()
}
