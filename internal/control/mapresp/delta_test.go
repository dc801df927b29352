package mapresp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/control/mapresp"
	"selvage/internal/netmap"
	"selvage/internal/store"
	"selvage/internal/store/storetest"
)

// viewer is a client: it has what the messages so far add up to.
type viewer struct {
	id    selvage.NodeID
	view  *netmap.View
	node  *netmap.Node
	peers map[tailcfg.NodeID]*tailcfg.Node
	users map[tailcfg.UserID]tailcfg.UserProfile
	rules map[string][]tailcfg.FilterRule
}

func (c *viewer) full(v *netmap.View) {
	n := v.Node(c.id)
	m := wire(mapresp.Full(v, n))
	c.view, c.node = v, n
	c.peers = map[tailcfg.NodeID]*tailcfg.Node{}
	c.users = map[tailcfg.UserID]tailcfg.UserProfile{}
	for _, p := range m.Peers {
		c.peers[p.ID] = p
	}
	for _, u := range m.UserProfiles {
		c.users[u.ID] = u
	}
	c.rules = m.PacketFilters
}

// catchUp applies the difference to v; it returns false if the node is gone.
func (c *viewer) catchUp(t *rapid.T, v *netmap.View) bool {
	d := v.Since(c.view, c.node)
	if d.Gone {
		return false
	}
	self := v.Node(c.id)
	if d.Filter {
		c.rules = wire(&tailcfg.MapResponse{PacketFilters: mapresp.Filter(v, self)}).PacketFilters
	}
	c.view, c.node = v, self
	m := mapresp.Delta(v, self, d)
	if m == nil {
		return true
	}
	m = wire(m)
	for _, u := range m.UserProfiles {
		c.users[u.ID] = u
	}
	touched := map[tailcfg.NodeID]bool{}
	once := func(id tailcfg.NodeID) {
		if touched[id] {
			t.Fatalf("peer %d is in the message twice, which clients get wrong", id)
		}
		touched[id] = true
	}
	for _, id := range m.PeersRemoved {
		once(id)
		delete(c.peers, id)
	}
	for _, p := range m.PeersChanged {
		once(p.ID)
		if p.Online == nil {
			t.Fatalf("peer %d comes without Online", p.ID)
		}
		if _, ok := c.users[p.User]; !ok {
			t.Fatalf("peer %d comes before its owner %d", p.ID, p.User)
		}
		c.peers[p.ID] = p
	}
	for _, patch := range m.PeersChangedPatch {
		once(patch.NodeID)
		apply(t, c.peers[patch.NodeID], patch)
	}
	return true
}

// apply does what clients do with a patch.
func apply(t *rapid.T, p *tailcfg.Node, c *tailcfg.PeerChange) {
	if p == nil {
		t.Fatalf("patch for the unknown peer %d", c.NodeID)
	}
	if c.DERPRegion != 0 {
		p.HomeDERP = c.DERPRegion
	}
	if c.Endpoints != nil {
		p.Endpoints = c.Endpoints
	}
	if c.Key != nil {
		p.Key = *c.Key
	}
	if c.DiscoKey != nil {
		p.DiscoKey = *c.DiscoKey
	}
	if c.Online != nil {
		p.Online = c.Online
	}
	if c.LastSeen != nil {
		p.LastSeen = c.LastSeen
	}
	if c.KeyExpiry != nil {
		p.KeyExpiry = *c.KeyExpiry
	}
	if c.Cap != 0 {
		p.Cap = c.Cap
	}
}

func wire(m *tailcfg.MapResponse) *tailcfg.MapResponse {
	b, err := mapresp.Encode(m)
	if err != nil {
		panic(err)
	}
	out := new(tailcfg.MapResponse)
	if err := json.Unmarshal(b, out); err != nil {
		panic(err)
	}
	return out
}

var policies = []string{
	`{"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]}`,
	`{"grants": [{"src": ["autogroup:member"], "dst": ["autogroup:self"], "ip": ["*"]}]}`,
	`{"groups": {"group:a": ["u0", "u1"]}, "tagOwners": {"tag:s": ["group:a"], "tag:t": []},
	  "acls": [{"action": "accept", "src": ["group:a"], "dst": ["tag:s:22"]}, {"action": "accept", "src": ["tag:s"], "dst": ["tag:t:*", "10.0.0.0/8:80"]}]}`,
	`{"tagOwners": {"tag:s": [], "tag:t": []}, "grants": [{"src": ["tag:t"], "dst": ["*"], "ip": ["tcp:443"]}]}`,
	`{"tagOwners": {"tag:s": [], "tag:t": []}, "postures": {"posture:mac": ["node:os == 'macos'"]},
	  "grants": [{"src": ["autogroup:member", "tag:t"], "dst": ["*"], "ip": ["22"], "srcPosture": ["posture:mac"]}]}`,
	`{"tagOwners": {"tag:s": [], "tag:t": []}, "nodeAttrs": [{"target": ["tag:t"], "attr": ["disable-ipv4"]}],
	  "grants": [{"src": ["*"], "dst": ["*"], "ip": ["80"]},
	    {"src": ["u0"], "dst": ["10.0.0.0/8", "autogroup:internet"], "via": ["tag:s"], "ip": ["*"]},
	    {"src": ["u1", "tag:t"], "dst": ["10.0.0.0/8"], "via": ["tag:t"], "ip": ["*"]}]}`,
	`{}`,
}

type world struct {
	hub   *netmap.Hub
	net   *netmap.Net
	users []*selvage.User
	nodes []selvage.NodeID
	watch map[selvage.NodeID]*netmap.Watch
	seq   int
}

func newWorld(db *store.DB) (*world, error) {
	ctx := context.Background()
	hub, err := netmap.Open(ctx, netmap.Options{DB: db, Logger: slog.New(slog.DiscardHandler), CompactFrom: 4})
	if err != nil {
		return nil, err
	}
	w := &world{hub: hub, net: hub.Nets()[0], watch: map[selvage.NodeID]*netmap.Watch{}}
	for i := range 3 {
		u, err := w.net.CreateUser(ctx, selvage.System(), fmt.Sprintf("u%d", i), "", selvage.RoleMember)
		if err != nil {
			return nil, err
		}
		w.users = append(w.users, u)
	}
	return w, nil
}

// change makes one random change to the network.
func (w *world) change(t *rapid.T) error {
	ctx, sys := context.Background(), selvage.System()
	w.seq++
	if len(w.nodes) < 3 || rapid.IntRange(0, 9).Draw(t, "grow") == 0 {
		return w.join(t)
	}
	id := rapid.SampledFrom(w.nodes).Draw(t, "node")
	switch rapid.IntRange(0, 11).Draw(t, "op") {
	case 0, 1, 2:
		eps := []netip.AddrPort{}
		for range rapid.IntRange(0, 2).Draw(t, "endpoints") {
			w.seq++
			eps = append(eps, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(w.seq)}), 41641))
		}
		_, err := w.net.Report(id, func(s *selvage.Soft) {
			s.Endpoints, s.HomeDERP = eps, rapid.IntRange(0, 3).Draw(t, "derp")
		})
		return err
	case 3:
		_, err := w.net.Report(id, func(s *selvage.Soft) {
			s.Hostinfo = &tailcfg.Hostinfo{OS: rapid.SampledFrom([]string{"linux", "macOS"}).Draw(t, "os"), Hostname: fmt.Sprint("h", w.seq%4), RoutableIPs: drawRoutes(t)}
			s.Disco = key.NewDisco().Public()
		})
		return err
	case 4:
		_, err := w.net.SetPolicy(ctx, sys, rapid.SampledFrom(policies).Draw(t, "policy"))
		return err
	case 5:
		if err := w.net.SetNodeTags(ctx, sys, id, drawTags(t)); err != nil && selvage.KindOf(err) != selvage.KindInvalid {
			return err
		}
		return nil
	case 6:
		return w.net.SetApprovedRoutes(ctx, sys, id, drawRoutes(t))
	case 7:
		w.nodes = slices.DeleteFunc(w.nodes, func(n selvage.NodeID) bool { return n == id })
		return w.net.DeleteNode(ctx, sys, id)
	case 8:
		return w.net.RenameNode(ctx, sys, id, fmt.Sprint("name", w.seq))
	case 9:
		return w.net.ExpireNode(ctx, sys, id)
	case 10:
		return w.net.UpdateUser(ctx, sys, w.users[w.seq%3].ID, func(u *selvage.User) { u.DisplayName = fmt.Sprint("User ", w.seq) })
	}
	watch, err := w.net.Watch(id)
	w.watch[id] = watch
	return err
}

func (w *world) join(t *rapid.T) error {
	n, err := w.net.Join(context.Background(), selvage.System(), netmap.Join{
		Machine: key.NewMachine().Public(), Key: key.NewNode().Public(),
		Hostinfo: &tailcfg.Hostinfo{OS: "linux", Hostname: "host"}, Cap: 142,
		User: rapid.SampledFrom(w.users).Draw(t, "owner").ID,
	})
	if err == nil {
		w.nodes = append(w.nodes, n.ID)
	}
	return err
}

func drawTags(t *rapid.T) []string {
	return rapid.SampledFrom([][]string{nil, {"tag:s"}, {"tag:t"}, {"tag:s", "tag:t"}}).Draw(t, "tags")
}

func drawRoutes(t *rapid.T) []netip.Prefix {
	all := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("192.168.7.0/24"), selvage.ExitRoutes()[0], selvage.ExitRoutes()[1]}
	return rapid.SampledFrom([][]netip.Prefix{nil, all[:1], all[1:2], all[:2], all[2:], all}).Draw(t, "routes")
}

// TestDeltasAddUpToFullMap is the property that everything else rests on: whatever
// happens, and however far behind a client is, what it has been sent adds up to what
// a fresh full map says.
func TestDeltasAddUpToFullMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w, err := newWorld(storetest.New(t))
		if err != nil {
			rt.Fatal(err)
		}
		clients := map[selvage.NodeID]*viewer{}
		for range 60 {
			if err := w.change(rt); err != nil {
				rt.Fatal(err)
			}
			v := w.net.View()
			for _, id := range w.nodes {
				if clients[id] == nil {
					clients[id] = &viewer{id: id}
					clients[id].full(v)
				} else if rapid.IntRange(0, 3).Draw(rt, "reads") == 0 {
					clients[id].catchUp(rt, v)
				}
			}
		}
		v := w.net.View()
		for id, c := range clients {
			if !c.catchUp(rt, v) {
				if slices.Contains(w.nodes, id) {
					rt.Fatalf("node %d was told that it is gone", id)
				}
				continue
			}
			fresh := &viewer{id: id}
			fresh.full(v)
			compare(rt, id, c, fresh)
		}
	})
}

func compare(t *rapid.T, id selvage.NodeID, got, want *viewer) {
	asJSON := func(peers map[tailcfg.NodeID]*tailcfg.Node) map[tailcfg.NodeID]string {
		m := map[tailcfg.NodeID]string{}
		for _, p := range peers {
			// When a peer went offline is of no use once it is back, and a patch
			// that says "online" doesn't clear it.
			if p.Online != nil && *p.Online {
				p.LastSeen = nil
			}
			b, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			m[p.ID] = string(b)
		}
		return m
	}
	if d := cmp.Diff(asJSON(want.peers), asJSON(got.peers)); d != "" {
		t.Fatalf("node %d: peers differ from a full map (-full +deltas):\n%s", id, d)
	}
	if d := cmp.Diff(want.rules, got.rules); d != "" {
		t.Fatalf("node %d: packet filter differs from a full map (-full +deltas):\n%s", id, d)
	}
	for _, uid := range slices.Sorted(maps.Keys(want.users)) {
		if d := cmp.Diff(want.users[uid], got.users[uid]); d != "" {
			t.Fatalf("node %d: user %d differs (-full +deltas):\n%s", id, uid, d)
		}
	}
}
