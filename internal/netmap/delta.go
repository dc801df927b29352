package netmap

import (
	"net/netip"
	"slices"

	"selvage"
	"selvage/internal/policy"
)

// Delta is what differs between two views for one node.
type Delta struct {
	// Gone is set when the node is no longer in the tailnet. The rest is then empty.
	Gone bool
	// Self is the node itself if it changed for itself, else nil.
	Self *Node
	// Whole are peers that are new or differ in something that has no patch.
	Whole []*Node
	// Patched are peers that differ only in parts that have one.
	Patched []Patch
	// Removed are peers that the node may no longer know.
	Removed []selvage.NodeID
	// Users are owners that the node must know and that are new or changed.
	Users []*selvage.User
	// Filter is set when the packet filter may have changed.
	Filter bool
	// SSH is set when the SSH rules may have changed.
	SSH bool
	// Settings is set when settings of the tailnet changed.
	Settings bool
	// Policy is set when the policy changed.
	Policy bool
}

// Patch is a peer and the parts of it that changed.
type Patch struct {
	*Node
	Parts Part
}

// Since returns what differs between last and v for the viewer; last is an earlier
// view of the same tailnet.
func (v *View) Since(last *View, viewer *Node) Delta {
	was, is := last.nodes.at(viewer.slot), v.nodes.at(viewer.slot)
	if was == nil || is == nil || was.ID != viewer.ID || is.ID != viewer.ID {
		return Delta{Gone: true}
	}
	d := Delta{
		Settings: v.Tailnet != last.Tailnet,
		Policy:   v.Policy != last.Policy,
		Filter:   v.filterDiffers(last, was, is),
		SSH:      v.sshDiffers(last, was, is),
	}
	if was != is && selfCares(was, is) || d.Policy || d.Settings {
		d.Self = is
	}
	v.diffPeers(last, was, is, &d)
	v.diffUsers(last, is, &d)
	return d
}

// diffPeers looks at the nodes that changed, or at all if what the viewer may see
// changed.
func (v *View) diffPeers(last *View, was, is *Node, d *Delta) {
	visit := func(slot int) { v.diffPeer(last, was, is, slot, d) }
	if d.Policy || was.Class != is.Class || was.takesPart() != is.takesPart() || was.Expired != is.Expired || v.Domain() != last.Domain() {
		for slot := range max(v.nodes.len(), last.nodes.len()) {
			visit(slot)
		}
		return
	}
	if slots, ok := v.net.ring.between(last.Seq, v.Seq); ok {
		for _, slot := range slots {
			visit(int(slot))
		}
		return
	}
	differing(last.nodes, v.nodes, visit)
}

func (v *View) diffPeer(last *View, was, is *Node, slot int, d *Delta) {
	a, b := last.nodes.at(slot), v.nodes.at(slot)
	renamed := v.Domain() != last.Domain() // the domain is part of every node's name
	if a == b && !d.Policy && was.Class == is.Class && was.takesPart() == is.takesPart() && was.Expired == is.Expired && !renamed {
		return
	}
	saw := a != nil && last.Sees(was, a)
	sees := b != nil && v.Sees(is, b)
	if saw && (!sees || a.ID != b.ID) {
		d.Removed = append(d.Removed, a.ID)
		saw = false
	}
	switch {
	case !sees:
	case !saw, renamed:
		d.Whole = append(d.Whole, b)
	case !slices.Equal(last.RoutesFor(was, a), v.RoutesFor(is, b)):
		d.Whole = append(d.Whole, b)
	default:
		if p := changed(a, b); p&PartWhole != 0 {
			d.Whole = append(d.Whole, b)
		} else if p != 0 {
			d.Patched = append(d.Patched, Patch{b, p})
		}
	}
}

// diffUsers finds the owners that the viewer must be told of.
func (v *View) diffUsers(last *View, viewer *Node, d *Delta) {
	need := map[selvage.UserID]struct{}{}
	for _, n := range d.Whole {
		if !n.Tagged() {
			need[n.User] = struct{}{}
		}
	}
	if v.users != last.users {
		if !viewer.Tagged() && v.User(viewer.User) != last.User(viewer.User) {
			need[viewer.User] = struct{}{}
		}
		for n := range v.Peers(viewer) {
			if !n.Tagged() && v.User(n.User) != last.User(n.User) {
				need[n.User] = struct{}{}
			}
		}
	}
	for id := range need {
		if u := v.User(id); u != nil {
			d.Users = append(d.Users, u)
		}
	}
	slices.SortFunc(d.Users, func(a, b *selvage.User) int { return int(a.ID - b.ID) })
}

// filterDiffers reports whether the viewer's packet filter may differ: its inputs
// are the policy, the viewer's own class, addresses and routes, and the members of
// the classes that may reach it.
func (v *View) filterDiffers(last *View, was, is *Node) bool {
	if v.Policy != last.Policy || was.Class != is.Class || was.takesPart() != is.takesPart() ||
		was.IPv4 != is.IPv4 || was.IPv6 != is.IPv6 || !slices.Equal(was.Routes, is.Routes) {
		return true
	}
	if v.routesSeq != last.routesSeq && v.Policy.NeedsRoutes(is.Class) {
		return true
	}
	sources, _ := v.Policy.Sources(is.Class)
	return slices.ContainsFunc(sources, func(c policy.Class) bool {
		return v.members[c] != last.members[c]
	})
}

// sshDiffers reports whether the viewer's SSH rules may differ: their inputs are the
// policy, the viewer's class, and the members of the classes that may log in to it.
func (v *View) sshDiffers(last *View, was, is *Node) bool {
	if v.Policy != last.Policy || was.Class != is.Class || was.takesPart() != is.takesPart() {
		return true
	}
	if !v.Policy.HasSSH(is.Class) {
		return false
	}
	for c, seq := range v.members {
		if last.members[c] != seq && v.Policy.FeedsSSH(c, is.Class) {
			return true
		}
	}
	return false
}

// AddressPrefixes returns the node's addresses as single-address prefixes.
func (n *Node) AddressPrefixes() []netip.Prefix {
	return []netip.Prefix{
		netip.PrefixFrom(n.IPv4, n.IPv4.BitLen()),
		netip.PrefixFrom(n.IPv6, n.IPv6.BitLen()),
	}
}
