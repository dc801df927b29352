package netmap

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/policy"
	"selvage/internal/policy/review"
)

// View is a tailnet at one moment. It is immutable and safe for concurrent use;
// nothing that it returns may be changed.
type View struct {
	// Seq counts the views of the tailnet since the server started.
	Seq uint64
	// Published is when the view replaced the one before.
	Published time.Time
	// Tailnet has the settings.
	Tailnet *selvage.Tailnet
	// Policy is the policy in force.
	Policy *Policy

	nodes trie[*Node]
	users people
	keys  textMap[*selvage.AuthKey]
	// members has, for each class, the seq at which its members last changed.
	members trie[uint64]

	// count is how many nodes there are, and compact whether filters are in the form of
	// compact.go.
	count   int
	compact bool

	// superseded is closed when there is a newer view.
	superseded chan struct{}
	// routesSeq is the seq at which some node's routes last changed.
	routesSeq uint64

	// What follows is worked out when it is first asked for.
	addrsOnce   sync.Once
	addrs       map[policy.Class][]netip.Addr
	routesOnce  sync.Once
	subnets     []netip.Prefix
	reviewOnce  sync.Once
	review      *review.Network
	serversOnce sync.Once
	servers     map[netip.Prefix][]*Node
	ownersOnce  sync.Once
	owned       map[selvage.UserID][]*Node
}

// Policy is the policy in force and where it came from.
type Policy struct {
	*policy.Compiled
	// Rev is the revision in force; nil for the default of a new tailnet.
	Rev *selvage.PolicyRevision
	// Parsed is Rev's text, checked.
	Parsed *policy.Policy
	// Problem says why a newer revision than Rev is not in force; nil if Rev is the newest.
	Problem error

	// Failing says which of the policy's tests no longer hold, since somebody left or
	// has another role; nil if all do. The policy stays in force.
	Failing error

	hasVia bool  // of Compiled
	newest int64 // the newest revision's number, 0 if there is none
	rows   *rows // of Compiled
}

// Node returns the node with the given ID, or nil.
func (v *View) Node(id selvage.NodeID) *Node { return v.nodes.at(uint64(id)) }

// NodeByName returns the node with the given name, full name, address, stable ID or
// ID, or an error that names what was looked for. A name goes before an ID.
func (v *View) NodeByName(s string) (*Node, error) {
	want := strings.ToLower(strings.TrimSuffix(strings.TrimSuffix(s, "."), "."+v.Domain()))
	addr, _ := netip.ParseAddr(s)
	for n := range v.Nodes() {
		if n.Name == want || n.StableID == s || addr.IsValid() && (n.IPv4 == addr || n.IPv6 == addr) {
			return n, nil
		}
	}
	if id, err := selvage.ParseNodeID(s); err == nil && v.Node(id) != nil {
		return v.Node(id), nil
	}
	return nil, selvage.Errorf(selvage.KindNotFound, "no node %q in tailnet %s; `selvage node list` shows them", s, v.Tailnet.Name)
}

// Nodes returns all nodes, by ID.
func (v *View) Nodes() iter.Seq[*Node] { return v.nodes.all }

// User returns the user with the given ID, or nil.
func (v *View) User(id selvage.UserID) *selvage.User { return v.users.user(id) }

// UserByLogin returns the user with the given login, or an error that names it.
func (v *View) UserByLogin(login string) (*selvage.User, error) {
	if u := v.users.login(login); u != nil {
		return u, nil
	}
	return nil, selvage.Errorf(selvage.KindNotFound, "no user %q in tailnet %s; `selvage user list` shows them", login, v.Tailnet.Name)
}

// Users returns all users, by ID.
func (v *View) Users() []*selvage.User { return v.users.list() }

// Owner returns the owner with the lowest ID, or nil if there is none.
func (v *View) Owner() *selvage.User {
	for u := range v.users.byID.all {
		if u.Role == selvage.RoleOwner {
			return u
		}
	}
	return nil
}

// AuthKey returns the auth key with the given ID, or nil.
func (v *View) AuthKey(id selvage.KeyID) *selvage.AuthKey { return v.keys.at(string(id)) }

// AuthKeys returns all auth keys, newest first.
func (v *View) AuthKeys() []*selvage.AuthKey {
	keys := slices.Collect(v.keys.all)
	slices.SortFunc(keys, func(a, b *selvage.AuthKey) int {
		return cmp.Or(b.Created.Compare(a.Created), strings.Compare(string(a.ID), string(b.ID)))
	})
	return keys
}

// Sees reports whether viewer is told of peer.
func (v *View) Sees(viewer, peer *Node) bool {
	return viewer.ID != peer.ID && viewer.takesPart() && peer.takesPart() && !viewer.Expired &&
		v.Policy.Sees(viewer.Class, peer.Class)
}

// Peers returns the nodes that viewer is told of.
func (v *View) Peers(viewer *Node) iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		sees := v.sight(viewer)
		for n := range v.nodes.all {
			if sees(n) && !yield(n) {
				return
			}
		}
	}
}

// sight returns Sees for one viewer, for many questions about nodes of the view.
func (v *View) sight(viewer *Node) func(peer *Node) bool {
	if !viewer.takesPart() || viewer.Expired {
		return func(*Node) bool { return false }
	}
	row := v.Policy.row(viewer.Class)
	return func(peer *Node) bool {
		return peer.takesPart() && row.has(peer.Class) && peer.ID != viewer.ID
	}
}

// membersOf returns the addresses of the members of a class, by node ID.
func (v *View) membersOf(c policy.Class) []netip.Addr {
	v.addrsOnce.Do(func() {
		v.addrs = map[policy.Class][]netip.Addr{}
		for n := range v.nodes.all {
			if n.takesPart() {
				v.addrs[n.Class] = append(v.addrs[n.Class], n.Addresses()...)
			}
		}
	})
	return v.addrs[c]
}

// ownedBy returns the nodes that belong to a user and not to tags.
func (v *View) ownedBy(id selvage.UserID) []*Node {
	v.ownersOnce.Do(func() {
		v.owned = map[selvage.UserID][]*Node{}
		for n := range v.nodes.all {
			if !n.Tagged() {
				v.owned[n.User] = append(v.owned[n.User], n)
			}
		}
	})
	return v.owned[id]
}

// Superseded is closed when there is a newer view.
func (v *View) Superseded() <-chan struct{} { return v.superseded }

// Domain returns the tailnet's MagicDNS suffix.
func (v *View) Domain() string { return v.Tailnet.Settings.Domain }

// Filter returns the packet filter of a node, never nil. A node that takes no part
// admits nothing.
func (v *View) Filter(n *Node) []tailcfg.FilterRule {
	if !n.takesPart() {
		return []tailcfg.FilterRule{}
	}
	return v.Policy.Compiled.Filter(n.Device(), n.Class, v.membersOf, v.subnetRoutes()...)
}

// SSH returns the SSH rules of a node, or nil if it has none.
func (v *View) SSH(n *Node) *tailcfg.SSHPolicy {
	if !n.takesPart() || !v.Policy.HasSSH(n.Class) {
		return nil
	}
	return v.Policy.Compiled.SSH(n.Device(), n.Class, v.membersOf)
}

// subnetRoutes returns the approved and advertised subnet routes of the tailnet.
func (v *View) subnetRoutes() []netip.Prefix {
	v.routesOnce.Do(func() {
		for n := range v.nodes.all {
			for _, r := range n.Routes {
				if !selvage.IsExitRoute(r) {
					v.subnets = append(v.subnets, r)
				}
			}
		}
		sortPrefixes(v.subnets)
		v.subnets = slices.Compact(v.subnets)
	})
	return v.subnets
}
