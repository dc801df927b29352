package netmap_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/netmap"
)

func mustSetPolicy(t *testing.T, n *netmap.Net, text string) {
	t.Helper()
	if _, err := n.SetPolicy(t.Context(), selvage.Local(), text); err != nil {
		t.Fatal(err)
	}
}

// A posture is judged by what the device reports, and again with each report.
func TestPosturesFollowReports(t *testing.T) {
	_, n, alice := setup(t)
	j, db := device("laptop"), device("db")
	j.User = alice.ID
	db.User, db.Tags = alice.ID, []string{"tag:db"}
	laptop, server := mustJoin(t, n, j).ID, mustJoin(t, n, db).ID
	mustSetPolicy(t, n, `{
		"tagOwners": {"tag:db": ["alice"]},
		"postures": {"posture:new": ["node:os == 'linux'", "node:tsVersion >= '1.100'"]},
		"grants": [{"src": ["alice"], "dst": ["tag:db"], "ip": ["tcp:5432"], "srcPosture": ["posture:new"]}],
	}`)
	sees := func() bool {
		v := n.View()
		return v.Sees(v.Node(server), v.Node(laptop))
	}
	if sees() {
		t.Error("a device that has not told its version is let in")
	}
	for _, c := range []struct {
		os, version string
		want        bool
	}{{"linux", "1.102.5", true}, {"linux", "1.98.1", false}, {"linux", "1.100.0-tdeadbeef", true}, {"windows", "1.102.5", false}} {
		before := n.View()
		if _, err := n.Report(laptop, func(s *selvage.Soft) {
			s.Hostinfo = &tailcfg.Hostinfo{Hostname: "laptop", OS: c.os, IPNVersion: c.version}
		}); err != nil {
			t.Fatal(err)
		}
		if got := sees(); got != c.want {
			t.Errorf("%s %s: the server sees the laptop: %v, want %v", c.os, c.version, got, c.want)
		}
		d := n.View().Since(before, before.Node(server))
		if told := len(d.Whole) == 1 || len(d.Removed) == 1; !told || !d.Filter {
			t.Errorf("%s %s: the server is told %+v", c.os, c.version, d)
		}
	}
}

// A grant with via gives each its own router, and another one when that goes.
func TestViaChoosesRouters(t *testing.T) {
	_, n, alice := setup(t)
	route := netip.MustParsePrefix("10.1.0.0/16")
	mustSetPolicy(t, n, `{
		"tagOwners": {"tag:east": [], "tag:west": [], "tag:both": []},
		"autoApprovers": {"routes": {"10.1.0.0/16": ["tag:east", "tag:west"]}},
		"grants": [
			{"src": ["alice"], "dst": ["10.1.0.0/16"], "via": ["tag:west"], "ip": ["*"]},
			{"src": ["bob"], "dst": ["10.1.0.0/16"], "via": ["tag:east"], "ip": ["*"]},
		],
	}`)
	bob, err := n.CreateUser(t.Context(), selvage.Local(), "bob", "", selvage.RoleMember)
	if err != nil {
		t.Fatal(err)
	}
	join := func(name string, user selvage.UserID, tags ...string) selvage.NodeID {
		j := device(name)
		j.User, j.Tags = user, tags
		if len(tags) > 0 {
			j.User, j.Hostinfo.RoutableIPs = n.View().Owner().ID, []netip.Prefix{route}
		}
		return mustJoin(t, n, j).ID
	}
	east, west, west2 := join("east", 0, "tag:east"), join("west", 0, "tag:west"), join("west2", 0, "tag:west")
	a, b := join("a", alice.ID), join("b", bob.ID)
	watches := map[selvage.NodeID]*netmap.Watch{}
	for _, id := range []selvage.NodeID{east, west, west2, a, b} {
		w, err := n.Watch(id)
		if err != nil {
			t.Fatal(err)
		}
		watches[id] = w
	}
	routers := func(viewer selvage.NodeID) (ids []selvage.NodeID) {
		v := n.View()
		for p := range v.Peers(v.Node(viewer)) {
			if slices.Contains(v.RoutesFor(v.Node(viewer), p), route) {
				ids = append(ids, p.ID)
			}
		}
		return ids
	}
	want := func(when string, viewer selvage.NodeID, ids ...selvage.NodeID) {
		t.Helper()
		if got := routers(viewer); !slices.Equal(got, ids) {
			t.Errorf("%s: %d has the route by way of %v, want %v", when, viewer, got, ids)
		}
	}
	want("at first", a, west)
	want("at first", b, east)
	before := n.View()
	n.SetReachable(west, false)
	want("without west", a, west2)
	want("without west", b, east)
	d := n.View().Since(before, before.Node(a))
	var told []selvage.NodeID
	for _, p := range d.Whole {
		told = append(told, p.ID)
	}
	if !slices.Contains(told, west) || !slices.Contains(told, west2) {
		t.Errorf("the device is told of %v when its router goes", told)
	}
	n.SetReachable(west, true)
	want("with west again", a, west)
}

func TestPolicyTakesIPv4Away(t *testing.T) {
	_, n, alice := setup(t)
	j := device("laptop")
	j.User = alice.ID
	node := mustJoin(t, n, j)
	v4 := node.IPv4
	for _, policy := range []string{
		`{"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}], "disableIPv4": true}`,
		`{"grants": [], "nodeAttrs": [{"target": ["alice"], "attr": ["disable-ipv4"]}]}`,
	} {
		mustSetPolicy(t, n, policy)
		if got := n.View().Node(node.ID).AddressPrefixes(); len(got) != 1 || got[0].Addr() != node.IPv6 {
			t.Errorf("%s: the device has %v", policy, got)
		}
	}
	mustSetPolicy(t, n, `{"grants": []}`)
	if got := n.View().Node(node.ID).Addresses(); len(got) != 2 || got[0] != v4 {
		t.Errorf("with IPv4 again: %v, want %v as before", got, v4)
	}
}

func TestAddressesFromAPool(t *testing.T) {
	_, n, alice := setup(t)
	mustSetPolicy(t, n, `{"grants": [], "nodeAttrs": [{"target": ["alice"], "ipPool": ["100.81.7.8/31"]}]}`)
	var got []string
	for _, name := range []string{"a", "b"} {
		j := device(name)
		j.User = alice.ID
		got = append(got, mustJoin(t, n, j).IPv4.String())
	}
	if !slices.Equal(got, []string{"100.81.7.8", "100.81.7.9"}) {
		t.Errorf("addresses are %v", got)
	}
	j := device("c")
	j.User = alice.ID
	_, err := n.Join(t.Context(), selvage.System(), j)
	wantError(t, err, selvage.KindConflict, "100.81.7.8/31", "ipPool")
	j.User = n.View().Owner().ID
	mustSetPolicy(t, n, `{"grants": [], "nodeAttrs": [{"target": ["alice"], "ipPool": ["100.81.7.0/24"]}]}`)
	if a := mustJoin(t, n, j).IPv4; netip.MustParsePrefix("100.81.7.0/24").Contains(a) {
		t.Errorf("a device of another has %v", a)
	}
}

// Tests that no longer hold, since somebody left, are told of; the policy stays.
func TestPolicyThatNoLongerHolds(t *testing.T) {
	_, n, alice := setup(t)
	mustSetPolicy(t, n, `{
		"tagOwners": {"tag:db": []},
		"grants": [{"src": ["autogroup:admin"], "dst": ["tag:db"], "ip": ["22"]}],
		"tests": [{"src": "alice", "deny": ["tag:db:22"]}],
	}`)
	rev := n.View().Policy.Rev.Rev
	if err := n.View().Policy.Failing; err != nil {
		t.Fatal(err)
	}
	role := func(r selvage.Role) {
		t.Helper()
		if err := n.UpdateUser(t.Context(), selvage.Local(), alice.ID, func(u *selvage.User) { u.Role = r }); err != nil {
			t.Fatal(err)
		}
	}
	role(selvage.RoleAdmin)
	if p := n.View().Policy; p.Failing == nil || !strings.Contains(p.Failing.Error(), "alice") || p.Rev.Rev != rev {
		t.Errorf("revision %d is in force, want %d; its tests say %v", p.Rev.Rev, rev, p.Failing)
	}
	role(selvage.RoleMember)
	if err := n.View().Policy.Failing; err != nil {
		t.Errorf("with the old role: %v", err)
	}
}

// In a large network, a device that joins a group changes nobody's packet filter; in a
// small one filters say addresses.
func TestJoiningAGroupChangesNoFilterInALargeNetwork(t *testing.T) {
	_, n, alice := setup(t)
	mustSetPolicy(t, n, `{
		"groups": {"group:ops": ["alice"]},
		"tagOwners": {"tag:db": []},
		"grants": [{"src": ["group:ops"], "dst": ["tag:db"], "ip": ["tcp:5432", "icmp:*"]}],
	}`)
	db := device("db")
	db.User, db.Tags = n.View().Owner().ID, []string{"tag:db"}
	server := mustJoin(t, n, db).ID
	join := func() (*netmap.Node, netmap.Delta) {
		before := n.View()
		j := device("laptop")
		j.User = alice.ID
		node := mustJoin(t, n, j)
		return node, n.View().Since(before, before.Node(server))
	}
	node, d := join()
	filter := n.View().PacketFilter(n.View().Node(server))
	if text := fmt.Sprint(filter); !d.Filter || !strings.Contains(text, node.IPv4.String()) {
		t.Errorf("in a small network the filter is %s", text)
	}
	for n.View().Compact() == false {
		join()
	}
	was := n.View().PacketFilter(n.View().Node(server))
	node, d = join()
	is := n.View().PacketFilter(n.View().Node(server))
	if d.Filter || !reflect.DeepEqual(was, is) || len(d.Whole) != 1 {
		t.Errorf("one more member: filter changed: %v, told of %d devices; %v, now %v", d.Filter, len(d.Whole), was, is)
	}
	v := n.View()
	caps := v.PeerCaps(v.Node(server), v.Node(node.ID))
	if text := fmt.Sprint(is); len(caps) != 1 || !strings.Contains(text, "cap:"+string(caps[0])) || strings.Contains(text, node.IPv4.String()) {
		t.Errorf("the filter is %s, and the device has %v", text, caps)
	}
	// The form stays until the network is much smaller.
	count := func() int { return len(slices.Collect(n.View().Nodes())) }
	for count() > compactFrom/2 {
		for x := range n.View().Nodes() {
			if x.ID != server {
				if err := n.DeleteNode(t.Context(), selvage.Local(), x.ID); err != nil {
					t.Fatal(err)
				}
				break
			}
		}
		if !n.View().Compact() && count() >= compactFrom/2 {
			t.Errorf("the form changes with %d devices", count())
		}
	}
}
