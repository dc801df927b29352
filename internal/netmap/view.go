package netmap

import (
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/policy"
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

	net   *Net
	nodes table
	users *people
	keys  map[selvage.KeyID]*selvage.AuthKey
	// members has, for each class, the seq at which its members last changed.
	members map[policy.Class]uint64

	// superseded is closed when there is a newer view.
	superseded chan struct{}
	// routesSeq is the seq at which some node's routes last changed.
	routesSeq uint64

	addrsOnce  sync.Once
	routesOnce sync.Once
	subnets    []netip.Prefix
	addrs      map[policy.Class][]netip.Addr
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
}

// people are the users of a view, replaced as a whole when one of them changes.
type people struct {
	byID    map[selvage.UserID]*selvage.User
	byLogin map[string]*selvage.User // lower case
}

// Node returns the node with the given ID, or nil.
func (v *View) Node(id selvage.NodeID) *Node {
	slot, ok := v.net.slotOf(id)
	if !ok {
		return nil
	}
	if n := v.nodes.at(slot); n != nil && n.ID == id {
		return n
	}
	return nil
}

// NodeByName returns the node with the given name, full name, address or ID, or an
// error that names what was looked for.
func (v *View) NodeByName(s string) (*Node, error) {
	want := strings.ToLower(strings.TrimSuffix(strings.TrimSuffix(s, "."), "."+v.Tailnet.Settings.Domain))
	addr, _ := netip.ParseAddr(s)
	for n := range v.Nodes() {
		if n.Name == want || n.StableID == s || n.ID.String() == s || (addr.IsValid() && (n.IPv4 == addr || n.IPv6 == addr)) {
			return n, nil
		}
	}
	return nil, selvage.Errorf(selvage.KindNotFound, "no node %q in tailnet %s; `selvage node list` shows them", s, v.Tailnet.Name)
}

// Nodes returns all nodes, in the order of their slots.
func (v *View) Nodes() iter.Seq[*Node] { return v.nodes.all }

// User returns the user with the given ID, or nil.
func (v *View) User(id selvage.UserID) *selvage.User { return v.users.byID[id] }

// UserByLogin returns the user with the given login, or an error that names it.
func (v *View) UserByLogin(login string) (*selvage.User, error) {
	if u := v.users.byLogin[strings.ToLower(login)]; u != nil {
		return u, nil
	}
	return nil, selvage.Errorf(selvage.KindNotFound, "no user %q in tailnet %s; `selvage user list` shows them", login, v.Tailnet.Name)
}

// Users returns all users, by ID.
func (v *View) Users() []*selvage.User {
	users := make([]*selvage.User, 0, len(v.users.byID))
	for _, u := range v.users.byID {
		users = append(users, u)
	}
	slices.SortFunc(users, func(a, b *selvage.User) int { return int(a.ID - b.ID) })
	return users
}

// Owner returns the owner with the lowest ID, or nil if there is none.
func (v *View) Owner() *selvage.User {
	for _, u := range v.Users() {
		if u.Role == selvage.RoleOwner {
			return u
		}
	}
	return nil
}

// AuthKey returns the auth key with the given ID, or nil.
func (v *View) AuthKey(id selvage.KeyID) *selvage.AuthKey { return v.keys[id] }

// AuthKeys returns all auth keys, newest first.
func (v *View) AuthKeys() []*selvage.AuthKey {
	keys := make([]*selvage.AuthKey, 0, len(v.keys))
	for _, k := range v.keys {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b *selvage.AuthKey) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID), string(b.ID))
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
		for n := range v.nodes.all {
			if v.Sees(viewer, n) && !yield(n) {
				return
			}
		}
	}
}

// RoutesFor returns those routes that viewer may send into through peer: subnet
// routes that peer serves now, and exit routes.
func (v *View) RoutesFor(viewer, peer *Node) []netip.Prefix {
	if len(peer.Routes) == 0 {
		return nil
	}
	var routes []netip.Prefix
	for _, r := range peer.Routes {
		if !selvage.IsExitRoute(r) && !slices.Contains(peer.Primary, r) {
			continue
		}
		if v.Policy.UsesRoute(viewer.Class, r) {
			routes = append(routes, r)
		}
	}
	return routes
}

// membersOf returns the addresses of the members of a class, in slot order.
func (v *View) membersOf(c policy.Class) []netip.Addr {
	v.addrsOnce.Do(func() {
		v.addrs = map[policy.Class][]netip.Addr{}
		for n := range v.nodes.all {
			if n.takesPart() {
				v.addrs[n.Class] = append(v.addrs[n.Class], n.IPv4, n.IPv6)
			}
		}
	})
	return v.addrs[c]
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
