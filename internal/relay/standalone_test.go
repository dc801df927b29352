package relay

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
)

// control is the part of a control server that relays speak to.
type control struct {
	regions  *Regions
	announce chan selvage.Relay
	away     atomic.Bool
	web      *httptest.Server
}

func newControl(t *testing.T, admit Admit) *control {
	t.Helper()
	c := &control{announce: make(chan selvage.Relay, 100)}
	var err error
	if c.regions, err = NewRegions(RegionConfig{Log: testLog(t)}); err != nil {
		t.Fatal(err)
	}
	relays := []selvage.Relay{{Name: "fra", Region: 901, Hash: tokenHash("token")}}
	mux := http.NewServeMux()
	mux.Handle("/verify", VerifyHandler(admit, testLog(t)))
	mux.Handle("/relay/announce", AnnounceHandler(func() []selvage.Relay { return relays }, func(_ context.Context, r selvage.Relay) error {
		c.regions.SetRelays([]selvage.Relay{r})
		c.announce <- r
		return nil
	}, testLog(t)))
	c.web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.away.Load() {
			http.Error(w, "away", http.StatusBadGateway)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(c.web.Close)
	return c
}

func TestStandalone(t *testing.T) {
	good, stranger := key.NewNode(), key.NewNode()
	ctl := newControl(t, func(k key.NodePublic, from netip.Addr) bool {
		return k == good.Public() && from == netip.MustParseAddr("127.0.0.1")
	})
	s, err := NewStandalone(StandaloneConfig{
		Server: ctl.web.URL + "/", Token: "token", Host: "127.0.0.1", Addr: "127.0.0.1:0", STUNAddr: "127.0.0.1:0",
		Seed: Seed{5}, Version: "test", Log: testLog(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	var relay selvage.Relay
	select {
	case relay = <-ctl.announce:
	case <-time.After(20 * time.Second):
		t.Fatal("the relay was not announced")
	}
	if announcementOf(relay) != s.Self() || relay.Version != "test" || relay.CertHash == "" {
		t.Errorf("announced %+v, want %+v", relay, s.Self())
	}
	for _, version := range []tailcfg.CapabilityVersion{newClient, oldClient} {
		m := ctl.regions.Map("", version)
		if _, err := connect(t, m, 901, good); err != nil {
			t.Errorf("client %d: %v", version, err)
		}
		if _, err := connect(t, m, 901, stranger); err == nil {
			t.Errorf("client %d: a stranger was admitted", version)
		}
	}
	ctl.away.Store(true)
	m := ctl.regions.Map("", newClient)
	if _, err := connect(t, m, 901, good); err != nil {
		t.Errorf("a known client while the control server is away: %v", err)
	}
	if _, err := connect(t, m, 901, stranger); err == nil {
		t.Error("a stranger was admitted while the control server is away")
	}
	checkMetrics(t, s)
}

// checkMetrics wants the numbers of what TestStandalone did.
func checkMetrics(t *testing.T, s *Standalone) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(Collector(s.Relay(), s.STUN()))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			sums[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	want := map[string]float64{"selvage_relay_connections_total": 6, "selvage_relay_denied_total": 3}
	for name, n := range want {
		if sums[name] != n {
			t.Errorf("%s is %v, want %v", name, sums[name], n)
		}
	}
	for _, name := range []string{
		"selvage_relay_received_bytes_total", "selvage_relay_sent_bytes_total", "selvage_relay_received_packets_total",
		"selvage_relay_sent_packets_total", "selvage_relay_connections", "selvage_relay_dropped_packets_total", "selvage_relay_stun_packets_total",
	} {
		if _, ok := sums[name]; !ok {
			t.Errorf("no metric %s", name)
		}
	}
}

func TestStandaloneConfig(t *testing.T) {
	good := StandaloneConfig{Server: "http://127.0.0.1:1", Token: "t", Host: "localhost", Addr: "127.0.0.1:0", Log: testLog(t)}
	tests := []struct {
		name string
		set  func(*StandaloneConfig)
		want string
	}{
		{"no server", func(c *StandaloneConfig) { c.Server = "" }, "control server"},
		{"no scheme", func(c *StandaloneConfig) { c.Server = "ctl.example.com" }, "https://"},
		{"no token", func(c *StandaloneConfig) { c.Token = "" }, "no relay token"},
		{"no host", func(c *StandaloneConfig) { c.Host = "" }, "did not say its host"},
		{"bad host", func(c *StandaloneConfig) { c.Host = "a b" }, "a b"},
		{"bad address", func(c *StandaloneConfig) { c.Addr = "192.0.2.1:x" }, "listen for DERP"},
		{"bad STUN address", func(c *StandaloneConfig) { c.STUNAddr = "x:y:z" }, "listen for STUN"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			tt.set(&c)
			if _, err := NewStandalone(c); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestKnownIsBounded(t *testing.T) {
	k := newKnown()
	now := time.Now()
	first := key.NewNode().Public()
	k.add(first, now)
	if !k.has(first, now.Add(knownLife-1)) || k.has(first, now.Add(knownLife)) || k.has(first, now) {
		t.Error("a client is known for the wrong time")
	}
	for i := range maxKnown {
		k.until[nodeKey(i)] = now
	}
	k.add(first, now)
	if len(k.until) != maxKnown || !k.has(first, now) {
		t.Errorf("%d clients are known", len(k.until))
	}
	k.remove(first)
	if k.has(first, now) {
		t.Error("a client is known after it was removed")
	}
}
