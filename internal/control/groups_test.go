package control

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/util/zstdframe"

	"selvage"
	"selvage/internal/control/mapresp"
	"selvage/internal/netmap"
	"selvage/internal/store/storetest"
)

// village makes a tailnet with n devices of one user.
func village(t *testing.T, n int) *netmap.Net {
	t.Helper()
	ctx := context.Background()
	hub, err := netmap.Open(ctx, netmap.Options{DB: storetest.New(t), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	net := hub.Nets()[0]
	for i := range n {
		_, err := net.Join(ctx, selvage.System(), netmap.Join{
			Machine: key.NewMachine().Public(), Key: key.NewNode().Public(), User: net.View().Owner().ID, Cap: 142,
			Hostinfo: &tailcfg.Hostinfo{OS: "linux", Hostname: fmt.Sprint("n", i)},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return net
}

// view returns the frames that the node with the ID gets.
func view(t *testing.T, g *groups, v *netmap.View, id selvage.NodeID) [][]byte {
	t.Helper()
	self := v.Node(id)
	msg, peers := mapresp.Head(v, self)
	frames := g.frames(v, self, peers)
	// Together they are what plain encoding gives.
	var got []byte
	for i, f := range frames {
		if i > 0 {
			got = append(got, ',')
		}
		b, err := zstdframe.AppendDecode(nil, f)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b...)
	}
	msg.Peers = mapresp.Full(v, self).Peers
	if want := jsonOf(msg.Peers); "["+string(got)+"]" != string(want) {
		t.Fatalf("node %d: frames decode to %.200s, want %.200s", id, got, want)
	}
	return frames
}

// same counts the frames that two viewers share.
func same(a, b [][]byte) int {
	n := 0
	for i := range min(len(a), len(b)) {
		if &a[i][0] == &b[i][0] {
			n++
		}
	}
	return n
}

func TestViewersShareGroups(t *testing.T) {
	ctx := context.Background()
	net := village(t, 600)
	g := newGroups()
	v := net.View()
	first := view(t, g, v, 5)
	if len(first) < 4 {
		t.Fatalf("600 peers are %d groups", len(first))
	}
	if again := view(t, g, v, 5); same(first, again) != len(first)-1 {
		t.Errorf("the same viewer shares %d of %d groups with itself; only its own may differ", same(first, again), len(first))
	}
	other := view(t, g, v, 300)
	if n := same(first, other); n != len(first)-2 {
		t.Errorf("two viewers share %d of %d groups", n, len(first))
	}
	// A change of one peer costs its group alone.
	if err := net.RenameNode(ctx, selvage.System(), 400, "renamed"); err != nil {
		t.Fatal(err)
	}
	renamed := view(t, g, net.View(), 300)
	if n := same(other, renamed); n != len(other)-2 {
		t.Errorf("after a change of one peer %d of %d groups are the same", n, len(other))
	}
	// A change for all costs all.
	set := func(s *selvage.Settings) error { s.Domain = "other.example"; return nil }
	if err := net.ChangeSettings(ctx, selvage.System(), "settings.change", set); err != nil {
		t.Fatal(err)
	}
	if n := same(renamed, view(t, g, net.View(), 300)); n != 0 {
		t.Errorf("under a new domain %d groups are the same", n)
	}
}

func TestGroupsAreBounded(t *testing.T) {
	net := village(t, 300)
	g := newGroups()
	view(t, g, net.View(), 1)
	if len(g.byKey) == 0 {
		t.Fatal("nothing is kept, so this test shows nothing")
	}
	g.account(maxGroupBytes)
	if len(g.byKey) != 0 || g.bytes != 0 {
		t.Errorf("%d groups are kept beyond the limit", len(g.byKey))
	}
}

func TestGroupEnds(t *testing.T) {
	ids := func(from, to int) (peers []*netmap.Node) {
		for i := from; i < to; i++ {
			peers = append(peers, &netmap.Node{Node: &selvage.Node{ID: selvage.NodeID(i)}})
		}
		return peers
	}
	for name, test := range map[string]struct {
		peers []*netmap.Node
		want  int
	}{
		"few":                     {ids(1, 10), 9},
		"one span":                {ids(128, 256), 128},
		"two spans":               {ids(128, 384), 128},
		"too few before the span": {ids(100, 300), 156},
		"thin":                    {append(ids(120, 130), append(ids(1000, 1030), ids(5000, 5100)...)...), 10 + 30 + 20 + 80},
	} {
		if got := groupEnd(test.peers); got != test.want {
			t.Errorf("%s: first group has %d peers, want %d", name, got, test.want)
		}
	}
}
