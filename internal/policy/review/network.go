// Package review answers what people ask of a policy over a network of devices: what
// a change does before it is made, why something is allowed or not, who reaches a
// device and what somebody reaches, and what is odd about the text. It is pure: it
// is told the policy and the devices, and returns data with small renderers. It
// decides nothing itself; all decisions are those of package policy.
package review

import (
	"net/netip"
	"slices"
	"strings"

	"selvage"
	"selvage/internal/policy"
)

// Node is a device with what matters to people beside the policy.
type Node struct {
	policy.Device
	Name string
	// Approved devices take part; Expired ones have to sign in again.
	Approved, Expired bool
	Online            bool
	// Advertised are the routes that the device offers, approved or not; Primary are
	// those that it carries for everybody at the moment.
	Advertised, Primary []netip.Prefix
	// NoRelay is set if the device has told of no relay by which others reach it.
	NoRelay bool
}

// Network is a policy over devices. It is safe for concurrent use.
type Network struct {
	pol     *policy.Policy
	c       *policy.Compiled
	nodes   []Node
	classes []policy.Class
	logins  map[selvage.UserID]string
	rules   []policy.RuleInfo
	ssh     []policy.RuleInfo
	members map[policy.Class][]netip.Addr
	routes  []netip.Prefix
}

// New puts devices under a policy. compiled is the policy with the people; it learns
// the classes of the devices.
func New(pol *policy.Policy, compiled *policy.Compiled, people []policy.Person, nodes []Node) *Network {
	n := &Network{
		pol: pol, c: compiled, nodes: nodes,
		logins:  make(map[selvage.UserID]string, len(people)),
		rules:   pol.Rules(),
		ssh:     pol.SSHRules(),
		members: make(map[policy.Class][]netip.Addr),
	}
	for _, p := range people {
		n.logins[p.ID] = p.Login
	}
	for _, d := range nodes {
		k := compiled.Class(d.Device)
		n.classes = append(n.classes, k)
		if d.Approved {
			n.members[k] = append(n.members[k], d.Addrs...)
		}
		n.routes = append(n.routes, d.Routes...)
	}
	return n
}

func (n *Network) addrs(k policy.Class) []netip.Addr { return n.members[k] }

// owner returns who a device belongs to: a login, or its tags.
func (n *Network) owner(d policy.Device) string {
	switch {
	case d.Shared:
		return "another network"
	case len(d.Tags) > 0:
		return strings.Join(slices.Sorted(slices.Values(d.Tags)), " ")
	}
	if login, ok := n.logins[d.User]; ok {
		return login
	}
	return "nobody"
}

// find returns the devices that a name means: a device's name or address, a login,
// or a tag; none if it means nothing.
func (n *Network) find(name string) []int {
	var out []int
	addr, err := netip.ParseAddr(name)
	for i, d := range n.nodes {
		switch {
		case strings.EqualFold(d.Name, name):
			return []int{i}
		case err == nil && slices.Contains(d.Addrs, addr):
			return []int{i}
		case strings.HasPrefix(name, "tag:") && slices.Contains(d.Tags, name):
			out = append(out, i)
		case len(d.Tags) == 0 && !d.Shared && d.User != 0 && strings.EqualFold(n.logins[d.User], name):
			out = append(out, i)
		}
	}
	return out
}

// router is a route and who serves it, in the order of the nodes.
type router struct {
	route netip.Prefix
	nodes []int
}

// routers returns the routes of the network.
func (n *Network) routers() []router {
	index := make(map[netip.Prefix]int)
	var out []router
	for i, d := range n.nodes {
		for _, r := range d.Routes {
			at, ok := index[r]
			if !ok {
				at = len(out)
				index[r] = at
				out = append(out, router{route: r})
			}
			out[at].nodes = append(out[at].nodes, i)
		}
	}
	return out
}

// carriers returns, for each route, the node that carries it for devices of a class,
// or -1; exit nodes each carry their own.
func (n *Network) carriers(k policy.Class, routes []router) []int {
	var out []int
	for _, r := range routes {
		if selvage.IsExitRoute(r.route) {
			for _, i := range r.nodes {
				out = append(out, n.c.Carrier(k, r.route, []policy.Class{n.classes[i]}))
			}
			continue
		}
		classes := make([]policy.Class, len(r.nodes))
		for x, i := range r.nodes {
			classes[x] = n.classes[i]
		}
		out = append(out, n.c.Carrier(k, r.route, classes))
	}
	return out
}

// servers returns the devices that serve an address, those that carry it for
// everybody first, the narrowest network first.
func (n *Network) servers(a netip.Addr) []int {
	type server struct{ node, bits, rank int }
	var found []server
	for i, d := range n.nodes {
		for _, s := range d.Services {
			if slices.Contains(s.Addrs, a) {
				found = append(found, server{i, a.BitLen(), 0})
			}
		}
		for _, r := range d.Routes {
			if r.Contains(a) {
				rank := 1
				if slices.Contains(d.Primary, r) {
					rank = 0
				}
				found = append(found, server{i, r.Bits(), rank})
			}
		}
	}
	slices.SortStableFunc(found, func(x, y server) int {
		if x.bits != y.bits {
			return y.bits - x.bits
		}
		return x.rank - y.rank
	})
	var out []int
	for _, s := range found {
		if !slices.Contains(out, s.node) {
			out = append(out, s.node)
		}
	}
	return out
}
