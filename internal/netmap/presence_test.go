package netmap_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/netmap"
	"selvage/internal/store/storetest"
)

func TestGraceIsThatOfTheLastSession(t *testing.T) {
	_, n, alice := setup(t)
	j := device("laptop")
	j.User = alice.ID
	id := mustJoin(t, n, j).ID
	online := func() bool { return n.View().Node(id).Online }
	watch := func() *netmap.Watch {
		w, err := n.Watch(id)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	first := watch()
	first.Close()
	again := watch()
	again.Close()
	netmap.ExpireGraceForTest(first)
	if !online() {
		t.Error("the grace of the first session ended that of the second")
	}
	third := watch()
	netmap.ExpireGraceForTest(again)
	if !online() {
		t.Error("a node with a session is offline")
	}
	fourth := watch()
	select {
	case <-third.Replaced():
	default:
		t.Error("the older session does not know that it was replaced")
	}
	third.Close()
	netmap.ExpireGraceForTest(third)
	if !online() {
		t.Error("the end of the session that was replaced took the node offline")
	}
	fourth.Close()
	fourth.Close()
	netmap.ExpireGraceForTest(fourth)
	if online() {
		t.Error("the node is online without a session")
	}
	last := watch()
	if err := n.DeleteNode(t.Context(), selvage.Local(), id); err != nil {
		t.Fatal(err)
	}
	select {
	case <-last.Wake():
	default:
		t.Error("the session of a deleted node was not woken")
	}
	if err := n.ApproveNode(t.Context(), selvage.Local(), id); selvage.KindOf(err) != selvage.KindNotFound {
		t.Errorf("approving a deleted node: %v", err)
	}
	// The session of a node that is gone must be harmless, in whatever class it was.
	if _, err := n.SetPolicy(t.Context(), selvage.Local(), tagPolicy+"\n"); err != nil {
		t.Fatal(err)
	}
	last.Close()
	netmap.ExpireGraceForTest(last)
	if err := netmap.CheckForTest(n); err != nil {
		t.Error(err)
	}
	if got := n.Online(); got != 0 {
		t.Errorf("%d nodes are online", got)
	}
}

func TestOldViewsKeepTheirNodes(t *testing.T) {
	_, n, alice := setup(t)
	j := device("laptop")
	j.User = alice.ID
	node := mustJoin(t, n, j)
	old := n.View()
	if err := n.DeleteNode(t.Context(), selvage.Local(), node.ID); err != nil {
		t.Fatal(err)
	}
	if old.Node(node.ID) == nil || n.View().Node(node.ID) != nil {
		t.Error("the view before has lost the node, or the view after still has it")
	}
	if d := n.View().Since(old, old.Node(node.ID)); !d.Gone {
		t.Errorf("a deleted node is told %+v", d)
	}
}

func TestSoftStateSurvivesFailedSaves(t *testing.T) {
	db := storetest.New(t)
	c := newClock()
	hub, n := open(t, db, c)
	j := device("laptop")
	j.User = n.View().Owner().ID
	kept, deleted := mustJoin(t, n, j).ID, selvage.NodeID(0)
	j.Machine, j.Key = key.NewMachine().Public(), key.NewNode().Public()
	deleted = mustJoin(t, n, j).ID
	report := func(id selvage.NodeID, derp int) {
		t.Helper()
		if _, err := n.Report(id, func(s *selvage.Soft) { s.HomeDERP = derp }); err != nil {
			t.Fatal(err)
		}
	}
	report(kept, 1)
	report(deleted, 1)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := hub.Flush(ended); err == nil {
		t.Fatal("a save in a context that has ended succeeds")
	}
	if lag := hub.SoftLag(); lag != 2 {
		t.Errorf("%d nodes wait to be saved, want 2", lag)
	}
	if err := n.DeleteNode(t.Context(), selvage.Local(), deleted); err != nil {
		t.Fatal(err)
	}
	report(kept, 2)
	if lag := hub.SoftLag(); lag != 1 {
		t.Errorf("%d nodes wait to be saved, want 1", lag)
	}
	netmap.FailSaveForTest(n, func() { report(kept, 3) })
	if err := hub.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, again := open(t, db, c); again.View().Node(kept).Soft.HomeDERP != 3 {
		t.Error("an older report was saved over a newer one")
	}
	if _, err := n.Watch(kept); err != nil {
		t.Fatal(err)
	}
	c.Advance(time.Hour)
	if err := netmap.PartForTest(ended, hub); err != nil {
		t.Fatal(err)
	}
	_, again := open(t, db, c)
	got := again.View().Node(kept)
	if got.Soft.HomeDERP != 3 || !got.Soft.LastSeen.Equal(c.Now()) {
		t.Errorf("after the restart: home relay %d, seen %v; want 3 and %v", got.Soft.HomeDERP, got.Soft.LastSeen, c.Now())
	}
}

func TestLoginKeepsReportsAndForgetsTheDiscoKey(t *testing.T) {
	_, n, alice := setup(t)
	j := device("laptop")
	j.User = alice.ID
	id := mustJoin(t, n, j).ID
	_, err := n.Report(id, func(s *selvage.Soft) {
		s.HomeDERP, s.Disco = 5, key.NewDisco().Public()
	})
	if err != nil {
		t.Fatal(err)
	}
	j.OldKey, j.Key = j.Key, key.NewNode().Public()
	got := mustJoin(t, n, j)
	if got.ID != id || got.Soft.HomeDERP != 5 || !got.Soft.Disco.IsZero() {
		t.Errorf("after the login: node %d, home relay %d, disco key %v", got.ID, got.Soft.HomeDERP, got.Soft.Disco)
	}
}

func TestAdministratorsTagsStay(t *testing.T) {
	_, n, alice := setup(t)
	j := device("db")
	j.AuthKey = authKey(t, n, selvage.AuthKey{User: alice.ID, Tags: []string{"tag:db", "tag:ci"}})
	j.Hostinfo.RequestTags = []string{"tag:db"}
	id := mustJoin(t, n, j).ID
	if err := n.SetNodeTags(t.Context(), selvage.Local(), id, []string{"tag:ci"}); err != nil {
		t.Fatal(err)
	}
	report := func(name string, tags ...string) *netmap.Node {
		t.Helper()
		_, err := n.Report(id, func(s *selvage.Soft) { s.Hostinfo = &tailcfg.Hostinfo{Hostname: name, RequestTags: tags} })
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := n.Settle(t.Context(), selvage.System(), id); err != nil {
				t.Fatal(err)
			}
		}
		return n.View().Node(id)
	}
	if got := report("db2", "tag:db"); got.Expired || !slices.Equal(got.Tags, []string{"tag:ci"}) || got.Name != "db2" {
		t.Errorf("a report of what was asked for at the login made it %v, expired %v, %q", got.Tags, got.Expired, got.Name)
	}
	if got := report("db2", "tag:ci", "tag:ci-runner"); got.Expired || !slices.Equal(got.Tags, []string{"tag:ci", "tag:ci-runner"}) {
		t.Errorf("tags that its own tags own: %v, expired %v", got.Tags, got.Expired)
	}
	if got := report("db2", "tag:db"); !got.Expired || !slices.Equal(got.Tags, []string{"tag:ci", "tag:ci-runner"}) {
		t.Errorf("a tag that it may not have: %v, expired %v", got.Tags, got.Expired)
	}
	if err := netmap.CheckForTest(n); err != nil {
		t.Error(err)
	}
}

func TestNodesCantTakeTheTailnetsAddresses(t *testing.T) {
	_, n, alice := setup(t)
	policy := strings.Replace(tagPolicy, `"10.9.0.0/16"`, `"0.0.0.0/1": ["tag:db"], "64.0.0.0/2": ["tag:db"], "10.9.0.0/16"`, 1)
	if _, err := n.SetPolicy(t.Context(), selvage.Local(), policy); err != nil {
		t.Fatal(err)
	}
	j := device("router")
	j.AuthKey = authKey(t, n, selvage.AuthKey{User: alice.ID, Tags: []string{"tag:db"}})
	good := netip.MustParsePrefix("10.9.2.0/24")
	j.Hostinfo.RoutableIPs = []netip.Prefix{netip.MustParsePrefix("100.64.0.0/16"), {}, netip.MustParsePrefix("10.9.1.1/24"), good, good}
	if got := mustJoin(t, n, j); !slices.Equal(got.ApprovedRoutes, []netip.Prefix{good}) {
		t.Errorf("approved by itself: %v, want %v", got.ApprovedRoutes, good)
	}
}

func TestAddressRangesAreThoseOfThePolicy(t *testing.T) {
	_, n, alice := setup(t)
	j := device("old")
	j.User = alice.ID
	old := mustJoin(t, n, j)
	err := n.ChangeSettings(t.Context(), selvage.Local(), "settings.set", func(s *selvage.Settings) error {
		s.IPv4 = netip.MustParsePrefix("10.77.0.0/16")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	j = device("new")
	j.User = alice.ID
	node := mustJoin(t, n, j)
	sources := fmt.Sprint(n.View().Filter(node))
	for _, want := range []string{"10.77.0.0", old.IPv4.String()} {
		if !strings.Contains(sources, want) {
			t.Errorf("the filter %s admits nothing of %s", sources, want)
		}
	}
}

func FuzzJoin(f *testing.F) {
	f.Add("laptop", "linux", "10.0.0.0/8", "u@example.com")
	f.Add("\x00\xff..", "", "::/0", "Ü")
	f.Add(strings.Repeat("-", 300), "\n", "0.0.0.0/33", "a,b")
	db := storetest.New(f)
	c := newClock()
	hub, err := netmap.Open(f.Context(), netmap.Options{DB: db, Logger: quiet, Now: c.Now})
	if err != nil {
		f.Fatal(err)
	}
	n := hub.Nets()[0]
	owner := n.View().Owner().ID
	f.Fuzz(func(t *testing.T, hostname, os, route, login string) {
		pfx, _ := netip.ParsePrefix(route)
		// What devices say arrives as JSON, whose decoder lets nothing else through.
		hostname, os, route = strings.ToValidUTF8(hostname, "\uFFFD"), strings.ToValidUTF8(os, "\uFFFD"), strings.ToValidUTF8(route, "\uFFFD")
		j := device(hostname)
		j.User, j.Hostinfo.OS, j.Hostinfo.RoutableIPs = owner, os, []netip.Prefix{pfx}
		j.Hostinfo.SSH_HostKeys = []string{os, route}
		node := mustJoin(t, n, j)
		if _, err := n.Report(node.ID, func(s *selvage.Soft) {
			s.Hostinfo = &tailcfg.Hostinfo{Hostname: os, RoutableIPs: []netip.Prefix{pfx}, Distro: os}
		}); err != nil {
			t.Fatal(err)
		}
		if err := n.Settle(t.Context(), selvage.System(), node.ID); err != nil {
			t.Fatal(err)
		}
		u, err := n.CreateUser(t.Context(), selvage.Local(), login, hostname, selvage.RoleMember)
		if err != nil && selvage.KindOf(err) != selvage.KindInvalid && selvage.KindOf(err) != selvage.KindConflict {
			t.Fatalf("user %q: %v", login, err)
		}
		if err == nil {
			if got, err := n.View().UserByLogin(login); err != nil || got.ID != u.ID {
				t.Fatalf("user %q is not found: %v", login, err)
			}
		}
		if err := hub.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := netmap.CheckForTest(n); err != nil {
			t.Fatal(err)
		}
		_, again := open(t, db, c)
		if d := cmp.Diff(stateOf(n.View()), stateOf(again.View())); d != "" {
			t.Fatalf("tailnet differs after a restart (-before +after):\n%s", d)
		}
		if err == nil {
			if err := n.DeleteUser(t.Context(), selvage.Local(), u.ID); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.DeleteNode(t.Context(), selvage.Local(), node.ID); err != nil {
			t.Fatal(err)
		}
	})
}
