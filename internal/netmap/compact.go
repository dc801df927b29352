package netmap

import (
	"slices"

	"tailscale.com/tailcfg"

	"selvage/internal/policy"
)

// DefaultCompactFrom is from how many devices on packet filters name their sources by
// capability instead of by address. In a small network addresses cost little, each
// packet is checked faster, and people read their filters. In a large one somebody
// joins or leaves all the time, and every filter with their addresses would have to be
// sent and built anew.
const DefaultCompactFrom = 128

// ExpandedChunk is the name of the one chunk of a filter that lists addresses.
const ExpandedChunk = "base"

// compactAt says which form filters have in a tailnet with so many devices. Between
// half the limit and the limit the form stays what it is: a change of it sends
// everybody everything.
func (h *Hub) compactAt(count int, before bool) bool {
	return count >= h.compact || before && count >= h.compact/2
}

// Compact reports whether the tailnet is large enough for filters that name sources by
// capability, so that viewers are told the capabilities of their peers.
func (v *View) Compact() bool { return v.compact }

// PacketFilter returns the packet filter of a node by chunks, at least one. Clients take
// each chunk by itself.
func (v *View) PacketFilter(n *Node) map[string][]tailcfg.FilterRule {
	if v.names(n) {
		chunks := v.Policy.CompactFilter(n.Device(), n.Class, v.membersOf, v.subnetRoutes()...)
		if len(chunks) > 0 {
			return chunks
		}
		return map[string][]tailcfg.FilterRule{ExpandedChunk: {}}
	}
	return map[string][]tailcfg.FilterRule{ExpandedChunk: v.Filter(n)}
}

// names reports whether a node's filter names sources by capability. That of a device
// which offers more routes than it may serve can't: by a capability, clients let ICMP in
// whatever its destination.
func (v *View) names(n *Node) bool {
	return v.compact && n.takesPart() && !n.offersMore()
}

// offersMore reports whether the node advertises routes that are not approved.
func (n *Node) offersMore() bool { return len(n.Soft.Advertised()) != len(n.Routes) }

// PeerCaps returns the capabilities that viewer has to be told of peer, since its packet
// filter may name them; sorted.
func (v *View) PeerCaps(viewer, peer *Node) []tailcfg.NodeCapability {
	if !v.compact {
		return nil
	}
	return v.Policy.PeerCaps(viewer.Class, peer.Class)
}

// capsDiffer reports whether the viewer is told other capabilities of a peer.
func (c *comparison) capsDiffer(a, b *Node) bool {
	if c.samePolicy && a.Class == b.Class || !c.last.compact && !c.now.compact {
		return false
	}
	k := [2]policy.Class{a.Class, b.Class}
	differ, known := c.caps[k]
	if !known {
		differ = !slices.Equal(c.last.PeerCaps(c.was, a), c.now.PeerCaps(c.is, b))
		if c.caps == nil {
			c.caps = map[[2]policy.Class]bool{}
		}
		c.caps[k] = differ
	}
	return differ
}

// feeds returns which classes' members the viewer's filter depends on.
func (c *comparison) feeds() func(src, dst policy.Class) bool {
	if !c.now.names(c.is) {
		return c.now.Policy.Feeds
	}
	return func(src, dst policy.Class) bool { return c.now.Policy.CompactFeeds(src, c.is.Device(), dst) }
}
