package store_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/store"
	"selvage/internal/store/storetest"
)

var epoch = time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)

// compare knows the types of the store that hide their fields.
var compare = cmp.Options{
	cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{}, key.MachinePublic{}, key.NodePublic{}, key.DiscoPublic{}, key.NLPublic{}),
	cmp.Comparer(func(a, b *tailcfg.Hostinfo) bool { return a.Equal(b) }),
}

// write runs f in a transaction that must succeed.
func write(t testing.TB, db *store.DB, f func(tx *store.Tx) error) {
	t.Helper()
	if err := db.Tx(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// read returns what f reads, which must succeed.
func read[T any](t testing.TB, db *store.DB, f func(tx *store.Tx) (T, error)) T {
	t.Helper()
	var v T
	err := db.Read(t.Context(), func(tx *store.Tx) (err error) {
		v, err = f(tx)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// same compares what was read with what was written.
func same[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// wantKind checks the kind of an error and that its text holds a piece.
func wantKind(t testing.TB, err error, kind selvage.Kind, piece string) {
	t.Helper()
	if !selvage.Is(err, kind) || !strings.Contains(err.Error(), piece) {
		t.Errorf("got error %v of kind %v, want one of kind %v with %q", err, selvage.KindOf(err), kind, piece)
	}
}

func newTailnet(id selvage.TailnetID, name string) *selvage.Tailnet {
	return &selvage.Tailnet{ID: id, Name: name, Created: epoch, Settings: selvage.DefaultSettings(name + ".ts")}
}

// newNode returns a node with every field set.
func newNode(id selvage.NodeID, tailnet selvage.TailnetID, name string) *selvage.Node {
	return &selvage.Node{
		ID: id, Tailnet: tailnet, StableID: selvage.NewStableID(), Machine: key.NewMachine().Public(), Key: key.NewNode().Public(),
		LockKey: key.NewNLPrivate().Public(), Name: name, NameFixed: true, User: 3, Tags: []string{"tag:a", "tag:b"},
		IPv4: netip.AddrFrom4([4]byte{100, 64, byte(id >> 8), byte(id)}), IPv6: netip.MustParsePrefix("fd7a:115c:a1e0::/48").Addr().Next(),
		Created: epoch, KeyExpiry: epoch.Add(time.Hour), NoKeyExpiry: true, Approved: true, Ephemeral: true, AuthKey: "k1",
		ApprovedRoutes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::/0")},
	}
}

// withTailnet returns the database with tailnet 1 in it.
func withTailnet(t testing.TB, db *store.DB) *store.DB {
	t.Helper()
	write(t, db, func(tx *store.Tx) error { return tx.PutTailnet(newTailnet(1, "corp")) })
	return db
}

func TestTailnets(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		same(t, "tailnets of a new database", read(t, db, (*store.Tx).Tailnets), nil)
		a, b := newTailnet(1, "corp"), newTailnet(2, "home")
		a.Settings.DNS.Split = map[string][]string{"corp.example": {"10.0.0.1"}, "none.example": {}}
		a.Settings.DNS.Records = []selvage.DNSRecord{{Name: "x.example", Value: netip.MustParseAddr("10.1.2.3")}}
		write(t, db, func(tx *store.Tx) error { return tx.PutTailnet(b) })
		write(t, db, func(tx *store.Tx) error { return tx.PutTailnet(a) })
		same(t, "tailnets", read(t, db, (*store.Tx).Tailnets), []*selvage.Tailnet{a, b})
		b.Name = "house"
		write(t, db, func(tx *store.Tx) error { return tx.PutTailnet(b) })
		same(t, "changed tailnet", read(t, db, (*store.Tx).Tailnets)[1], b)
		err := db.Tx(t.Context(), func(tx *store.Tx) error { return tx.PutTailnet(newTailnet(3, "corp")) })
		wantKind(t, err, selvage.KindConflict, "a tailnet with this name exists")
	})
}

func TestNextID(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		for want := int64(1); want <= 3; want++ {
			for _, counter := range []string{store.CounterTailnet, store.CounterNode, store.CounterUser} {
				write(t, db, func(tx *store.Tx) error {
					got, err := tx.NextID(counter)
					if err == nil && got != want {
						t.Errorf("next %s: got %d, want %d", counter, got, want)
					}
					return err
				})
			}
		}
		if err := db.Tx(t.Context(), func(tx *store.Tx) error { _, err := tx.NextID("horse"); return err }); err == nil {
			t.Error("NextID of an unknown counter succeeded")
		}
	})
}

func TestNodes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		withTailnet(t, db)
		full := newNode(2, 1, "full")
		bare := &selvage.Node{ID: 1, Tailnet: 1, StableID: "s1", Name: "bare", Created: epoch}
		other := &selvage.Node{ID: 3, Tailnet: 1, StableID: "s3", Name: "other", Created: epoch}
		write(t, db, func(tx *store.Tx) error {
			for _, n := range []*selvage.Node{full, bare, other} {
				if err := tx.PutNode(n); err != nil {
					return err
				}
			}
			return nil
		})
		nodes := func(tx *store.Tx) ([]*selvage.Node, error) { return tx.Nodes(1) }
		same(t, "nodes", read(t, db, nodes), []*selvage.Node{bare, full, other})
		full.Name, full.Tags, full.KeyExpiry = "renamed", nil, time.Time{}
		write(t, db, func(tx *store.Tx) error { return tx.PutNode(full) })
		write(t, db, func(tx *store.Tx) error { return tx.DeleteNode(3) })
		same(t, "nodes after changes", read(t, db, nodes), []*selvage.Node{bare, full})
		err := db.Tx(t.Context(), func(tx *store.Tx) error { return tx.DeleteNode(3) })
		wantKind(t, err, selvage.KindNotFound, "node 3 is not there")
		if err := db.Tx(t.Context(), func(tx *store.Tx) error { return tx.PutNode(&selvage.Node{}) }); err == nil {
			t.Error("a node without an ID was saved")
		}
	})
}

func TestNodeConflicts(t *testing.T) {
	tests := []struct {
		name   string
		change func(n, taken *selvage.Node)
		want   string // empty: no conflict
	}{
		{"nothing alike", func(n, taken *selvage.Node) {}, ""},
		{"same machine for another user", func(n, taken *selvage.Node) { n.Machine = taken.Machine }, ""},
		{"name", func(n, taken *selvage.Node) { n.Name = taken.Name }, "has this name"},
		{"name in another tailnet", func(n, taken *selvage.Node) { n.Name, n.Tailnet = taken.Name, 2 }, ""},
		{"node key", func(n, taken *selvage.Node) { n.Key = taken.Key }, "has this node key"},
		{"node key in another tailnet", func(n, taken *selvage.Node) { n.Key, n.Tailnet = taken.Key, 2 }, "has this node key"},
		{"IPv4", func(n, taken *selvage.Node) { n.IPv4 = taken.IPv4 }, "has this IPv4 address"},
		{"IPv4 in another tailnet", func(n, taken *selvage.Node) { n.IPv4, n.Tailnet = taken.IPv4, 2 }, ""},
		{"IPv6", func(n, taken *selvage.Node) { n.IPv6 = taken.IPv6 }, "has this IPv6 address"},
		{"stable ID", func(n, taken *selvage.Node) { n.StableID = taken.StableID }, "has this stable ID"},
	}
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		withTailnet(t, db)
		taken := newNode(1000, 1, "taken")
		write(t, db, func(tx *store.Tx) error { return tx.PutTailnet(newTailnet(2, "home")) })
		write(t, db, func(tx *store.Tx) error { return tx.PutNode(taken) })
		for i, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				n := newNode(selvage.NodeID(i+1), 1, "n"+selvage.RandomText(5))
				n.IPv6 = netip.AddrFrom16([16]byte{0xfd, 15: byte(i)})
				test.change(n, taken)
				err := db.Tx(t.Context(), func(tx *store.Tx) error { return tx.PutNode(n) })
				if test.want == "" {
					if err != nil {
						t.Error(err)
					}
					return
				}
				wantKind(t, err, selvage.KindConflict, test.want)
			})
		}
		err := db.Tx(t.Context(), func(tx *store.Tx) error { return tx.PutNode(newNode(2000, 99, "nowhere")) })
		wantKind(t, err, selvage.KindConflict, "not there any more")
	})
}

func TestSoft(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		withTailnet(t, db)
		const n = 64 + 8 + 3 // each size of batch
		want := map[selvage.NodeID]*selvage.Soft{}
		write(t, db, func(tx *store.Tx) error {
			for id := selvage.NodeID(1); id <= n+1; id++ {
				node := &selvage.Node{ID: id, Tailnet: 1, StableID: id.String(), Name: "n" + id.String()}
				if err := tx.PutNode(node); err != nil {
					return err
				}
			}
			return nil
		})
		for id := selvage.NodeID(1); id <= n; id++ {
			want[id] = &selvage.Soft{
				Cap:       tailcfg.CapabilityVersion(id),
				Hostinfo:  &tailcfg.Hostinfo{Hostname: "host\x00" + id.String(), RoutableIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}},
				Endpoints: []netip.AddrPort{netip.MustParseAddrPort("[::1]:1")}, Disco: key.NewDisco().Public(), HomeDERP: 900 + int(id),
				LastSeen: epoch.Add(time.Duration(id)),
			}
		}
		want[2] = &selvage.Soft{Hostinfo: &tailcfg.Hostinfo{}}
		soft := func(tx *store.Tx) (map[selvage.NodeID]*selvage.Soft, error) { return tx.Soft(1) }
		same(t, "before the first report", len(read(t, db, soft)), 0)
		write(t, db, func(tx *store.Tx) error { return tx.PutSoft(want) })
		same(t, "soft state", read(t, db, soft), want)

		write(t, db, func(tx *store.Tx) error { return tx.DeleteNode(3) })
		write(t, db, func(tx *store.Tx) error { return tx.PutSoft(want) }) // node 3 is gone
		delete(want, 3)
		same(t, "soft state after a node went", read(t, db, soft), want)
		write(t, db, func(tx *store.Tx) error { return tx.PutSoft(nil) })
	})
}

func TestUsers(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		withTailnet(t, db)
		u := &selvage.User{
			ID: 1, Tailnet: 1, Login: "Ärger@Example.com", DisplayName: "Ä", PictureURL: "https://x/y.png",
			Role: selvage.RoleAdmin, Created: epoch, Pending: true, Suspended: true,
		}
		write(t, db, func(tx *store.Tx) error { return tx.PutUser(u) })
		users := func(tx *store.Tx) ([]*selvage.User, error) { return tx.Users(1) }
		same(t, "users", read(t, db, users), []*selvage.User{u})
		u.Pending = false
		write(t, db, func(tx *store.Tx) error { return tx.PutUser(u) })
		same(t, "changed user", read(t, db, users), []*selvage.User{u})
		twin := *u
		twin.ID, twin.Login = 2, "ärger@example.com"
		err := db.Tx(t.Context(), func(tx *store.Tx) error { return tx.PutUser(&twin) })
		wantKind(t, err, selvage.KindConflict, "a user with this login exists")
	})
}

func TestDeleteUserTakesWhatLetsIn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		withTailnet(t, db)
		write(t, db, func(tx *store.Tx) error {
			for id := selvage.UserID(1); id <= 2; id++ {
				s := id.String()
				for _, err := range []error{
					tx.PutUser(&selvage.User{ID: id, Tailnet: 1, Login: s}),
					tx.PutToken(&selvage.Token{ID: selvage.KeyID(s), Tailnet: 1, User: id, Hash: s}),
					tx.PutSession(&selvage.Session{Hash: s, Tailnet: 1, User: id}),
					tx.PutLink(&selvage.Link{Hash: s, Tailnet: 1, User: id}),
					tx.PutAuthKey(&selvage.AuthKey{ID: selvage.KeyID(s), Tailnet: 1, User: id}),
				} {
					if err != nil {
						return err
					}
				}
			}
			return tx.DeleteUser(1)
		})
		write(t, db, func(tx *store.Tx) error {
			for hash, want := range map[string]bool{"1": false, "2": true} {
				_, err1 := tx.TokenByHash(hash)
				_, err2 := tx.SessionByHash(hash)
				_, err3 := tx.LinkByHash(hash)
				for _, err := range []error{err1, err2, err3} {
					if (err == nil) != want || (err != nil && !selvage.Is(err, selvage.KindNotFound)) {
						t.Errorf("user %s: found %v (%v), want %v", hash, err == nil, err, want)
					}
				}
			}
			keys, err := tx.AuthKeys(1)
			same(t, "auth keys that stay", len(keys), 2)
			return err
		})
		err := db.Tx(t.Context(), func(tx *store.Tx) error { return tx.DeleteUser(1) })
		wantKind(t, err, selvage.KindNotFound, "user 1 is not there")
	})
}

func TestAuthKeys(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		withTailnet(t, db)
		k := &selvage.AuthKey{
			ID: "abc", Tailnet: 1, User: 4, Hash: "ff", Description: "d", Reusable: true, Ephemeral: true, Preapproved: true,
			Tags: []string{"tag:x"}, Created: epoch, Expires: epoch.Add(1), Revoked: epoch.Add(2), Used: epoch.Add(3), Uses: 5,
		}
		bare := &selvage.AuthKey{ID: "def", Tailnet: 1, Created: epoch.Add(time.Second)}
		write(t, db, func(tx *store.Tx) error { return tx.PutAuthKey(bare) })
		write(t, db, func(tx *store.Tx) error { return tx.PutAuthKey(k) })
		keys := func(tx *store.Tx) ([]*selvage.AuthKey, error) { return tx.AuthKeys(1) }
		same(t, "auth keys", read(t, db, keys), []*selvage.AuthKey{k, bare})
		k.Uses = 6
		write(t, db, func(tx *store.Tx) error { return tx.PutAuthKey(k) })
		write(t, db, func(tx *store.Tx) error { return tx.DeleteAuthKey("def") })
		same(t, "auth keys after changes", read(t, db, keys), []*selvage.AuthKey{k})
		err := db.Tx(t.Context(), func(tx *store.Tx) error { return tx.DeleteAuthKey("def") })
		wantKind(t, err, selvage.KindNotFound, "auth key def")
	})
}

func TestTokens(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		withTailnet(t, db)
		k := &selvage.Token{ID: "abc", Tailnet: 1, User: 4, Hash: "ff", Description: "d", Created: epoch, Expires: epoch.Add(1)}
		write(t, db, func(tx *store.Tx) error { return tx.PutToken(k) })
		same(t, "tokens", read(t, db, func(tx *store.Tx) ([]*selvage.Token, error) { return tx.Tokens(1) }), []*selvage.Token{k})
		same(t, "token by hash", read(t, db, func(tx *store.Tx) (*selvage.Token, error) { return tx.TokenByHash("ff") }), k)
		twin := *k
		twin.ID = "abd"
		err := db.Tx(t.Context(), func(tx *store.Tx) error { return tx.PutToken(&twin) })
		wantKind(t, err, selvage.KindConflict, "another token has this hash")
		write(t, db, func(tx *store.Tx) error { return tx.DeleteToken("abc") })
		err = db.Tx(t.Context(), func(tx *store.Tx) error { return tx.DeleteToken("abc") })
		wantKind(t, err, selvage.KindNotFound, "token abc")
	})
}

func TestPolicies(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		withTailnet(t, db)
		newest := func(tx *store.Tx) (*selvage.PolicyRevision, error) { return tx.Policy(1) }
		if p := read(t, db, newest); p != nil {
			t.Errorf("policy of a new tailnet: got %+v, want nil", p)
		}
		text := "{\r\n\t// Größe, 'quotes' and \\\n}" + strings.Repeat(" ", 1<<20)
		a := &selvage.PolicyRevision{Tailnet: 1, Rev: 1, Text: text, Created: epoch, Author: "ann"}
		b := &selvage.PolicyRevision{Tailnet: 1, Rev: 2, Text: "{}", Created: epoch.Add(1), Author: "bob"}
		write(t, db, func(tx *store.Tx) error { return tx.PutPolicy(a) })
		write(t, db, func(tx *store.Tx) error { return tx.PutPolicy(b) })
		same(t, "newest policy", read(t, db, newest), b)
		rev := func(n int64) func(tx *store.Tx) (*selvage.PolicyRevision, error) {
			return func(tx *store.Tx) (*selvage.PolicyRevision, error) { return tx.PolicyRevision(1, n) }
		}
		same(t, "revision 1", read(t, db, rev(1)), a)
		err := db.Read(t.Context(), func(tx *store.Tx) error { _, err := rev(3)(tx); return err })
		wantKind(t, err, selvage.KindNotFound, "no revision 3")
		err = db.Tx(t.Context(), func(tx *store.Tx) error { return tx.PutPolicy(b) })
		wantKind(t, err, selvage.KindConflict, "the policy has changed meanwhile")
		a.Text, b.Text = "", ""
		list := func(limit int) []*selvage.PolicyRevision {
			return read(t, db, func(tx *store.Tx) ([]*selvage.PolicyRevision, error) { return tx.Policies(1, limit) })
		}
		same(t, "revisions", list(0), []*selvage.PolicyRevision{b, a})
		same(t, "one revision", list(1), []*selvage.PolicyRevision{b})
	})
}

func TestLinks(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		withTailnet(t, db)
		l := &selvage.Link{Hash: "h", Tailnet: 1, User: 2, Created: epoch, Expires: epoch.Add(time.Hour)}
		write(t, db, func(tx *store.Tx) error { return tx.PutLink(l) })
		link := func(tx *store.Tx) (*selvage.Link, error) { return tx.LinkByHash("h") }
		same(t, "link", read(t, db, link), l)
		use := func(hash string) error {
			return db.Tx(t.Context(), func(tx *store.Tx) error { return tx.UseLink(hash, epoch.Add(time.Minute)) })
		}
		if err := use("h"); err != nil {
			t.Fatal(err)
		}
		l.Used = epoch.Add(time.Minute)
		same(t, "used link", read(t, db, link), l)
		wantKind(t, use("h"), selvage.KindConflict, "was used on 2026-03-04")
		wantKind(t, use("x"), selvage.KindNotFound, "not known")
		purge := func(before time.Time) (n int64) {
			write(t, db, func(tx *store.Tx) (err error) { n, err = tx.PurgeLinks(before); return err })
			return n
		}
		same(t, "purged before expiry", purge(l.Expires), 0)
		same(t, "purged after expiry", purge(l.Expires.Add(1)), 1)
	})
}

func TestSessions(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		withTailnet(t, db)
		s := &selvage.Session{
			Hash: "h", Tailnet: 1, User: 2, Created: epoch, Seen: epoch.Add(1), Expires: epoch.Add(time.Hour),
			Address: "10.0.0.1", Agent: "Mozilla/\x00\xff",
		}
		later := &selvage.Session{Hash: "a", Tailnet: 1, User: 2, Created: epoch.Add(1), Expires: epoch.Add(2 * time.Hour)}
		other := &selvage.Session{Hash: "o", Tailnet: 1, User: 3, Created: epoch, Expires: epoch.Add(3 * time.Hour)}
		for _, x := range []*selvage.Session{later, s, other} {
			write(t, db, func(tx *store.Tx) error { return tx.PutSession(x) })
		}
		s.Agent = "Mozilla/\uFFFD"
		sessions := func(tx *store.Tx) ([]*selvage.Session, error) { return tx.Sessions(2) }
		same(t, "sessions", read(t, db, sessions), []*selvage.Session{s, later})
		same(t, "session by hash", read(t, db, func(tx *store.Tx) (*selvage.Session, error) { return tx.SessionByHash("h") }), s)
		for range 2 {
			write(t, db, func(tx *store.Tx) error { return tx.DeleteSession("h") })
		}
		same(t, "sessions after sign-out", read(t, db, sessions), []*selvage.Session{later})
		count := func(f func(tx *store.Tx) (int64, error)) (n int64) {
			write(t, db, func(tx *store.Tx) (err error) { n, err = f(tx); return err })
			return n
		}
		same(t, "purged", count(func(tx *store.Tx) (int64, error) { return tx.PurgeSessions(later.Expires) }), 0)
		same(t, "purged", count(func(tx *store.Tx) (int64, error) { return tx.PurgeSessions(later.Expires.Add(1)) }), 1)
		same(t, "all of a user", count(func(tx *store.Tx) (int64, error) { return tx.DeleteSessions(3) }), 1)
	})
}

func TestRelays(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		a := &selvage.Relay{
			Name: "z", Region: 901, Hash: "ff", Created: epoch, Host: "h", Port: 443, STUNPort: -1, CertHash: "cc", Version: "1", Seen: epoch.Add(1),
		}
		b := &selvage.Relay{Name: "a", Region: 902, Created: epoch}
		write(t, db, func(tx *store.Tx) error { return tx.PutRelay(b) })
		write(t, db, func(tx *store.Tx) error { return tx.PutRelay(a) })
		same(t, "relays", read(t, db, (*store.Tx).Relays), []*selvage.Relay{a, b})
		err := db.Tx(t.Context(), func(tx *store.Tx) error { return tx.PutRelay(&selvage.Relay{Name: "c", Region: 901}) })
		wantKind(t, err, selvage.KindConflict, "another relay has this region")
		write(t, db, func(tx *store.Tx) error { return tx.DeleteRelay("z") })
		same(t, "relays after changes", read(t, db, (*store.Tx).Relays), []*selvage.Relay{b})
	})
}

func TestSecrets(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		secret := func(name string) (b []byte, err error) {
			err = db.Read(t.Context(), func(tx *store.Tx) error { b, err = tx.Secret(name); return err })
			return b, err
		}
		_, err := secret("noise-key")
		wantKind(t, err, selvage.KindNotFound, "secret noise-key")
		for _, plain := range []string{"first", "second"} {
			write(t, db, func(tx *store.Tx) error { return tx.PutSecret("noise-key", []byte(plain)) })
			got, err := secret("noise-key")
			if err != nil || string(got) != plain {
				t.Errorf("got %q, %v, want %q", got, err, plain)
			}
		}
		err = db.Tx(t.Context(), func(tx *store.Tx) error { return tx.PutSecret("master-key-check", nil) })
		wantKind(t, err, selvage.KindInvalid, "is taken")
	})
}

// BenchmarkPutSoft saves the soft state of 1000 of 10000 nodes in each round.
func BenchmarkPutSoft(b *testing.B) {
	const nodes, changed = 10000, 1000
	db := withTailnet(b, storetest.New(b))
	write(b, db, func(tx *store.Tx) error {
		for id := selvage.NodeID(1); id <= nodes; id++ {
			if err := tx.PutNode(&selvage.Node{ID: id, Tailnet: 1, StableID: id.String(), Name: id.String()}); err != nil {
				return err
			}
		}
		return nil
	})
	soft := map[selvage.NodeID]*selvage.Soft{}
	for id := selvage.NodeID(1); id <= changed; id++ {
		soft[id*nodes/changed] = &selvage.Soft{
			Cap: 130, Hostinfo: &tailcfg.Hostinfo{Hostname: "host", OS: "linux", OSVersion: "6.1"},
			Endpoints: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:41641")}, HomeDERP: 901,
		}
	}
	for b.Loop() {
		write(b, db, func(tx *store.Tx) error { return tx.PutSoft(soft) })
	}
}
