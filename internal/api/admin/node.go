package admin

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"selvage"
	"selvage/internal/authz"
	"selvage/internal/netmap"
)

// NodeOf returns a device as the API shows it.
func NodeOf(v *netmap.View, n *netmap.Node) Node {
	j := Node{
		ID: n.ID, StableID: n.StableID, Name: n.Name, FQDN: n.Name + "." + v.Domain(), Tags: listed(n.Tags),
		IPv4: n.IPv4, IPv6: n.IPv6, Online: n.Online, LastSeen: n.Soft.LastSeen,
		Expired: n.Expired, KeyExpiry: n.KeyExpiry, Approved: n.Approved, Ephemeral: n.Ephemeral,
		AdvertisedRoutes: listed(n.Soft.Advertised()), ApprovedRoutes: listed(n.ApprovedRoutes),
		PrimaryRoutes: listed(n.Primary), ExitNode: n.ExitNode(), Endpoints: listed(n.Soft.Endpoints),
		HomeRelay: n.Soft.HomeDERP, Created: n.Created,
		NodeKey: n.Key.String(), MachineKey: n.Machine.String(),
	}
	if h := n.Soft.Hostinfo; h != nil {
		j.OS, j.ClientVersion, j.Hostname = h.OS, h.IPNVersion, h.Hostname
	}
	if u := v.User(n.User); u != nil && !n.Tagged() {
		j.User = u.Login
	}
	return j
}

// listed makes a list of JSON that is never null.
func listed[T any](list []T) []T { return append([]T{}, list...) }

// node returns the tailnet and the device that a request is about, if the actor may
// do the action to it.
func (r *request) node(a authz.Action) (*netmap.Net, *netmap.Node, error) {
	net, err := r.tailnet()
	if err != nil {
		return nil, nil, err
	}
	n, err := net.View().NodeByName(r.PathValue("node"))
	if err != nil {
		// Whoever may not see devices is not told which there are.
		if denied := authz.Allow(r.actor, authz.NodeRead); denied != nil {
			return nil, nil, denied
		}
		return nil, nil, err
	}
	return net, n, authz.AllowOwn(r.actor, a, n.User)
}

// current answers with the newest state of a device.
func current(net *netmap.Net, id selvage.NodeID) (any, error) {
	v := net.View()
	n := v.Node(id)
	if n == nil {
		return nil, selvage.Errorf(selvage.KindNotFound, "node %d is no longer there", id)
	}
	return NodeOf(v, n), nil
}

func listNodes(r *request) (any, error) {
	net, err := r.net(authz.NodeRead)
	if err != nil {
		return nil, err
	}
	keep, err := nodeFilter(r)
	if err != nil {
		return nil, err
	}
	list := []Node{}
	v := net.View()
	for n := range v.Nodes() {
		if j := NodeOf(v, n); keep(&j) {
			list = append(list, j)
		}
	}
	slices.SortFunc(list, func(a, b Node) int { return int(a.ID - b.ID) })
	return list, nil
}

// nodeFilter reads the filters of a list: query is part of a name, host name, user,
// tag or address, or of the operating system; user, tag, online, expired and approved
// are exact.
func nodeFilter(r *request) (func(*Node) bool, error) {
	q := r.URL.Query()
	var tests []func(*Node) bool
	if s := strings.ToLower(q.Get("query")); s != "" {
		tests = append(tests, func(n *Node) bool { return mentions(n, s) })
	}
	if s := q.Get("user"); s != "" {
		tests = append(tests, func(n *Node) bool { return strings.EqualFold(n.User, s) })
	}
	if s := q.Get("tag"); s != "" {
		tests = append(tests, func(n *Node) bool { return slices.Contains(n.Tags, s) })
	}
	for _, f := range []struct {
		name string
		is   func(*Node) bool
	}{
		{"online", func(n *Node) bool { return n.Online }},
		{"expired", func(n *Node) bool { return n.Expired }},
		{"approved", func(n *Node) bool { return n.Approved }},
	} {
		if q.Get(f.name) == "" {
			continue
		}
		want, err := strconv.ParseBool(q.Get(f.name))
		if err != nil {
			return nil, selvage.Errorf(selvage.KindInvalid, "%s=%s: want true or false", f.name, q.Get(f.name))
		}
		tests = append(tests, func(n *Node) bool { return f.is(n) == want })
	}
	return func(n *Node) bool {
		return !slices.ContainsFunc(tests, func(test func(*Node) bool) bool { return !test(n) })
	}, nil
}

// mentions reports whether something that identifies the device contains s, which is
// in lower case.
func mentions(n *Node, s string) bool {
	texts := append([]string{n.FQDN, n.Hostname, n.User, n.IPv4.String(), n.IPv6.String(), n.OS}, n.Tags...)
	return slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(strings.ToLower(t), s) })
}

func getNode(r *request) (any, error) {
	net, n, err := r.node(authz.NodeRead)
	if err != nil {
		return nil, err
	}
	return current(net, n.ID)
}

func deleteNode(r *request) (any, error) {
	net, n, err := r.node(authz.NodeWrite)
	if err != nil {
		return nil, err
	}
	return done(), net.DeleteNode(r.Context(), r.actor, n.ID)
}

func renameNode(r *request) (any, error) {
	net, n, err := r.node(authz.NodeWrite)
	if err != nil {
		return nil, err
	}
	b, err := body[NodeName](r)
	if err != nil {
		return nil, err
	}
	if err := net.RenameNode(r.Context(), r.actor, n.ID, b.Name); err != nil {
		return nil, err
	}
	return current(net, n.ID)
}

func tagNode(r *request) (any, error) {
	net, n, err := r.node(authz.NodeTag)
	if err != nil {
		return nil, err
	}
	b, err := body[NodeTags](r)
	if err != nil {
		return nil, err
	}
	if err := net.SetNodeTags(r.Context(), r.actor, n.ID, b.Tags); err != nil {
		return nil, err
	}
	return current(net, n.ID)
}

func approveNode(r *request) (any, error) {
	net, n, err := r.node(authz.NodeApprove)
	if err != nil {
		return nil, err
	}
	if err := net.ApproveNode(r.Context(), r.actor, n.ID); err != nil {
		return nil, err
	}
	return current(net, n.ID)
}

func expireNode(r *request) (any, error) {
	net, n, err := r.node(authz.NodeWrite)
	if err != nil {
		return nil, err
	}
	if err := net.ExpireNode(r.Context(), r.actor, n.ID); err != nil {
		return nil, err
	}
	return current(net, n.ID)
}

func setKeyExpiry(r *request) (any, error) {
	net, n, err := r.node(authz.NodeKeyExpiry)
	if err != nil {
		return nil, err
	}
	b, err := body[NodeKeyExpiry](r)
	if err != nil {
		return nil, err
	}
	if !b.At.IsZero() && b.At.Before(r.s.now()) {
		return nil, selvage.Errorf(selvage.KindInvalid, "the key of %s cannot end in the past; to end it now, expire the device", n.Name)
	}
	if err := net.SetKeyExpiry(r.Context(), r.actor, n.ID, b.At); err != nil {
		return nil, err
	}
	return current(net, n.ID)
}

func pingNode(r *request) (any, error) {
	net, n, err := r.node(authz.NodeRequest)
	if err != nil {
		return nil, err
	}
	b, err := body[NodePing](r)
	if err != nil {
		return nil, err
	}
	switch b.Kind {
	case "":
		b.Kind = "disco"
	case "disco", "TSMP", "ICMP", "peerapi":
	default:
		return nil, selvage.Errorf(selvage.KindInvalid, "bad kind of ping %q: want disco, TSMP, ICMP or peerapi", b.Kind)
	}
	to, err := netip.ParseAddr(b.To)
	if err != nil {
		other, err := net.View().NodeByName(b.To)
		if err != nil {
			return nil, err
		}
		to = other.Addresses()[0] // the policy may have taken the IPv4 one away
	}
	if r.s.opts.Ping == nil {
		return nil, missing("ask devices to ping")
	}
	return r.s.opts.Ping(r.Context(), r.actor, net, n, to, b.Kind)
}

// registerNode connects a device that waits for a person.
func registerNode(r *request) (any, error) {
	net, err := r.tailnet()
	if err != nil {
		return nil, err
	}
	b, err := body[NodeRegister](r)
	if err != nil {
		return nil, err
	}
	u, err := r.userOr(net, b.User)
	if err != nil {
		return nil, err
	}
	if err := r.mayRegister(u, b.Tags); err != nil {
		return nil, err
	}
	if r.s.opts.Register == nil {
		return nil, missing("connect devices that wait")
	}
	preapproved := authz.Allow(r.actor, authz.NodeApprove) == nil
	n, err := r.s.opts.Register(r.Context(), r.actor, net, b.Code, u.ID, b.Tags, preapproved)
	if err != nil {
		return nil, err
	}
	return current(net, n.ID)
}

func (r *request) mayRegister(u *selvage.User, tags []string) error {
	if err := authz.AllowOwn(r.actor, authz.NodeRegister, u.ID); err != nil {
		return err
	}
	if u.Suspended {
		return selvage.Errorf(selvage.KindConflict, "user %s is suspended; restore the user first, or choose another one", u.Login)
	}
	if len(tags) > 0 {
		return authz.Allow(r.actor, authz.NodeTag)
	}
	if r.actor.User != u.ID {
		return authz.AllowOver(r.actor, authz.NodeRegister, u.Role)
	}
	return nil
}

// userOr returns the user with the login; without one the actor, or on the server's
// own socket the owner.
func (r *request) userOr(net *netmap.Net, login string) (*selvage.User, error) {
	v := net.View()
	if login != "" {
		return v.UserByLogin(login)
	}
	if u := v.User(r.actor.User); u != nil {
		return u, nil
	}
	if u := v.Owner(); u != nil {
		return u, nil
	}
	return nil, selvage.Errorf(selvage.KindNotFound, "tailnet %s has no owner; name a user", v.Tailnet.Name)
}

// life checks how long a secret is to last and returns when it ends.
func (r *request) life(seconds int64, usual, least, most time.Duration) (time.Time, error) {
	d := usual
	if seconds != 0 {
		// Compared before it is multiplied, which could overflow.
		if seconds < int64(least/time.Second) || seconds > int64(most/time.Second) {
			return time.Time{}, selvage.Errorf(selvage.KindInvalid, "bad expiry of %d seconds: want between %d (%s) and %d (%s)",
				seconds, int64(least/time.Second), words(least), int64(most/time.Second), words(most))
		}
		d = time.Duration(seconds) * time.Second
	}
	return r.s.now().UTC().Add(d), nil
}

func words(d time.Duration) string {
	if d < 48*time.Hour {
		return strconv.Itoa(int(d/time.Hour)) + "h"
	}
	return strconv.Itoa(int(d/(24*time.Hour))) + "d"
}
