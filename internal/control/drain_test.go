package control_test

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/control/controltest"
)

// Sessions end cleanly and one by one, and who comes meanwhile is told when to return.
func TestDrain(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	s.SetDrainSpread(2 * time.Second)
	const count = 20
	streams := make([]*controltest.Stream, count)
	var idle *controltest.Node
	for i := range streams {
		n := s.Joined("n")
		streams[i] = n.Stream()
		streams[i].Next()
		idle = n
	}
	ctx, cancel := context.WithTimeout(background, controltest.Timeout)
	defer cancel()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		s.Drain(ctx)
	}()
	until(t, "the first end", func() bool { return s.Sessions() < count })
	// The others are still told of what happens.
	left := s.Sessions()
	s.Settings(func(set *selvage.Settings) { set.DNS.SearchPaths = []string{"mark.example"} })
	told := make(chan bool, count)
	for _, st := range streams {
		go func() {
			told <- st.Saw(func(m *tailcfg.MapResponse) bool { return m.DNSConfig != nil && len(m.Peers) == 0 })
		}()
	}
	checkRefused(t, idle)
	saw := 0
	for range streams {
		if wait(t, "the end of a stream", told) {
			saw++
		}
	}
	if saw == 0 || left < count/2 {
		t.Errorf("%d sessions were left after the first end, and %d were told of a change", left, saw)
	}
	wait(t, "the end of the drain", drained)
	for i, st := range streams {
		if err := st.Ended(); err != nil {
			t.Errorf("session %d ended with %v", i, err)
		}
	}
	if s.Connections() != 0 {
		t.Errorf("%d connections are left", s.Connections())
	}
	resp, err := http.Post(s.URL()+"/ts2021", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if after, err := strconv.Atoi(resp.Header.Get("Retry-After")); resp.StatusCode != http.StatusServiceUnavailable || err != nil || after < 1 {
		t.Errorf("a new connection gets %s, Retry-After %d", resp.Status, after)
	}
}

// checkRefused asks for a new stream on a connection that is open.
func checkRefused(t *testing.T, n *controltest.Node) {
	t.Helper()
	if a := n.Ask("POST", "/machine/map", n.MapRequest()); a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
		t.Errorf("a new stream gets %+v", a)
	}
}

// Whoever does not let go in time is cut off.
func TestDrainDeadline(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	s.SetDrainSpread(time.Hour)
	var streams []*controltest.Stream
	for range 3 {
		st := s.Joined("n").Stream()
		st.Next()
		streams = append(streams, st)
	}
	ctx, cancel := context.WithTimeout(background, 50*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { s.Drain(ctx) }) // twice does no harm
	}
	wg.Wait()
	for _, st := range streams {
		st.Ended()
	}
	until(t, "the end of all connections", func() bool { return s.Connections() == 0 })
}
