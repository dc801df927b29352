package control_test

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"selvage"
	"selvage/internal/control/controltest"
)

// A router that has a session but does not answer loses its routes to one that does.
func TestProbeFindsDeadRouter(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	route := netip.MustParsePrefix("10.1.0.0/16")
	var nodes []*controltest.Node
	for range 2 {
		n := s.Joined("router")
		n.Hostinfo.RoutableIPs = []netip.Prefix{route}
		n.Report()
		if err := s.Net.SetApprovedRoutes(background, selvage.System(), n.ID, n.Hostinfo.RoutableIPs); err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	primary := func() selvage.NodeID {
		for n := range s.Net.View().Nodes() {
			if slices.Contains(n.Primary, route) {
				return n.ID
			}
		}
		return 0
	}
	nodes[0].Stream().Next() // reads, but does not answer
	nodes[1].Client().Poll()
	until(t, "both sessions", func() bool { return s.Sessions() == 2 })
	if got := primary(); got != nodes[0].ID {
		t.Fatalf("node %d serves the route at first", got)
	}
	probe := func() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s.ProbeRound(ctx)
	}
	probe()
	if got := primary(); got != nodes[1].ID {
		t.Errorf("after the probe node %d serves the route, want %d", got, nodes[1].ID)
	}
	if rec := s.Net.View().Node(nodes[0].ID); !rec.Unreachable || !rec.Online {
		t.Errorf("the dead router is %+v", rec)
	}
	// It comes back, but the other keeps the route.
	nodes[0].Client().Poll()
	until(t, "the new session", func() bool { return !s.Net.View().Node(nodes[0].ID).Unreachable })
	probe()
	if got := primary(); got != nodes[1].ID {
		t.Errorf("when the first came back node %d serves the route", got)
	}
	// A probe that is broken off says nothing of anybody.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.ProbeRound(ctx)
	for _, n := range nodes {
		if s.Net.View().Node(n.ID).Unreachable {
			t.Errorf("node %d is unreachable by a probe that was broken off", n.ID)
		}
	}
}
