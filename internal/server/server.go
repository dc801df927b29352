package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/api/admin"
	"selvage/internal/config"
	"selvage/internal/control"
	"selvage/internal/identity"
	"selvage/internal/netmap"
	"selvage/internal/relay"
	"selvage/internal/store"
)

// drainTimeout is how long sessions and requests may take to end.
const drainTimeout = 5 * time.Second

// Names of the secrets in the database.
const (
	secretNoiseKey  = "noise-key"
	secretRelaySeed = "relay-seed"
)

// Server is a running Selvage.
type Server struct {
	cfg         *config.Config
	log         *slog.Logger
	lock        *os.File
	db          *store.DB
	hub         *netmap.Hub
	control     *control.Server
	relay       *relay.Server // nil if the operator has switched it off
	pinned      *relay.Pinned
	regions     *relay.Regions
	stun        *relay.STUN // nil without a relay
	metrics     *prometheus.Registry
	listen      listeners
	admin       *admin.Server
	acceptClock bool
	// relayList are the registered relays, kept so that announcements cost no query.
	relayList atomic.Pointer[[]selvage.Relay]

	started  time.Time
	stopping chan struct{}
}

// Open opens the data directory, the database and the listeners, and returns a server
// that is ready to Run. What it opened is closed if it fails.
func Open(ctx context.Context, cfg *config.Config, log *slog.Logger, options ...Option) (_ *Server, err error) {
	s := &Server{cfg: cfg, log: log, started: time.Now(), stopping: make(chan struct{}), metrics: prometheus.NewRegistry()}
	for _, o := range options {
		o(s)
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err := s.openData(ctx); err != nil {
		return nil, err
	}
	if err := s.checkClock(ctx); err != nil {
		return nil, err
	}
	noise, seed, err := s.openSecrets(ctx)
	if err != nil {
		return nil, err
	}
	s.pinned = relay.NewPinned(seed)
	if s.hub, err = netmap.Open(ctx, netmap.Options{DB: s.db, Logger: log, BaseDomain: cfg.DNS.BaseDomain}); err != nil {
		return nil, err
	}
	if err := s.openRelay(ctx, seed); err != nil {
		return nil, err
	}
	s.control = control.New(control.Options{
		Hub: s.hub, Logger: log, NoiseKey: noise, PublicURL: s.cfg.PublicURL(),
		DERPMap: s.regions.Map, Metrics: s.controlMetrics(), OldestClient: tailcfg.CapabilityVersion(s.cfg.OldestClient),
	})
	s.registerMetrics()
	s.admin = s.adminAPI()
	return s, s.openListeners()
}

// openData takes the data directory and opens the database.
func (s *Server) openData(ctx context.Context) error {
	dir := s.cfg.DataDir
	if err := prepareDataDir(dir, s.log); err != nil {
		return err
	}
	var err error
	if s.lock, err = lockDataDir(dir); err != nil {
		return err
	}
	mk, err := masterKey(s.cfg.MasterKey, dir)
	if err != nil {
		return err
	}
	s.db, err = store.Open(ctx, s.cfg.DSN(), store.Options{MasterKey: mk, Logger: s.log, Observe: s.observeStore()})
	return err
}

// openSecrets reads the server's own keys, or makes them at the first start.
func (s *Server) openSecrets(ctx context.Context) (noise key.MachinePrivate, seed relay.Seed, err error) {
	err = s.db.Tx(ctx, func(tx *store.Tx) error {
		text, err := secret(tx, secretNoiseKey, func() []byte {
			b, _ := key.NewMachine().MarshalText() // never fails
			return b
		})
		if err != nil {
			return err
		}
		if err := noise.UnmarshalText(text); err != nil {
			return fmt.Errorf("decode the server's key: %w", err)
		}
		b, err := secret(tx, secretRelaySeed, func() []byte {
			b := make([]byte, len(seed))
			rand.Read(b) // never fails
			return b
		})
		if err == nil && copy(seed[:], b) != len(seed) {
			err = errors.New("the relay's seed is too short")
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("read the server's keys: %w", err)
	}
	return noise, seed, err
}

func secret(tx *store.Tx, name string, make func() []byte) ([]byte, error) {
	b, err := tx.Secret(name)
	if err == nil || !selvage.Is(err, selvage.KindNotFound) {
		return b, err
	}
	b = make()
	return b, tx.PutSecret(name, b)
}

// openRelay makes the embedded relay and the map of all relays.
func (s *Server) openRelay(ctx context.Context, seed relay.Seed) error {
	rc := relay.RegionConfig{Sources: mapSources(s.cfg.Relay.Maps), Log: s.log}
	if s.cfg.Relay.Enabled {
		var err error
		admit := func(key.NodePublic, netip.Addr) bool { return true }
		if s.cfg.Relay.VerifyClients {
			admit = s.admit
		}
		s.relay, err = relay.New(relay.Config{Key: relay.DERPKey(seed), Admit: admit, OwnNames: s.ownNames, Log: s.log})
		if err != nil {
			return fmt.Errorf("make the relay: %w", err)
		}
		if s.cfg.Relay.STUNListen != config.None {
			if s.stun, err = s.listenSTUN(); err != nil {
				return err
			}
		}
		rc.Embedded = s.embedded()
	}
	var err error
	if s.regions, err = relay.NewRegions(rc); err != nil {
		return err
	}
	return s.loadRelays(ctx)
}

// mapSources replaces the word for the public relays by their address.
func mapSources(maps []string) []string {
	sources := slices.Clone(maps)
	for i, m := range sources {
		if m == config.TailscaleMap {
			sources[i] = relay.PublicMapURL
		}
	}
	return sources
}

func values(relays []*selvage.Relay) []selvage.Relay {
	out := make([]selvage.Relay, 0, len(relays))
	for _, r := range relays {
		out = append(out, *r)
	}
	return out
}

// embedded describes the server's own relay for the region map.
func (s *Server) embedded() *relay.Embedded {
	e := &relay.Embedded{Code: s.cfg.Relay.RegionCode, Name: s.cfg.Relay.RegionName, STUNPort: -1}
	if s.stun != nil {
		e.STUNPort = s.stun.Port()
	}
	if s.cfg.Hostname != "" {
		e.Host, e.Port = s.cfg.Hostname, portIn(s.cfg.Listen)
		e.HTTP80 = portIn(s.cfg.ACME.HTTPListen) == 80
		return e
	}
	// Behind a proxy that does HTTPS the relay has the proxy's certificate.
	if u, err := url.Parse(s.cfg.URL); err == nil && u.Scheme == "https" {
		e.Host = u.Hostname()
		e.Port, _ = strconv.Atoi(u.Port())
		return e
	}
	e.Pinned = s.pinned
	return e
}

// portIn returns the port of an address, or 0.
func portIn(addr string) int {
	_, port, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(port)
	return n
}

// admit lets devices of the server's tailnets use the relay.
func (s *Server) admit(k key.NodePublic, _ netip.Addr) bool {
	_, n := s.hub.NodeByKey(k)
	return n != nil && n.Approved && !n.Expired
}

func (s *Server) ownNames() []string {
	if s.cfg.Hostname == "" {
		return nil
	}
	return []string{s.cfg.Hostname}
}

// URL is an address of the server for people and clients on this machine.
func (s *Server) URL() string {
	if u := s.cfg.PublicURL(); u != "" {
		return u
	}
	host, port, _ := net.SplitHostPort(s.listen.address.String())
	if ip, err := netip.ParseAddr(host); err != nil || ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// Hub returns the network in memory.
func (s *Server) Hub() *netmap.Hub { return s.hub }

func (s *Server) openListeners() error {
	h := s.routes()
	open := s.listenPlain
	if s.cfg.Hostname != "" {
		open = s.listenPublic
	}
	if err := open(&s.listen, h); err != nil {
		return err
	}
	return s.listenSocket(&s.listen, s.socketRoutes())
}

// Run serves until ctx ends or something that cannot be done without fails; then it
// drains and closes everything. ready is called once requests are answered.
func (s *Server) Run(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The work behind goes on while sessions drain, since their end is news.
	behind, stopBehind := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBehind()
	var group errgroup.Group
	run := func(f func(context.Context) error) {
		group.Go(func() error {
			err := f(behind)
			if err != nil {
				cancel()
			}
			return err
		})
	}
	run(s.hub.Run)
	run(s.control.Probe)
	run(s.regions.Run)
	run(s.followRegions)
	run(s.recheckRelay)
	run(s.purge)
	run(s.watchPlainHTTP)
	if s.stun != nil {
		run(s.stun.Run)
	}
	if s.listen.manager != nil {
		run(s.listen.manager.Run)
	}
	for _, serve := range s.listen.serve {
		run(func(context.Context) error { return serve() })
	}
	ready()
	daemon.SdNotify(false, daemon.SdNotifyReady)
	<-ctx.Done()
	daemon.SdNotify(false, daemon.SdNotifyStopping)
	s.drain()
	stopBehind()
	err := group.Wait()
	s.close()
	return err
}

// drain ends sessions and requests.
func (s *Server) drain() {
	close(s.stopping)
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	s.log.Info("stopping: sessions end now")
	s.control.Drain(ctx)
	if s.relay != nil {
		s.relay.Close()
	}
	s.listen.shutdown(ctx)
}

// close frees what Open opened. It may be called at any stage of it.
func (s *Server) close() {
	s.listen.closeAll()
	if s.stun != nil {
		s.stun.Close()
	}
	if s.relay != nil {
		s.relay.Close()
	}
	if s.db != nil {
		if err := s.db.Close(); err != nil {
			s.log.Error("database not closed", "err", err)
		}
	}
	if s.lock != nil {
		s.lock.Close()
	}
}

// followRegions tells all clients when the map of relays has changed.
func (s *Server) followRegions(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.regions.Changed():
			s.control.DERPMapChanged()
		}
	}
}

// recheckInterval is how long a device that was removed may go on using the relay.
const recheckInterval = 10 * time.Second

func (s *Server) recheckRelay(ctx context.Context) error {
	if s.relay == nil || !s.cfg.Relay.VerifyClients {
		return nil
	}
	tick := time.NewTicker(recheckInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.relay.Recheck()
		}
	}
}

// purge removes what has run out: links and browser sessions.
func (s *Server) purge(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := identity.Purge(ctx, s.db, time.Now()); err != nil && ctx.Err() == nil {
				s.log.Error("old links and sessions not removed", "err", err)
			}
		}
	}
}

// DB returns the database.
func (s *Server) DB() *store.DB { return s.db }
