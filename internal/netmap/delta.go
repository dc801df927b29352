package netmap

import (
	"cmp"
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
	was, is := last.Node(viewer.ID), v.Node(viewer.ID)
	if was == nil || is == nil {
		return Delta{Gone: true}
	}
	c := comparison{last: last, now: v, was: was, is: is, renamed: v.Domain() != last.Domain()}
	c.samePolicy = v.Policy == last.Policy && was.Class == is.Class && was.takesPart() == is.takesPart() && v.compact == last.compact
	c.d = Delta{
		Settings: v.Tailnet != last.Tailnet,
		Policy:   v.Policy != last.Policy,
		Filter:   c.filterDiffers(),
		SSH:      c.sshDiffers(),
	}
	if was != is && selfCares(was, is) || c.d.Policy || c.d.Settings {
		c.d.Self = is
	}
	c.peers()
	c.users()
	return c.d
}

// comparison is the work on one Delta.
type comparison struct {
	last, now *View
	was, is   *Node // the viewer
	// samePolicy is set when the policy, and what it sees in the viewer, is the same.
	samePolicy bool
	// renamed is set when the domain changed, which is part of every node's name.
	renamed bool
	// saw and sees are the viewer's sight before and now.
	saw, sees func(*Node) bool
	// caps remembers capsDiffer, by the classes of a peer before and now.
	caps map[[2]policy.Class]bool
	d    Delta
}

// peers looks at the nodes that changed, or at all if what the viewer may see
// changed.
func (c *comparison) peers() {
	look := differing[*Node]
	c.saw, c.sees = func(n *Node) bool { return c.last.Sees(c.was, n) }, func(n *Node) bool { return c.now.Sees(c.is, n) }
	if !c.samePolicy || c.was.Expired != c.is.Expired || c.renamed {
		look = both[*Node]
		c.saw, c.sees = c.last.sight(c.was), c.now.sight(c.is)
	}
	look(c.last.nodes, c.now.nodes, func(_ uint64, a, b *Node) bool {
		c.peer(a, b)
		return true
	})
}

func (c *comparison) peer(a, b *Node) {
	saw := a != nil && c.saw(a)
	sees := b != nil && c.sees(b)
	switch {
	case saw && !sees:
		c.d.Removed = append(c.d.Removed, a.ID)
	case !sees:
	case !saw, c.renamed, c.routesDiffer(a, b), c.capsDiffer(a, b):
		c.d.Whole = append(c.d.Whole, b)
	default:
		if p := changed(a, b); p&PartWhole != 0 {
			c.d.Whole = append(c.d.Whole, b)
		} else if p != 0 {
			c.d.Patched = append(c.d.Patched, Patch{b, p})
		}
	}
}

// routesDiffer reports whether the viewer uses other routes through a peer than
// before.
func (c *comparison) routesDiffer(a, b *Node) bool {
	if len(a.Routes) == 0 && len(b.Routes) == 0 {
		return false
	}
	if c.samePolicy && slices.Equal(a.Routes, b.Routes) && slices.Equal(a.Primary, b.Primary) && a.turn == b.turn {
		return false
	}
	return !slices.Equal(c.last.RoutesFor(c.was, a), c.now.RoutesFor(c.is, b))
}

// users finds the owners that the viewer must be told of.
func (c *comparison) users() {
	if len(c.d.Whole) == 0 && c.now.users == c.last.users {
		return
	}
	need := map[selvage.UserID]struct{}{}
	for _, n := range c.d.Whole {
		if !n.Tagged() {
			need[n.User] = struct{}{}
		}
	}
	differing(c.last.users.byID, c.now.users.byID, func(_ uint64, _, u *selvage.User) bool {
		if u != nil && c.knows(u.ID) {
			need[u.ID] = struct{}{}
		}
		return true
	})
	for id := range need {
		if u := c.now.User(id); u != nil {
			c.d.Users = append(c.d.Users, u)
		}
	}
	slices.SortFunc(c.d.Users, func(a, b *selvage.User) int { return cmp.Compare(a.ID, b.ID) })
}

// knows reports whether the viewer or one of its peers belongs to the user.
func (c *comparison) knows(id selvage.UserID) bool {
	return slices.ContainsFunc(c.now.ownedBy(id), func(n *Node) bool { return n == c.is || c.now.Sees(c.is, n) })
}

// filterDiffers reports whether the viewer's packet filter may differ: its inputs
// are the policy, the viewer's own class, addresses and routes, the tailnet's routes,
// and the members of the classes that may reach it.
func (c *comparison) filterDiffers() bool {
	if !c.samePolicy || c.was.IPv4 != c.is.IPv4 || c.was.IPv6 != c.is.IPv6 || c.was.onlyV6 != c.is.onlyV6 || !slices.Equal(c.was.Routes, c.is.Routes) ||
		c.was.offersMore() != c.is.offersMore() {
		return true
	}
	if c.now.routesSeq != c.last.routesSeq && c.now.Policy.NeedsRoutes(c.is.Class) {
		return true
	}
	return c.membersDiffer(c.feeds())
}

// sshDiffers reports whether the viewer's SSH rules may differ: their inputs are the
// policy, the viewer's class, and the members of the classes that may log in to it.
func (c *comparison) sshDiffers() bool {
	return !c.samePolicy || c.now.Policy.HasSSH(c.is.Class) && c.membersDiffer(c.now.Policy.FeedsSSH)
}

// membersDiffer reports whether a class that feeds the viewer's has other members.
func (c *comparison) membersDiffer(feeds func(src, dst policy.Class) bool) bool {
	found := false
	differing(c.last.members, c.now.members, func(class uint64, _, _ uint64) bool {
		found = feeds(policy.Class(class), c.is.Class)
		return !found
	})
	return found
}

// AddressPrefixes returns the node's addresses as single-address prefixes.
func (n *Node) AddressPrefixes() []netip.Prefix {
	var prefixes []netip.Prefix
	for _, a := range n.Addresses() {
		prefixes = append(prefixes, netip.PrefixFrom(a, a.BitLen()))
	}
	return prefixes
}
