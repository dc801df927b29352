package netmap_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"selvage"
	"selvage/internal/journal"
	"selvage/internal/netmap"
	"selvage/internal/store/storetest"
)

// pair is two servers over one database.
type pair struct {
	clock *clock
	hubs  [2]*netmap.Hub
	nets  [2]*netmap.Net
}

func newPair(t *testing.T, dsn string) *pair {
	t.Helper()
	p := &pair{clock: newClock()}
	for i := range p.hubs {
		p.hubs[i], p.nets[i] = open(t, storetest.Open(t, dsn), p.clock)
	}
	return p
}

// agree lets both servers follow the journal and compares their models.
func (p *pair) agree(t *testing.T) {
	t.Helper()
	for i, h := range p.hubs {
		if err := netmap.FollowForTest(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		if err := netmap.CheckForTest(p.nets[i]); err != nil {
			t.Errorf("server %d: %v", i, err)
		}
	}
	if d := cmp.Diff(configOf(p.nets[0].View()), configOf(p.nets[1].View())); d != "" {
		t.Errorf("the servers differ (-first +second):\n%s", d)
	}
}

// configOf is stateOf without what only one server knows.
func configOf(v *netmap.View) string {
	out := v.PolicyText()
	for _, u := range v.Users() {
		out += fmt.Sprintf("%+v\n", *u)
	}
	for _, k := range v.AuthKeys() {
		out += fmt.Sprintf("%s %v %d %v %v\n", k.ID, k.Revoked.UnixNano(), k.Uses, k.Used.UnixNano(), k.Tags)
	}
	for n := range v.Nodes() {
		out += fmt.Sprintf("%d %s %s %v %d %v %v %v %v %v\n", n.ID, n.Name, n.Key, n.Tags, n.User, n.IPv4, n.KeyExpiry.UnixNano(), n.Approved, n.ApprovedRoutes, n.Expired)
	}
	return out + fmt.Sprintf("%+v", v.Tailnet.Settings)
}

func TestServerDecidesFromWhatOthersWrote(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn func() string) {
		p := newPair(t, dsn())
		a, b := p.nets[0], p.nets[1]
		alice, err := a.CreateUser(t.Context(), selvage.Local(), "alice", "", selvage.RoleMember)
		if err != nil {
			t.Fatal(err)
		}
		t.Run("a user made by the other server can own a device", func(t *testing.T) {
			j := device("laptop")
			j.User = alice.ID
			mustJoin(t, b, j)
		})
		t.Run("names, addresses and IDs are not given twice", func(t *testing.T) {
			j := device("laptop")
			j.User = alice.ID
			first := b.View()
			n := mustJoin(t, a, j)
			if n.Name != "laptop-1" {
				t.Errorf("the second laptop is called %q", n.Name)
			}
			for other := range first.Nodes() {
				if other.IPv4 == n.IPv4 || other.ID == n.ID {
					t.Errorf("node %d at %v is like node %d at %v", n.ID, n.IPv4, other.ID, other.IPv4)
				}
			}
		})
		t.Run("a key for one device serves one", func(t *testing.T) {
			j := device("once")
			j.AuthKey = authKey(t, a, selvage.AuthKey{User: alice.ID})
			mustJoin(t, b, j)
			again := device("twice")
			again.AuthKey = j.AuthKey
			_, err := a.Join(t.Context(), selvage.System(), again)
			wantError(t, err, selvage.KindDenied, "single device")
		})
		t.Run("a deleted user is gone everywhere", func(t *testing.T) {
			if err := a.DeleteUser(t.Context(), selvage.Local(), alice.ID); err != nil {
				t.Fatal(err)
			}
			j := device("late")
			j.User = alice.ID
			_, err := b.Join(t.Context(), selvage.System(), j)
			wantError(t, err, selvage.KindNotFound, alice.ID.String())
		})
		t.Run("a change that fails leaves what it caught up with", func(t *testing.T) {
			if _, err := a.CreateUser(t.Context(), selvage.Local(), "bob", "", selvage.RoleMember); err != nil {
				t.Fatal(err)
			}
			err := b.RenameNode(t.Context(), selvage.Local(), 999, "x")
			wantError(t, err, selvage.KindNotFound)
			if _, err := b.View().UserByLogin("bob"); err != nil {
				t.Error(err)
			}
		})
		p.agree(t)
	})
}

func TestFollowingKeepsWhatOnlyThisServerKnows(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn func() string) {
		p := newPair(t, dsn())
		a, b := p.nets[0], p.nets[1]
		owner := a.View().Owner().ID
		j := device("one")
		j.User = owner
		one := mustJoin(t, a, j)
		j = device("two")
		j.User = owner
		j.Hostinfo.RoutableIPs = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
		two := mustJoin(t, a, j)
		w, err := a.Watch(one.ID)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if _, err := a.Report(two.ID, func(s *selvage.Soft) { s.HomeDERP = 7 }); err != nil {
			t.Fatal(err)
		}
		drain(w)
		before := a.View()

		for _, change := range []error{
			b.RenameNode(t.Context(), selvage.Local(), two.ID, "renamed"),
			b.SetApprovedRoutes(t.Context(), selvage.Local(), two.ID, j.Hostinfo.RoutableIPs),
			second(b.SetPolicy(t.Context(), selvage.Local(), stormPolicies[0])),
		} {
			if change != nil {
				t.Fatal(change)
			}
		}
		if got := b.View().Node(two.ID); got.Soft.Hostinfo.Hostname != "two" || len(got.Routes) != 1 {
			t.Errorf("the other server has loaded host %q with routes %v", got.Soft.Hostinfo.Hostname, got.Routes)
		}
		if a.View() != before {
			t.Error("the model changed although nobody looked")
		}
		if err := netmap.FollowForTest(t.Context(), p.hubs[0]); err != nil {
			t.Fatal(err)
		}
		v := a.View()
		if got := v.Node(one.ID); !got.Online || got.Node != before.Node(one.ID).Node {
			t.Errorf("node %d: online %v, same record %v", one.ID, got.Online, got.Node == before.Node(one.ID).Node)
		}
		if got := v.Node(two.ID); got.Name != "renamed" || got.Soft.HomeDERP != 7 || len(got.Primary) != 1 {
			t.Errorf("node %d is called %q, has home relay %d and serves %v", two.ID, got.Name, got.Soft.HomeDERP, got.Primary)
		}
		select {
		case <-w.Wake():
		default:
			t.Error("the session was not woken")
		}
		d := v.Since(before, before.Node(one.ID))
		if len(d.Whole) != 1 || d.Whole[0].ID != two.ID || !d.Policy {
			t.Errorf("the session is told of %v", d)
		}
		if err := p.hubs[0].Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.agree(t)
	})
}

func drain(w *netmap.Watch) {
	select {
	case <-w.Wake():
	default:
	}
}

func TestFollowingSkipsWhatIsNotOfTheModel(t *testing.T) {
	dsn := storetest.SQLite(t)
	p := newPair(t, dsn)
	before := p.nets[0].View()
	err := p.nets[1].Update(t.Context(), selvage.Local(), func(tx *netmap.Tx) error {
		tx.Log(journal.SessionCreate, "user:1", nil, "x")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	p.agree(t)
	if p.nets[0].View() != before {
		t.Error("a sign-in on another server made a new view")
	}
}

func TestTailnetsOfOtherServersAreLoaded(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn func() string) {
		p := newPair(t, dsn())
		made, err := p.hubs[0].CreateTailnet(t.Context(), selvage.Local(), "second")
		if err != nil {
			t.Fatal(err)
		}
		if p.hubs[1].Net(made.ID()) != nil {
			t.Fatal("the other server knows the tailnet already")
		}
		home := p.nets[1]
		p.agree(t)
		n, err := p.hubs[1].ByName("second")
		if err != nil {
			t.Fatal(err)
		}
		if p.hubs[1].Net(home.ID()) != home {
			t.Error("a tailnet that was known has been replaced")
		}
		_, err = p.hubs[1].CreateTailnet(t.Context(), selvage.Local(), "second")
		wantError(t, err, selvage.KindConflict, "second")
		j := device("x")
		j.User = n.View().Owner().ID
		mustJoin(t, n, j)
	})
}

// TestTwoServersAtOnce changes a tailnet through two servers at random.
func TestTwoServersAtOnce(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, dsn func() string) {
		p := newPair(t, dsn())
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		s := &storm{t: t, clock: p.clock, stop: make(chan struct{})}
		s.users = append(s.users, p.nets[0].View().Owner().ID)
		r := rand.New(rand.NewPCG(seed, 0))
		for range 150 {
			s.net = p.nets[r.IntN(2)]
			var err error
			if r.IntN(3) == 0 {
				err = s.join(t.Context(), r)
			} else {
				err = s.admin(t.Context(), r)
			}
			if err != nil && selvage.KindOf(err) == selvage.KindInternal {
				t.Fatalf("internal error: %v", err)
			}
		}
		p.agree(t)
		for i, h := range p.hubs {
			if err := h.Flush(t.Context()); err != nil {
				t.Fatalf("server %d: %v", i, err)
			}
		}
	})
}
