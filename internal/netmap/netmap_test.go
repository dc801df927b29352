package netmap_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/journal"
	"selvage/internal/netmap"
	"selvage/internal/store"
	"selvage/internal/store/storetest"
)

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

// quiet is for logs that no test reads.
var quiet = slog.New(slog.DiscardHandler)

func newClock() *clock { return &clock{now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// compactFrom makes tailnets of tests change the form of their filters now and then.
const compactFrom = 10

func open(t *testing.T, db *store.DB, c *clock) (*netmap.Hub, *netmap.Net) {
	t.Helper()
	hub, err := netmap.Open(t.Context(), netmap.Options{DB: db, Logger: slog.New(slog.DiscardHandler), Now: c.Now, CompactFrom: compactFrom})
	if err != nil {
		t.Fatal(err)
	}
	return hub, hub.Nets()[0]
}

const tagPolicy = `{
	"tagOwners": {"tag:db": ["alice"], "tag:ci": [], "tag:ci-runner": ["tag:ci"]},
	"autoApprovers": {"routes": {"10.9.0.0/16": ["tag:db"]}},
	"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}],
}`

func setup(t *testing.T) (*clock, *netmap.Net, *selvage.User) {
	t.Helper()
	c := newClock()
	_, n := open(t, storetest.New(t), c)
	alice, err := n.CreateUser(t.Context(), selvage.Local(), "alice", "Alice", selvage.RoleMember)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.SetPolicy(t.Context(), selvage.Local(), tagPolicy); err != nil {
		t.Fatal(err)
	}
	return c, n, alice
}

func device(name string) netmap.Join {
	return netmap.Join{
		Machine: key.NewMachine().Public(), Key: key.NewNode().Public(), Cap: 142,
		Hostinfo: &tailcfg.Hostinfo{Hostname: name, OS: "linux"},
	}
}

func authKey(t *testing.T, n *netmap.Net, k selvage.AuthKey) selvage.KeyID {
	t.Helper()
	k.ID, k.Hash = selvage.KeyID(selvage.RandomText(12)), selvage.RandomText(64)
	if err := n.CreateAuthKey(t.Context(), selvage.Local(), &k); err != nil {
		t.Fatal(err)
	}
	return k.ID
}

func mustJoin(t *testing.T, n *netmap.Net, j netmap.Join) *netmap.Node {
	t.Helper()
	node, err := n.Join(t.Context(), selvage.System(), j)
	if err != nil {
		t.Fatal(err)
	}
	return node
}

func wantError(t *testing.T, err error, kind selvage.Kind, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if selvage.KindOf(err) != kind {
		t.Errorf("error %q is of kind %v, want %v", err, selvage.KindOf(err), kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func TestJoinWithAuthKey(t *testing.T) {
	c, n, alice := setup(t)
	soon := c.Now().Add(time.Hour)

	t.Run("a user's key gives the device to the user", func(t *testing.T) {
		j := device("laptop")
		j.AuthKey = authKey(t, n, selvage.AuthKey{User: alice.ID, Reusable: true, Expires: soon})
		node := mustJoin(t, n, j)
		if node.User != alice.ID || node.Tagged() || node.Name != "laptop" {
			t.Errorf("got user %d, tags %v, name %q", node.User, node.Tags, node.Name)
		}
		if want := c.Now().Add(selvage.DefaultKeyExpiry); !node.KeyExpiry.Equal(want) {
			t.Errorf("key expires %v, want %v", node.KeyExpiry, want)
		}
	})
	t.Run("a tagged key gives exactly its tags, and no expiry", func(t *testing.T) {
		j := device("db1")
		j.AuthKey = authKey(t, n, selvage.AuthKey{User: alice.ID, Tags: []string{"tag:db"}})
		j.Hostinfo.RequestTags = []string{"tag:db"}
		j.Hostinfo.RoutableIPs = []netip.Prefix{netip.MustParsePrefix("10.9.1.0/24"), netip.MustParsePrefix("10.8.0.0/16")}
		node := mustJoin(t, n, j)
		if node.User != 0 || !slices.Equal(node.Tags, []string{"tag:db"}) || !node.KeyExpiry.IsZero() {
			t.Errorf("got user %d, tags %v, expiry %v", node.User, node.Tags, node.KeyExpiry)
		}
		if want := j.Hostinfo.RoutableIPs[:1]; !slices.Equal(node.Routes, want) {
			t.Errorf("routes %v, want only the one that the policy approves, %v", node.Routes, want)
		}
	})
	t.Run("a tag that the key does not hold is refused", func(t *testing.T) {
		j := device("db2")
		j.AuthKey = authKey(t, n, selvage.AuthKey{User: alice.ID, Tags: []string{"tag:db"}})
		j.Hostinfo.RequestTags = []string{"tag:ci"}
		_, err := n.Join(t.Context(), selvage.System(), j)
		wantError(t, err, selvage.KindDenied, "tag:ci", "does not hold")
	})
	t.Run("an untagged key takes tags that its user owns, and no others", func(t *testing.T) {
		k := authKey(t, n, selvage.AuthKey{User: alice.ID, Reusable: true})
		j := device("own")
		j.AuthKey, j.Hostinfo.RequestTags = k, []string{"tag:db"}
		if node := mustJoin(t, n, j); !node.Tagged() {
			t.Error("the device has no tag")
		}
		j = device("other")
		j.AuthKey, j.Hostinfo.RequestTags = k, []string{"tag:ci"}
		_, err := n.Join(t.Context(), selvage.System(), j)
		wantError(t, err, selvage.KindDenied, "tag:ci")
	})
	t.Run("a single-use key serves one device, which may repeat itself", func(t *testing.T) {
		j := device("once")
		j.AuthKey = authKey(t, n, selvage.AuthKey{User: alice.ID})
		first := mustJoin(t, n, j)
		if again := mustJoin(t, n, j); again.ID != first.ID {
			t.Errorf("the repeated request made node %d beside %d", again.ID, first.ID)
		}
		other := device("twice")
		other.AuthKey = j.AuthKey
		_, err := n.Join(t.Context(), selvage.System(), other)
		wantError(t, err, selvage.KindDenied, "single device", string(j.AuthKey))
	})
	t.Run("an expired key is refused", func(t *testing.T) {
		j := device("late")
		j.AuthKey = authKey(t, n, selvage.AuthKey{User: alice.ID, Expires: c.Now().Add(time.Minute)})
		c.Advance(time.Minute)
		_, err := n.Join(t.Context(), selvage.System(), j)
		wantError(t, err, selvage.KindDenied, "expired")
	})
	t.Run("a revoked key is refused", func(t *testing.T) {
		j := device("revoked")
		j.AuthKey = authKey(t, n, selvage.AuthKey{User: alice.ID, Reusable: true})
		if err := n.RevokeAuthKey(t.Context(), selvage.Local(), j.AuthKey); err != nil {
			t.Fatal(err)
		}
		_, err := n.Join(t.Context(), selvage.System(), j)
		wantError(t, err, selvage.KindDenied, "revoked")
	})
	t.Run("an unknown tag cannot be put on a key", func(t *testing.T) {
		err := n.CreateAuthKey(t.Context(), selvage.Local(), &selvage.AuthKey{ID: "x", Hash: "x", User: alice.ID, Tags: []string{"tag:nope"}})
		wantError(t, err, selvage.KindInvalid, "tag:nope", "tagOwners")
	})
}

func TestJoinAgain(t *testing.T) {
	_, n, alice := setup(t)
	j := device("laptop")
	j.User = alice.ID
	first := mustJoin(t, n, j)

	t.Run("a new key of the same machine renews the node", func(t *testing.T) {
		again := j
		again.OldKey, again.Key = j.Key, key.NewNode().Public()
		node := mustJoin(t, n, again)
		if node.ID != first.ID || node.IPv4 != first.IPv4 || node.IPv6 != first.IPv6 {
			t.Errorf("got node %d at %v, want %d at %v", node.ID, node.IPv4, first.ID, first.IPv4)
		}
		if node.Key != again.Key {
			t.Error("the old key is still in force")
		}
		j = again
	})
	t.Run("a node key of another machine is refused", func(t *testing.T) {
		thief := j
		thief.Machine = key.NewMachine().Public()
		_, err := n.Join(t.Context(), selvage.System(), thief)
		wantError(t, err, selvage.KindDenied, "another machine")
	})
	t.Run("another user on the same machine gets a node of their own", func(t *testing.T) {
		bob, err := n.CreateUser(t.Context(), selvage.Local(), "bob", "", selvage.RoleMember)
		if err != nil {
			t.Fatal(err)
		}
		other := j
		other.OldKey, other.Key, other.User = j.Key, key.NewNode().Public(), bob.ID
		if node := mustJoin(t, n, other); node.ID == first.ID || node.User != bob.ID {
			t.Errorf("got node %d of user %d", node.ID, node.User)
		}
	})
	t.Run("an expired node comes back at its address", func(t *testing.T) {
		if err := n.ExpireNode(t.Context(), selvage.Local(), first.ID); err != nil {
			t.Fatal(err)
		}
		if !n.View().Node(first.ID).Expired {
			t.Fatal("the node has not expired")
		}
		again := j
		again.OldKey, again.Key = j.Key, key.NewNode().Public()
		if node := mustJoin(t, n, again); node.ID != first.ID || node.Expired || node.IPv4 != first.IPv4 {
			t.Errorf("got node %d at %v, expired %v", node.ID, node.IPv4, node.Expired)
		}
	})
}

func TestNamesAreUniqueAndHarmless(t *testing.T) {
	_, n, alice := setup(t)
	var names []string
	for _, hostname := range []string{"Web Server", "web-server", "web-server.local", "", "\x00\xff", "ワークステーション", strings.Repeat("x", 300)} {
		j := device(hostname)
		j.User = alice.ID
		names = append(names, mustJoin(t, n, j).Name)
	}
	want := []string{"web-server", "web-server-1", "web-server-2"}
	if !slices.Equal(names[:3], want) {
		t.Errorf("names %q, want %q", names[:3], want)
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != 7 {
		t.Errorf("names are not unique: %q", names)
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		c := newClock()
		hub, n := open(t, db, c)
		owner := n.View().Owner()
		if owner == nil || !owner.Pending {
			t.Fatalf("a new tailnet's owner is %+v, want a pending one", owner)
		}
		j := device("laptop")
		j.User = owner.ID
		before := mustJoin(t, n, j)
		_, err := n.Report(before.ID, func(s *selvage.Soft) {
			s.HomeDERP, s.Endpoints = 900, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1234")}
		})
		if err != nil {
			t.Fatal(err)
		}
		if hub.SoftLag() == 0 {
			t.Error("nothing waits to be saved")
		}
		if err := hub.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if lag := hub.SoftLag(); lag != 0 {
			t.Errorf("%d nodes wait to be saved after a flush", lag)
		}
		hub2, n2 := open(t, db, c)
		after := n2.View().Node(before.ID)
		if after == nil {
			t.Fatal("the node is gone")
		}
		if after.Key != before.Key || after.IPv4 != before.IPv4 || after.Name != before.Name || after.Soft.HomeDERP != 900 || len(after.Soft.Endpoints) != 1 {
			t.Errorf("after the restart the node is %+v, %+v", after.Node, after.Soft)
		}
		if _, got := hub2.NodeByKey(j.Key); got == nil || got.ID != before.ID {
			t.Error("the node is not found by its key")
		}
		next := device("second")
		next.User = owner.ID
		if node := mustJoin(t, n2, next); node.ID == before.ID || node.IPv4 == before.IPv4 {
			t.Errorf("the next node got ID %d and address %v, which are taken", node.ID, node.IPv4)
		}
	})
}

func TestFailedWriteChangesNothing(t *testing.T) {
	_, n, alice := setup(t)
	before := n.View()
	err := n.Update(t.Context(), selvage.Local(), func(tx *netmap.Tx) error {
		u := tx.User(alice.ID)
		u.DisplayName = "changed"
		if err := tx.PutUser(journal.UserUpdate, u); err != nil {
			return err
		}
		return fmt.Errorf("the decision fails late")
	})
	if err == nil || n.View() != before {
		t.Errorf("error %v, view changed %v", err, n.View() != before)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.RenameNode(ctx, selvage.Local(), 1, "x"); err == nil || n.View() != before {
		t.Errorf("a cancelled change: error %v, view changed %v", err, n.View() != before)
	}
}

func TestEphemeralNodes(t *testing.T) {
	c, n, alice := setup(t)
	hubRun := func() { netmap.TickForTest(t.Context(), n) }
	join := func(name string) *netmap.Node {
		j := device(name)
		j.AuthKey = authKey(t, n, selvage.AuthKey{User: alice.ID, Ephemeral: true})
		return mustJoin(t, n, j)
	}
	gone := func(id selvage.NodeID) bool { return n.View().Node(id) == nil }

	out := join("logs-out")
	if err := n.Logout(t.Context(), selvage.System(), out.ID); err != nil {
		t.Fatal(err)
	}
	if !gone(out.ID) {
		t.Error("an ephemeral node that logged out is still there")
	}

	waiting, silent, connected := join("before-first-map"), join("silent"), join("connected")
	w, err := n.Watch(silent.ID)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	netmap.OfflineForTest(n, silent.ID)
	if _, err := n.Watch(connected.ID); err != nil {
		t.Fatal(err)
	}
	c.Advance(selvage.DefaultEphemeralTimeout - time.Minute)
	hubRun()
	if gone(silent.ID) {
		t.Error("a node went before its time")
	}
	c.Advance(2 * time.Minute)
	hubRun()
	if !gone(silent.ID) {
		t.Error("a silent ephemeral node is still there")
	}
	if gone(waiting.ID) {
		t.Error("a node went between registration and its first map")
	}
	if gone(connected.ID) {
		t.Error("a connected node went")
	}
}

func TestKeyExpiryByTheClock(t *testing.T) {
	c, n, alice := setup(t)
	j := device("laptop")
	j.User = alice.ID
	node := mustJoin(t, n, j)
	c.Advance(selvage.DefaultKeyExpiry + time.Second)
	netmap.TickForTest(t.Context(), n)
	if !n.View().Node(node.ID).Expired {
		t.Error("the key has not expired after its time")
	}
	if err := n.SetKeyExpiry(t.Context(), selvage.Local(), node.ID, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if got := n.View().Node(node.ID); got.Expired || !got.KeyExpiry.IsZero() {
		t.Error("the key has expired although expiry is off")
	}
}

func TestRouteFailover(t *testing.T) {
	_, n, alice := setup(t)
	route := netip.MustParsePrefix("10.1.0.0/16")
	router := func(name string) (*netmap.Node, *netmap.Watch) {
		j := device(name)
		j.User, j.Hostinfo.RoutableIPs = alice.ID, []netip.Prefix{route}
		node := mustJoin(t, n, j)
		if err := n.SetApprovedRoutes(t.Context(), selvage.Local(), node.ID, []netip.Prefix{route}); err != nil {
			t.Fatal(err)
		}
		w, err := n.Watch(node.ID)
		if err != nil {
			t.Fatal(err)
		}
		return node, w
	}
	serves := func() selvage.NodeID {
		var found []selvage.NodeID
		for node := range n.View().Nodes() {
			if slices.Contains(node.Primary, route) {
				found = append(found, node.ID)
			}
		}
		if len(found) != 1 {
			t.Fatalf("nodes %v serve the route, want exactly one", found)
		}
		return found[0]
	}
	a, watchA := router("a")
	b, _ := router("b")
	if serves() != a.ID {
		t.Fatal("the first router does not serve")
	}
	if got := n.Contested(); !slices.Equal(got, []selvage.NodeID{a.ID, b.ID}) {
		t.Errorf("contested: %v", got)
	}
	n.SetReachable(a.ID, false)
	if serves() != b.ID {
		t.Error("an unreachable router still serves")
	}
	n.SetReachable(a.ID, true)
	if serves() != b.ID {
		t.Error("the route went back although its router is healthy")
	}
	n.SetReachable(b.ID, false)
	watchA.Close()
	netmap.OfflineForTest(n, a.ID)
	if serves() == 0 {
		t.Error("with all routers gone the route has no owner")
	}
	if err := n.SetApprovedRoutes(t.Context(), selvage.Local(), b.ID, nil); err != nil {
		t.Fatal(err)
	}
	if serves() != a.ID {
		t.Error("a withdrawn route is still served")
	}
	if err := n.DeleteNode(t.Context(), selvage.Local(), a.ID); err != nil {
		t.Fatal(err)
	}
	for node := range n.View().Nodes() {
		if len(node.Primary) > 0 {
			t.Errorf("%s serves %v, which nobody may", node.Name, node.Primary)
		}
	}
}

func TestBadInput(t *testing.T) {
	_, n, alice := setup(t)
	j := device("laptop")
	j.User = alice.ID
	node := mustJoin(t, n, j)
	pfx := netip.MustParsePrefix
	ctx, local := t.Context(), selvage.Local()
	set := func(change func(*selvage.Settings)) error {
		return n.ChangeSettings(ctx, local, journal.SettingsSet, func(s *selvage.Settings) error { change(s); return nil })
	}
	for _, c := range []struct {
		name string
		err  error
		kind selvage.Kind
		word string
	}{
		{"tag without its prefix", n.SetNodeTags(ctx, local, node.ID, []string{"db"}), selvage.KindInvalid, `"tag:db"`},
		{"unknown tag", n.SetNodeTags(ctx, local, node.ID, []string{"tag:nope"}), selvage.KindInvalid, "tagOwners"},
		{"name that is no label", n.RenameNode(ctx, local, node.ID, "Not A Name"), selvage.KindInvalid, "Not A Name"},
		{"unknown node", n.RenameNode(ctx, local, 999, "x"), selvage.KindNotFound, "999"},
		{"route with host bits", n.SetApprovedRoutes(ctx, local, node.ID, []netip.Prefix{pfx("10.1.2.3/8")}), selvage.KindInvalid, "10.0.0.0/8"},
		{"route over the tailnet", n.SetApprovedRoutes(ctx, local, node.ID, []netip.Prefix{pfx("100.64.0.0/16")}), selvage.KindInvalid, "overlaps"},
		{"range with host bits", set(func(s *selvage.Settings) { s.IPv4 = pfx("100.64.1.1/10") }), selvage.KindInvalid, "100.64.0.0/10"},
		{"range too small", set(func(s *selvage.Settings) { s.IPv4 = pfx("100.64.0.0/31") }), selvage.KindInvalid, "/29"},
		{"bad domain", set(func(s *selvage.Settings) { s.Domain = "x..y" }), selvage.KindInvalid, "x..y"},
		{"bad nameserver", set(func(s *selvage.Settings) { s.DNS.Nameservers = []string{"not an address"} }), selvage.KindInvalid, "not an address"},
		{"expiry too short", set(func(s *selvage.Settings) { s.KeyExpiry = time.Second }), selvage.KindInvalid, "1s"},
		{"user twice", second(n.CreateUser(ctx, local, "ALICE", "", selvage.RoleMember)), selvage.KindConflict, "alice"},
		{"login with a space", second(n.CreateUser(ctx, local, "a b", "", selvage.RoleMember)), selvage.KindInvalid, "a b"},
		{"last owner", n.UpdateUser(ctx, local, n.View().Owner().ID, func(u *selvage.User) { u.Role = selvage.RoleMember }), selvage.KindConflict, "only owner"},
		{"policy with an error", second(n.SetPolicy(ctx, local, `{"acls": [`)), selvage.KindInvalid, "policy:"},
	} {
		t.Run(c.name, func(t *testing.T) { wantError(t, c.err, c.kind, c.word) })
	}
}

func second[T any](_ T, err error) error { return err }

func TestDeletingAUserTakesTheirDevicesAndKeys(t *testing.T) {
	_, n, alice := setup(t)
	j := device("laptop")
	j.User = alice.ID
	node := mustJoin(t, n, j)
	k := authKey(t, n, selvage.AuthKey{User: alice.ID, Reusable: true})
	if err := n.DeleteUser(t.Context(), selvage.Local(), alice.ID); err != nil {
		t.Fatal(err)
	}
	v := n.View()
	if v.Node(node.ID) != nil || v.User(alice.ID) != nil || v.AuthKey(k).Revoked.IsZero() {
		t.Error("something of the user is left")
	}
}

func TestAddressesAreNotReusedSoon(t *testing.T) {
	_, n, alice := setup(t)
	seen := map[netip.Addr]bool{}
	for range 20 {
		j := device("x")
		j.User = alice.ID
		node := mustJoin(t, n, j)
		if seen[node.IPv4] {
			t.Fatalf("address %v was given twice", node.IPv4)
		}
		seen[node.IPv4] = true
		if err := n.DeleteNode(t.Context(), selvage.Local(), node.ID); err != nil {
			t.Fatal(err)
		}
	}
	err := n.ChangeSettings(t.Context(), selvage.Local(), journal.SettingsSet, func(s *selvage.Settings) error {
		s.IPv4 = netip.MustParsePrefix("100.99.0.0/29")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var last error
	for range 7 {
		j := device("y")
		j.User = alice.ID
		_, last = n.Join(t.Context(), selvage.System(), j)
	}
	wantError(t, last, selvage.KindConflict, "100.99.0.0/29")
}
