package netmap_test

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
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

// entriesOf returns the entries of a tailnet's journal after the given number.
func entriesOf(t *testing.T, db *store.DB, tailnet selvage.TailnetID, after int64) []*selvage.Entry {
	t.Helper()
	var entries []*selvage.Entry
	err := db.Read(t.Context(), func(tx *store.Tx) (err error) {
		entries, err = tx.Entries(tailnet, store.Query{After: after, Limit: store.MaxEntries})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestEachChangeIsOneEntry(t *testing.T) {
	c := newClock()
	db := storetest.New(t)
	hub, n := open(t, db, c)
	ctx, local := t.Context(), selvage.Local()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	alice, err := n.CreateUser(ctx, local, "alice", "", selvage.RoleMember)
	must(err)
	must(second(n.SetPolicy(ctx, local, tagPolicy)))
	j := device("laptop")
	j.User = alice.ID
	node := mustJoin(t, n, j)
	k := &selvage.AuthKey{ID: "key1", Hash: "secrethash", User: alice.ID, Reusable: true}
	target := "node:" + node.ID.String()
	route := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	report := func(h *tailcfg.Hostinfo) error {
		if _, err := n.Report(node.ID, func(s *selvage.Soft) { s.Hostinfo = h }); err != nil {
			return err
		}
		return n.Settle(ctx, local, node.ID)
	}
	settings := func(change func(*selvage.Settings)) error {
		return n.ChangeSettings(ctx, local, journal.SettingsSet, func(s *selvage.Settings) error { change(s); return nil })
	}
	withKey := device("server")
	withKey.AuthKey = "key1"
	var server *netmap.Node
	later := c.Now().Add(48 * time.Hour)

	for _, step := range []struct {
		name string
		do   func() error
		want string // action and target of the entries; none for no change
	}{
		{"rename", func() error { return n.RenameNode(ctx, local, node.ID, "box") }, "node.rename " + target},
		{"rename to the same", func() error { return n.RenameNode(ctx, local, node.ID, "box") }, ""},
		{"approve who is approved", func() error { return n.ApproveNode(ctx, local, node.ID) }, ""},
		{"routes", func() error { return n.SetApprovedRoutes(ctx, local, node.ID, route) }, "node.routes " + target},
		{"the same routes, twice", func() error { return n.SetApprovedRoutes(ctx, local, node.ID, append(route, route...)) }, ""},
		{"expiry", func() error { return n.SetKeyExpiry(ctx, local, node.ID, later) }, "node.expire " + target},
		{"the same expiry", func() error { return n.SetKeyExpiry(ctx, local, node.ID, later) }, ""},
		{"a later expiry by the client", func() error { return n.ShortenExpiry(ctx, local, node.ID, later.Add(time.Hour)) }, ""},
		{"expire", func() error { return n.ExpireNode(ctx, local, node.ID) }, "node.expire " + target},
		{"expire again", func() error { c.Advance(time.Second); return n.ExpireNode(ctx, local, node.ID) }, ""},
		{"log out who is expired", func() error { return n.Logout(ctx, local, node.ID) }, ""},
		{"log in", func() error {
			j.OldKey, j.Key = j.Key, key.NewNode().Public()
			return second(n.Join(ctx, local, j))
		}, "node.login " + target},
		{"follow the host name again", func() error { return n.RenameNode(ctx, local, node.ID, "") }, "node.rename " + target},
		{"tags", func() error { return n.SetNodeTags(ctx, local, node.ID, []string{"tag:db"}) }, "node.tag " + target},
		{"a report with a name and a route", func() error {
			return report(&tailcfg.Hostinfo{Hostname: "other", RoutableIPs: []netip.Prefix{netip.MustParsePrefix("10.9.1.0/24")}})
		}, "node.routes " + target + ", node.rename " + target},
		{"a report with nothing for the journal", func() error { return report(&tailcfg.Hostinfo{Hostname: "other"}) }, ""},
		{"a user's role", func() error {
			return n.UpdateUser(ctx, local, alice.ID, func(u *selvage.User) { u.Role = selvage.RoleAdmin })
		}, "user.update user:2"},
		{"the same role", func() error {
			return n.UpdateUser(ctx, local, alice.ID, func(u *selvage.User) { u.Role = selvage.RoleAdmin })
		}, ""},
		{"key", func() error { return n.CreateAuthKey(ctx, local, k) }, "key.create key:key1"},
		{"use of a key", func() (err error) {
			server, err = n.Join(ctx, local, withKey)
			return err
		}, "node.create node:2"},
		{"the same use again", func() error { return second(n.Join(ctx, local, withKey)) }, ""},
		{"delete", func() error { return n.DeleteNode(ctx, local, server.ID) }, "node.delete node:2"},
		{"revoke", func() error { return n.RevokeAuthKey(ctx, local, "key1") }, "key.revoke key:key1"},
		{"revoke again", func() error { return n.RevokeAuthKey(ctx, local, "key1") }, ""},
		{"the same policy", func() error { return second(n.SetPolicy(ctx, local, tagPolicy)) }, ""},
		{"policy", func() error { return second(n.SetPolicy(ctx, local, tagPolicy+" ")) }, "policy.set policy"},
		{"settings", func() error { return settings(func(s *selvage.Settings) { s.DeviceApproval = true }) }, "settings.set settings"},
		{"the same settings", func() error { return settings(func(s *selvage.Settings) { s.DNS.Split = map[string][]string{} }) }, ""},
		{"DNS", func() error { return settings(func(s *selvage.Settings) { s.DNS.Nameservers = []string{"192.0.2.1"} }) }, "dns.set dns"},
		{"both", func() error {
			return settings(func(s *selvage.Settings) { s.DNS.Nameservers, s.DeviceApproval = nil, false })
		}, "dns.set dns, settings.set settings"},
		{"delete a user", func() error { return n.DeleteUser(ctx, local, alice.ID) }, "user.delete user:2"},
	} {
		t.Run(step.name, func(t *testing.T) {
			before, view := int64(len(entriesOf(t, db, n.ID(), 0))), n.View()
			if err := step.do(); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range entriesOf(t, db, n.ID(), before) {
				got = append(got, e.Action+" "+e.Target)
			}
			if s := strings.Join(got, ", "); s != step.want {
				t.Errorf("entries %q, want %q", s, step.want)
			}
			if step.want == "" && n.View() != view && !strings.Contains(step.name, "report") {
				t.Error("nothing changed, and yet there is a new view")
			}
		})
	}
	checkChain(t, entriesOf(t, db, n.ID(), 0))
	must(hub.Flush(ctx))
	compareHubs(t, c, db, hub)
}

// checkChain checks that each entry begins where the last one of its target ended,
// and that no secret is in any.
func checkChain(t *testing.T, entries []*selvage.Entry) {
	t.Helper()
	last := map[string]json.RawMessage{}
	for _, e := range entries {
		if !bytes.Equal(e.Old, last[e.Target]) && last[e.Target] != nil {
			switch e.Target {
			case "settings": // DNS settings have entries of their own
			default:
				if !strings.HasPrefix(e.Target, "key:") { // its uses are counted in between
					t.Errorf("entry %d, %s %s, begins with\n%s\nbut the last one ended with\n%s", e.Seq, e.Action, e.Target, e.Old, last[e.Target])
				}
			}
		}
		last[e.Target] = e.New
		if bytes.Contains(e.Old, []byte("secrethash")) || bytes.Contains(e.New, []byte("secrethash")) {
			t.Errorf("entry %d, %s, holds the hash of a secret", e.Seq, e.Action)
		}
	}
}

func TestTailnetIsMadeInTheServersJournal(t *testing.T) {
	db := storetest.New(t)
	_, n := open(t, db, newClock())
	entries := entriesOf(t, db, store.ServerTailnet, 0)
	if len(entries) != 1 || entries[0].Action != journal.TailnetCreate {
		t.Errorf("the server's journal has %v", entries)
	}
	entries = entriesOf(t, db, n.ID(), 0)
	if len(entries) != 1 || entries[0].Action != journal.UserCreate {
		t.Errorf("the tailnet's journal has %v", entries)
	}
}

// TestDecisionMayBeTakenAgain lets the first try fail late, as a database does that
// asks for another.
func TestDecisionMayBeTakenAgain(t *testing.T) {
	_, n, alice := setup(t)
	k := authKey(t, n, selvage.AuthKey{User: alice.ID, Reusable: true})
	for range 2 {
		err := n.Update(t.Context(), selvage.Local(), func(tx *netmap.Tx) error {
			key := tx.AuthKey(k)
			key.Uses++
			key.Tags = append(key.Tags, "tag:db")
			tx.PutAuthKey("", key)
			node := tx.Node(1)
			if node != nil {
				t.Errorf("node 1 is there: %v", node)
			}
			return selvage.Errorf(selvage.KindDenied, "the first try fails")
		})
		wantError(t, err, selvage.KindDenied)
	}
	if got := n.View().AuthKey(k); got.Uses != 0 || len(got.Tags) != 0 {
		t.Errorf("tries that failed left %+v", got)
	}
}
