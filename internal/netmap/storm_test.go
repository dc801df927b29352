package netmap_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/journal"
	"selvage/internal/netmap"
	"selvage/internal/store"
	"selvage/internal/store/storetest"
)

// peer is what a client knows of a peer.
type peer struct {
	Name      string
	Tags      []string
	User      selvage.UserID
	Key       string
	Expiry    time.Time
	Endpoints []netip.AddrPort
	DERP      int
	Disco     string
	Cap       tailcfg.CapabilityVersion
	Online    bool
	Hostname  string
	Routes    []netip.Prefix
	Addresses string
	Caps      string
}

func peerOf(v *netmap.View, viewer, n *netmap.Node) peer {
	return peer{
		n.Name, n.Tags, n.User, n.Key.String(), n.KeyExpiry, n.Soft.Endpoints, n.Soft.HomeDERP, n.Soft.Disco.String(),
		n.Soft.Cap, n.Online, n.Soft.Hostinfo.Hostname, v.RoutesFor(viewer, n), fmt.Sprint(n.Addresses()), fmt.Sprint(v.PeerCaps(viewer, n)),
	}
}

// follower is a client that looks only when it is woken.
type follower struct {
	net   *netmap.Net
	watch *netmap.Watch
	id    selvage.NodeID
	view  *netmap.View
	peers map[selvage.NodeID]peer
	users map[selvage.UserID]selvage.User
	rules map[string][]tailcfg.FilterRule
	gone  bool
}

func (f *follower) start() {
	f.view = f.net.View()
	f.peers, f.users = map[selvage.NodeID]peer{}, map[selvage.UserID]selvage.User{}
	self := f.view.Node(f.id)
	if self == nil {
		f.gone = true
		return
	}
	f.rules = f.view.PacketFilter(self)
	for n := range f.view.Peers(self) {
		f.peers[n.ID] = peerOf(f.view, self, n)
		if u := f.view.User(n.User); u != nil {
			f.users[u.ID] = *u
		}
	}
}

func (f *follower) look() {
	v := f.net.View()
	d := v.Since(f.view, f.view.Node(f.id))
	if f.gone = d.Gone; f.gone {
		return
	}
	self := v.Node(f.id)
	for _, id := range d.Removed {
		delete(f.peers, id)
	}
	for _, n := range d.Whole {
		f.peers[n.ID] = peerOf(v, self, n)
	}
	for _, p := range d.Patched {
		old, now := f.peers[p.ID], peerOf(v, self, p.Node)
		patch(&old, now, p.Parts)
		f.peers[p.ID] = old
	}
	for _, u := range d.Users {
		f.users[u.ID] = *u
	}
	if d.Filter {
		f.rules = v.PacketFilter(self)
	}
	f.view = v
}

func patch(old *peer, now peer, parts netmap.Part) {
	if parts&netmap.PartEndpoints != 0 {
		old.Endpoints = now.Endpoints
	}
	if parts&netmap.PartHomeDERP != 0 {
		old.DERP = now.DERP
	}
	if parts&netmap.PartDisco != 0 {
		old.Disco = now.Disco
	}
	if parts&netmap.PartKey != 0 {
		old.Key = now.Key
	}
	if parts&netmap.PartKeyExpiry != 0 {
		old.Expiry = now.Expiry
	}
	if parts&netmap.PartCap != 0 {
		old.Cap = now.Cap
	}
	if parts&netmap.PartOnline != 0 {
		old.Online = now.Online
	}
}

// run follows until stop is closed, and then only what it has been woken for.
func (f *follower) run(stop <-chan struct{}) {
	f.start()
	for !f.gone {
		select {
		case <-f.watch.Wake():
			f.look()
			continue
		default:
		}
		select {
		case <-f.watch.Replaced():
			f.gone = true
		case <-f.watch.Wake():
			f.look()
		case <-stop:
			select {
			case <-f.watch.Wake():
				f.look()
			default:
			}
			return
		}
	}
}

// check compares what the client knows with what there is.
func (f *follower) check(t *testing.T) {
	v := f.net.View()
	self := v.Node(f.id)
	if f.gone || self == nil {
		return
	}
	want := follower{net: f.net, id: f.id}
	want.start()
	if d := cmp.Diff(want.peers, f.peers, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
		t.Errorf("node %d at view %d of %d: what it was told differs from what there is (-is +told):\n%s", f.id, f.view.Seq, v.Seq, d)
	}
	if d := cmp.Diff(want.rules, f.rules); d != "" {
		t.Errorf("node %d at view %d of %d: its packet filter differs (-is +told):\n%s", f.id, f.view.Seq, v.Seq, d)
	}
	for id, u := range want.users {
		if f.users[id] != u {
			t.Errorf("node %d knows user %d as %+v, want %+v", f.id, id, f.users[id], u)
		}
	}
}

// storm does random things to a tailnet, from many goroutines.
type storm struct {
	t     *testing.T
	clock *clock
	net   *netmap.Net

	mu sync.Mutex
	// guards the following fields
	joins     []netmap.Join // what devices joined with last
	nodes     []selvage.NodeID
	users     []selvage.UserID
	keys      []selvage.KeyID
	followers []*follower
	running   sync.WaitGroup
	stop      chan struct{}
}

func pick[T any](s *storm, r *rand.Rand, list *[]T) (v T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(*list) > 0 {
		v = (*list)[r.IntN(len(*list))]
	}
	return v
}

func push[T any](s *storm, list *[]T, v T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*list = append(*list, v)
}

var stormPolicies = []string{
	`{"tagOwners": {"tag:a": ["u1"], "tag:b": ["tag:a"]}, "autoApprovers": {"routes": {"10.0.0.0/8": ["autogroup:member", "tag:a"]}}, "grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]}`,
	`{"tagOwners": {"tag:a": [], "tag:b": []}, "grants": [{"src": ["autogroup:member"], "dst": ["autogroup:self"], "ip": ["*"]}, {"src": ["u1"], "dst": ["tag:a", "10.1.0.0/16"], "ip": ["22"]}]}`,
	`{"tagOwners": {"tag:a": [], "tag:b": []}, "acls": [{"action": "accept", "src": ["tag:a"], "dst": ["tag:b:443"]}]}`,
	`{"tagOwners": {"tag:a": [], "tag:b": []}, "postures": {"posture:mac": ["node:os == 'macos'"]}, "grants": [{"src": ["autogroup:member"], "dst": ["*"], "ip": ["22"], "srcPosture": ["posture:mac"]}]}`,
	`{"tagOwners": {"tag:a": [], "tag:b": []}, "nodeAttrs": [{"target": ["tag:b"], "attr": ["disable-ipv4"]}], "grants": [
		{"src": ["*"], "dst": ["*"], "ip": ["80"]},
		{"src": ["u1"], "dst": ["10.1.0.0/16", "autogroup:internet"], "via": ["tag:a"], "ip": ["*"]},
		{"src": ["u2"], "dst": ["10.0.0.0/8"], "via": ["tag:b"], "ip": ["*"]}]}`,
}

var stormRoutes = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.2.0.0/16"), netip.MustParsePrefix("::/0"),
}

func someOf[T any](r *rand.Rand, all []T) []T {
	var some []T
	for _, v := range all {
		if r.IntN(2) == 0 {
			some = append(some, v)
		}
	}
	return some
}

func (s *storm) join(ctx context.Context, r *rand.Rand) error {
	j := netmap.Join{
		Machine: key.NewMachine().Public(), Key: key.NewNode().Public(), Cap: 130 + tailcfg.CapabilityVersion(r.IntN(3)),
		Hostinfo:  &tailcfg.Hostinfo{OS: []string{"linux", "macOS"}[r.IntN(2)], Hostname: fmt.Sprint("host", r.IntN(5)), RoutableIPs: someOf(r, stormRoutes)},
		Ephemeral: r.IntN(4) == 0,
	}
	switch again := pick(s, r, &s.joins); {
	case again.Key.IsZero():
	case r.IntN(3) == 0: // logs in again
		j.Machine, j.OldKey = again.Machine, again.Key
	case r.IntN(3) == 0: // repeats itself, or changes hands
		j.Machine, j.Key, j.AuthKey, j.User = again.Machine, again.Key, again.AuthKey, again.User
	}
	if r.IntN(2) == 0 {
		j.AuthKey = pick(s, r, &s.keys)
	}
	if j.AuthKey == "" {
		j.User = pick(s, r, &s.users)
	}
	n, err := s.net.Join(ctx, selvage.System(), j)
	if err == nil {
		push(s, &s.joins, j)
		push(s, &s.nodes, n.ID)
	}
	return err
}

func (s *storm) watch(r *rand.Rand) error {
	id := pick(s, r, &s.nodes)
	w, err := s.net.Watch(id)
	if err != nil {
		return err
	}
	f := &follower{net: s.net, watch: w, id: id}
	if r.IntN(4) == 0 {
		w.Close()
		netmap.OfflineForTest(s.net, id)
		return nil
	}
	push(s, &s.followers, f)
	s.running.Go(func() { f.run(s.stop) })
	return nil
}

func (s *storm) report(r *rand.Rand) error {
	id := pick(s, r, &s.nodes)
	_, err := s.net.Report(id, func(soft *selvage.Soft) {
		soft.Endpoints = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(9))}), 1)}
		soft.HomeDERP = r.IntN(3)
		if r.IntN(3) == 0 {
			soft.Hostinfo = &tailcfg.Hostinfo{OS: []string{"linux", "macOS"}[r.IntN(2)], Hostname: fmt.Sprint("host", r.IntN(5)), RoutableIPs: someOf(r, stormRoutes), RequestTags: someOf(r, []string{"tag:a"})}
		}
	})
	if err != nil {
		return err
	}
	return s.net.Settle(context.Background(), selvage.System(), id)
}

func (s *storm) admin(ctx context.Context, r *rand.Rand) error {
	n, id, sys := s.net, pick(s, r, &s.nodes), selvage.System()
	switch r.IntN(14) {
	case 0:
		u, err := n.CreateUser(ctx, sys, fmt.Sprint("u", r.IntN(6)), "", selvage.RoleMember)
		if err == nil {
			push(s, &s.users, u.ID)
		}
		return err
	case 1:
		if r.IntN(3) > 0 {
			return nil
		}
		return n.DeleteUser(ctx, sys, pick(s, r, &s.users))
	case 2:
		return n.UpdateUser(ctx, sys, pick(s, r, &s.users), func(u *selvage.User) { u.DisplayName = fmt.Sprint(r.IntN(9)) })
	case 3:
		k := &selvage.AuthKey{ID: selvage.KeyID(selvage.RandomText(12)), Hash: selvage.RandomText(64), User: pick(s, r, &s.users), Reusable: r.IntN(2) == 0, Ephemeral: r.IntN(3) == 0, Tags: someOf(r, []string{"tag:a", "tag:b"})}
		err := n.CreateAuthKey(ctx, sys, k)
		if err == nil {
			push(s, &s.keys, k.ID)
		}
		return err
	case 4:
		return n.RevokeAuthKey(ctx, sys, pick(s, r, &s.keys))
	case 5:
		return second(n.SetPolicy(ctx, sys, stormPolicies[r.IntN(len(stormPolicies))]))
	case 6:
		return n.ChangeSettings(ctx, sys, journal.SettingsSet, func(set *selvage.Settings) error {
			set.DeviceApproval = r.IntN(4) == 0
			set.KeyExpiry = time.Duration(1+r.IntN(3)) * time.Hour
			return nil
		})
	case 7:
		return n.DeleteNode(ctx, sys, id)
	case 8:
		return n.RenameNode(ctx, sys, id, []string{"", "fixed", "host1", "host2"}[r.IntN(4)])
	case 9:
		return n.SetNodeTags(ctx, sys, id, someOf(r, []string{"tag:a", "tag:b"}))
	case 10:
		return n.SetApprovedRoutes(ctx, sys, id, someOf(r, stormRoutes))
	case 11:
		return n.ExpireNode(ctx, sys, id)
	case 12:
		return n.ApproveNode(ctx, sys, id)
	}
	return n.Logout(ctx, sys, id)
}

func (s *storm) act(ctx context.Context, r *rand.Rand) error {
	switch r.IntN(8) {
	case 0, 1:
		return s.join(ctx, r)
	case 2:
		return s.watch(r)
	case 3, 4:
		return s.report(r)
	case 5:
		s.net.SetReachable(pick(s, r, &s.nodes), r.IntN(2) == 0)
		s.clock.Advance(time.Duration(r.IntN(120)) * time.Second)
		netmap.TickForTest(ctx, s.net)
		return nil
	}
	return s.admin(ctx, r)
}

// quietly does what wakes only those who see it.
func (s *storm) quietly(ctx context.Context, r *rand.Rand) error {
	switch r.IntN(9) {
	case 0:
		return s.join(ctx, r)
	case 1:
		return s.watch(r)
	case 2:
		return s.net.SetNodeTags(ctx, selvage.System(), pick(s, r, &s.nodes), []string{[]string{"tag:a", "tag:b"}[r.IntN(2)]})
	case 3:
		return s.net.SetApprovedRoutes(ctx, selvage.System(), pick(s, r, &s.nodes), someOf(r, stormRoutes))
	}
	return s.report(r)
}

// settle ends the sessions and checks what they have been told.
func (s *storm) settle(t *testing.T) {
	close(s.stop)
	s.running.Wait()
	for _, f := range s.followers {
		f.check(t)
	}
	s.followers, s.stop = nil, make(chan struct{})
}

// TestStorm does all kinds of things at once from many goroutines. Afterwards what
// every session has been told must be what there is, without a look that nothing woke
// it for; what is kept beside the view must fit it; and a server that starts on the
// same database must come to the same model.
func TestStorm(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		c := newClock()
		hub, home := open(t, db, c)
		other, err := hub.CreateTailnet(t.Context(), selvage.System(), "other")
		if err != nil {
			t.Fatal(err)
		}
		var storms []*storm
		for _, n := range []*netmap.Net{home, other} {
			s := &storm{t: t, clock: c, net: n, stop: make(chan struct{})}
			s.users = append(s.users, n.View().Owner().ID)
			storms = append(storms, s)
		}
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rage := func(phase uint64, act func(*storm, *rand.Rand) error) {
			var acting sync.WaitGroup
			defer acting.Wait()
			for i := range uint64(50) {
				acting.Go(func() {
					r := rand.New(rand.NewPCG(seed, i+phase))
					for range 15 {
						if err := act(storms[i%2], r); err != nil && selvage.KindOf(err) == selvage.KindInternal {
							t.Errorf("internal error: %v", err)
						}
						if r.IntN(20) == 0 {
							if err := hub.Flush(t.Context()); err != nil {
								t.Error(err)
							}
						}
					}
				})
			}
		}
		rage(0, func(s *storm, r *rand.Rand) error { return s.act(t.Context(), r) })
		// After what wakes everybody comes what doesn't, under each policy.
		for phase, policy := range stormPolicies {
			for _, s := range storms {
				if _, err := s.net.SetPolicy(t.Context(), selvage.System(), policy+strings.Repeat(" ", phase)); err != nil {
					t.Fatal(err)
				}
			}
			rage(uint64(100*phase+100), func(s *storm, r *rand.Rand) error { return s.quietly(t.Context(), r) })
			for _, s := range storms {
				s.settle(t)
			}
		}
		for _, s := range storms {
			if err := netmap.CheckForTest(s.net); err != nil {
				t.Error(err)
			}
		}
		if err := hub.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		compareHubs(t, c, db, hub)
	})
}

// state is what of a tailnet survives a restart.
type state struct {
	Tailnet *selvage.Tailnet
	Users   []*selvage.User
	Keys    []*selvage.AuthKey
	Nodes   []*selvage.Node
	Soft    []*selvage.Soft
	Routes  [][]netip.Prefix
	Expired []bool
	Policy  string
	Sees    []bool
}

func stateOf(v *netmap.View) string {
	s := state{Tailnet: v.Tailnet, Users: v.Users(), Keys: v.AuthKeys(), Policy: v.PolicyText()}
	for a := range v.Nodes() {
		s.Nodes, s.Soft = append(s.Nodes, a.Node), append(s.Soft, a.Soft)
		s.Routes, s.Expired = append(s.Routes, a.Routes), append(s.Expired, a.Expired)
		for b := range v.Nodes() {
			s.Sees = append(s.Sees, v.Sees(a, b))
		}
	}
	text, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		panic(err)
	}
	return string(text)
}

// compareHubs checks that a server that starts now comes to the same model.
func compareHubs(t *testing.T, c *clock, db *store.DB, hub *netmap.Hub) {
	t.Helper()
	for _, n := range hub.Nets() {
		netmap.TickForTest(t.Context(), n) // what the clock has brought since
	}
	fresh, _ := open(t, db, c)
	for _, n := range hub.Nets() {
		v := fresh.Net(n.ID()).View()
		if d := cmp.Diff(stateOf(n.View()), stateOf(v)); d != "" {
			t.Errorf("tailnet %d differs after a restart (-before +after):\n%s", n.ID(), d)
		}
		for rec := range v.Nodes() {
			if net, got := hub.NodeByKey(rec.Key); net != n || got == nil || got.ID != rec.ID {
				t.Errorf("node %d is not found by its key", rec.ID)
			}
		}
		check, err := journal.Verify(t.Context(), db, n.ID())
		if err != nil || check.Bad != 0 {
			t.Errorf("journal of tailnet %d: %+v, %v", n.ID(), check, err)
		}
	}
}
