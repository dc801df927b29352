package netmap

import (
	"net/netip"
	"slices"

	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/policy"
)

// Node is a device as of one view: what was decided about it, what it said, and
// what follows from both. It is immutable.
type Node struct {
	*selvage.Node
	Soft *selvage.Soft
	// Online is whether the device has a map session, or had one moments ago.
	Online bool
	// Unreachable is set when the device has a session but does not answer probes.
	Unreachable bool
	// Expired is set once the node key's expiry has passed.
	Expired bool
	// Class is what the policy in force sees in the device.
	Class policy.Class
	// Routes are those both advertised and approved, sorted, exit routes included.
	Routes []netip.Prefix
	// Primary are the subnet routes that this node serves now, sorted.
	Primary []netip.Prefix

	// shown is PeerHostinfo of the last report; states in which it is the same have
	// the same pointer.
	shown *tailcfg.Hostinfo
	// onlyV6 is set if the policy takes the device's IPv4 address away.
	onlyV6 bool
	// turn is the seq of the view in which it last changed who may serve one of the
	// node's routes, if the policy has rules with via.
	turn uint64
	// asks is set while the device asks for tags that Settle has not seen.
	asks bool
}

// Part is a set of those parts of a node that clients can be told of one by one.
type Part uint32

// The parts of a node. PartWhole is any other, which takes the whole node.
const (
	PartEndpoints Part = 1 << iota
	PartHomeDERP
	PartDisco
	PartKey
	PartKeyExpiry
	PartCap
	PartOnline
	PartLastSeen
	PartWhole
)

// ExitNode reports whether both default routes are advertised and approved.
func (n *Node) ExitNode() bool {
	return slices.ContainsFunc(n.Routes, selvage.IsExitRoute)
}

// healthy reports whether the node can serve routes.
func (n *Node) healthy() bool {
	return n.Online && !n.Unreachable && !n.Expired && n.Approved
}

// takesPart reports whether the node may see others and be seen.
func (n *Node) takesPart() bool { return n.Approved }

// Device is what the policy may look at.
func (n *Node) Device() policy.Device {
	return policy.Device{
		Node: n.ID, User: n.User, Tags: n.Tags,
		Addrs: n.Addresses(), Routes: n.Routes, Attrs: policy.Reported(n.Soft.Hostinfo),
	}
}

// Addresses returns the node's addresses that are in use.
func (n *Node) Addresses() []netip.Addr {
	if n.onlyV6 {
		return []netip.Addr{n.IPv6}
	}
	return n.Node.Addresses()
}

// attrDisableIPv4 is the node attribute that takes a device's IPv4 address away.
const attrDisableIPv4 = "disable-ipv4"

// judge works out what the policy sees in the node.
func (n *Node) judge(p *Policy) {
	n.onlyV6 = false
	d := n.Device()
	_, asked := p.CapMap(d)[attrDisableIPv4]
	n.onlyV6 = asked || p.Parsed.DisableIPv4()
	d.Addrs = n.Addresses()
	n.Class = p.Class(d)
}

// changed says in which parts a and b, two states of one node, differ for a client
// that sees the node. It doesn't look at routes, which differ by viewer.
func changed(a, b *Node) Part {
	if a == b {
		return 0
	}
	var p Part
	if a.Node != b.Node {
		if a.Key != b.Key {
			p |= PartKey
		}
		if !a.KeyExpiry.Equal(b.KeyExpiry) {
			p |= PartKeyExpiry
		}
		if a.Name != b.Name || a.User != b.User || a.Machine != b.Machine ||
			a.IPv4 != b.IPv4 || a.IPv6 != b.IPv6 || !slices.Equal(a.Tags, b.Tags) || a.Approved != b.Approved {
			p |= PartWhole
		}
	}
	if a.Soft != b.Soft {
		p |= changedSoft(a.Soft, b.Soft)
	}
	if a.shown != b.shown || a.onlyV6 != b.onlyV6 {
		p |= PartWhole
	}
	if a.Online != b.Online {
		p |= PartOnline
	}
	if !b.Online && !a.Soft.LastSeen.Equal(b.Soft.LastSeen) {
		p |= PartLastSeen // of a node that is online it says nothing
	}
	if a.Expired != b.Expired {
		p |= PartWhole
	}
	return p
}

func changedSoft(a, b *selvage.Soft) Part {
	var p Part
	if !slices.Equal(a.Endpoints, b.Endpoints) {
		p |= PartEndpoints
	}
	if a.HomeDERP != b.HomeDERP {
		p |= PartHomeDERP
	}
	if a.Disco != b.Disco {
		p |= PartDisco
	}
	if a.Cap != b.Cap {
		p |= PartCap
	}
	return p
}
