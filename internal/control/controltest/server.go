// Package controltest runs a coordination server in the process of a test, over real
// TCP on loopback and with a real database, and has the clients to speak to it: single
// requests in the clients' protocol (Node), and the state machine that the official
// clients are made of (Client).
//
// Start with New.
package controltest

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/control"
	"selvage/internal/identity"
	"selvage/internal/netmap"
	"selvage/internal/store"
	"selvage/internal/store/storetest"
)

// Timeout is how long a test waits for what must happen.
const Timeout = 20 * time.Second

// Server is a coordination server with one tailnet.
type Server struct {
	*control.Server
	Hub  *netmap.Hub
	Net  *netmap.Net
	Log  *LogBuffer
	t    testing.TB
	http *httptest.Server

	derpMu sync.Mutex
	derp   *tailcfg.DERPMap
}

// Options change what New does; the zero value is a good one.
type Options struct {
	// DB is the database to start with; a new one if nil.
	DB *store.DB
	// NoiseKey is the server's key; a new one if zero.
	NoiseKey key.MachinePrivate
	// CompactFrom is that of netmap.Options.
	CompactFrom int
	// Control overrides options of the server; Hub, Logger, NoiseKey and DERPMap
	// are set by New.
	Control control.Options
}

// New starts a server that runs until the test ends.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	if o.DB == nil {
		o.DB = storetest.New(t)
	}
	if o.NoiseKey.IsZero() {
		o.NoiseKey = key.NewMachine()
	}
	log := new(LogBuffer)
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, cancel := context.WithCancel(context.Background())
	hub, err := netmap.Open(ctx, netmap.Options{DB: o.DB, Logger: logger, Now: o.Control.Now, CompactFrom: o.CompactFrom})
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Hub: hub, Net: hub.Nets()[0], Log: log, t: t, derp: DERPMap("derp.test")}
	o.Control.Hub, o.Control.Logger, o.Control.NoiseKey = hub, logger, o.NoiseKey
	o.Control.DERPMap = func(string, tailcfg.CapabilityVersion) *tailcfg.DERPMap {
		s.derpMu.Lock()
		defer s.derpMu.Unlock()
		return s.derp
	}
	s.Server = control.New(o.Control)
	s.http = httptest.NewServer(s.Handler())
	ran := make(chan error, 1)
	go func() { ran <- hub.Run(ctx) }()
	t.Cleanup(func() {
		s.Stop()
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("hub: %v", err)
		}
		if t.Failed() {
			t.Logf("log of the server:\n%s", log)
		}
	})
	return s
}

// Stop cuts off all clients. It can be called again.
func (s *Server) Stop() {
	cut, cancel := context.WithCancel(context.Background())
	cancel()
	s.Drain(cut)
	s.http.CloseClientConnections()
	s.http.Close()
}

// URL is the server's address for clients.
func (s *Server) URL() string { return s.http.URL }

// Address is the host and port of URL.
func (s *Server) Address() string { return s.http.Listener.Addr().String() }

// SetDERPMap replaces the relays and tells sessions of it.
func (s *Server) SetDERPMap(m *tailcfg.DERPMap) {
	s.derpMu.Lock()
	s.derp = m
	s.derpMu.Unlock()
	s.DERPMapChanged()
}

// DERPMap returns a map of one relay with the given host name, which nobody calls.
func DERPMap(host string) *tailcfg.DERPMap {
	return &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{
		1: {RegionID: 1, RegionCode: "test", RegionName: "Test", Nodes: []*tailcfg.DERPNode{
			{Name: "1a", RegionID: 1, HostName: host, IPv4: "127.0.0.1", STUNPort: -1, DERPPort: 9},
		}},
	}}
}

// User makes a user of the tailnet.
func (s *Server) User(login string, role selvage.Role) *selvage.User {
	s.t.Helper()
	u, err := s.Net.CreateUser(context.Background(), selvage.System(), login, "", role)
	s.check(err)
	return u
}

// AuthKey stores an auth key with the properties of k and returns its text. Without
// tags and without a user it belongs to the owner.
func (s *Server) AuthKey(k selvage.AuthKey) string {
	s.t.Helper()
	text, id, hash := identity.NewAuthKey()
	k.ID, k.Hash = id, hash
	if k.User == 0 {
		k.User = s.Net.View().Owner().ID
	}
	s.check(s.Net.CreateAuthKey(context.Background(), selvage.System(), &k))
	return text
}

// Policy puts a policy in force.
func (s *Server) Policy(text string) {
	s.t.Helper()
	_, err := s.Net.SetPolicy(context.Background(), selvage.System(), text)
	s.check(err)
}

// Settings changes the settings of the tailnet.
func (s *Server) Settings(change func(*selvage.Settings)) {
	s.t.Helper()
	s.check(s.Net.ChangeSettings(context.Background(), selvage.System(), "settings.change", func(set *selvage.Settings) error {
		change(set)
		return nil
	}))
}

func (s *Server) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// LogBuffer keeps a log. It is safe for concurrent use.
type LogBuffer struct {
	mu sync.Mutex
	// guards the following field
	text []byte
}

// Write implements io.Writer.
func (b *LogBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	return len(p), nil
}

// String returns all that was logged.
func (b *LogBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}
