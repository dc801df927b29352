package relay

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
)

const (
	// askTimeout bounds one request to the control server.
	askTimeout = 5 * time.Second
	// maxAsking is how many clients may be asked about at a time; more wait, and
	// are turned away after askTimeout.
	maxAsking = 64
	// announceFirst is the pause after the first failed announcement; it doubles
	// up to announceEvery.
	announceFirst = time.Second
	// recheckEvery is how often the control server is asked again about clients
	// that are connected.
	recheckEvery = 5 * time.Minute
	// stopTimeout is how long requests that are not DERP may take to end.
	stopTimeout = 5 * time.Second
	// headerTimeout bounds how long a client may take for TLS and a request.
	headerTimeout = 10 * time.Second
	maxHeader     = 16 << 10 // bytes of a request's header
)

// StandaloneConfig is what a relay on a host of its own needs to know.
type StandaloneConfig struct {
	// Server is the URL of the control server, such as https://ctl.example.com.
	Server string
	// Token is what the relay was given when it was registered.
	Token string
	// Host is the name or address at which clients reach the relay.
	Host string
	// Port is the TCP port at which they do; zero: the one that is bound.
	Port int
	// Addr is the TCP address to listen on, such as ":443".
	Addr string
	// STUNAddr is the UDP address of STUN, such as ":3478"; empty: none.
	STUNAddr string
	// Seed has the relay's keys; see LoadSeed.
	Seed Seed
	// TLS has a publicly trusted certificate for Host. Nil: the relay makes one
	// itself, and clients are told its hash.
	TLS            *tls.Config
	BytesPerSecond uint64 // that one client may send; zero is no limit
	Version        string
	// HTTP is for requests to the control server; nil: a client that trusts the
	// system's authorities.
	HTTP *http.Client
	Log  *slog.Logger
}

// Standalone is a relay on a host of its own. The control server says which clients
// may use it, and learns from it where it is.
type Standalone struct {
	c      StandaloneConfig
	server *url.URL
	relay  *Server
	ln     net.Listener
	stun   *STUN // nil if there is none
	tls    *tls.Config
	self   Announcement
	known  *known
	slots  chan struct{} // bounds requests to the control server

	// reachable is whether the last announcement went well.
	reachable atomic.Bool
}

// NewStandalone binds the ports; nothing is served before Run.
func NewStandalone(c StandaloneConfig) (*Standalone, error) {
	if c.HTTP == nil {
		c.HTTP = &http.Client{}
	}
	s := &Standalone{c: c, known: newKnown(), slots: make(chan struct{}, maxAsking)}
	u, err := url.Parse(c.Server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, selvage.Errorf(selvage.KindInvalid, "control server %q: use a URL like https://ctl.example.com", c.Server)
	}
	s.server = u
	if c.Token == "" {
		return nil, selvage.Errorf(selvage.KindInvalid, "no relay token; register the relay at the server and give it the token")
	}
	if s.relay, err = New(Config{
		Key:            DERPKey(c.Seed),
		Admit:          s.admit,
		OwnNames:       func() []string { return []string{u.Hostname(), c.Host} },
		BytesPerSecond: c.BytesPerSecond,
		Log:            c.Log,
	}); err != nil {
		return nil, err
	}
	if err := s.listen(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// listen binds the ports and finds out what to announce.
func (s *Standalone) listen() (err error) {
	if s.ln, err = net.Listen("tcp", s.c.Addr); err != nil {
		return fmt.Errorf("listen for DERP: %w", err)
	}
	s.self = Announcement{Host: s.c.Host, Port: s.c.Port, STUNPort: -1, Version: s.c.Version}
	if s.self.Port == 0 {
		s.self.Port = s.ln.Addr().(*net.TCPAddr).Port
	}
	if s.c.STUNAddr != "" {
		if s.stun, err = ListenSTUN(s.c.STUNAddr, s.c.Log); err != nil {
			return err
		}
		s.self.STUNPort = s.stun.Port()
	}
	if s.c.TLS != nil {
		s.tls = s.c.TLS.Clone()
	} else {
		pinned := NewPinned(s.c.Seed)
		s.tls = pinned.TLSConfig(s.relay)
		if s.c.Host != "" {
			if s.self.CertHash, err = pinned.Hash(s.c.Host); err != nil {
				return err
			}
		}
	}
	return s.self.Check()
}

// close frees what listen has bound.
func (s *Standalone) close() error {
	var errs []error
	if s.ln != nil {
		errs = append(errs, s.ln.Close())
	}
	if s.stun != nil {
		errs = append(errs, s.stun.Close())
	}
	return errors.Join(append(errs, s.relay.Close())...)
}

// Self is what the relay announces.
func (s *Standalone) Self() Announcement { return s.self }

// Relay is the relay's server, for metrics.
func (s *Standalone) Relay() *Server { return s.relay }

// STUN is the relay's STUN server, for metrics; nil if there is none.
func (s *Standalone) STUN() *STUN { return s.stun }

// Run serves until ctx is done, and then returns nil.
func (s *Standalone) Run(ctx context.Context) error {
	web := &http.Server{
		Handler:           s.relay.Handler(),
		TLSConfig:         s.tls,
		ReadHeaderTimeout: headerTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.c.Log.Handler(), slog.LevelDebug),
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := web.ServeTLS(s.ln, "", ""); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve DERP: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		s.relay.Close()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if web.Shutdown(stop) != nil {
			web.Close()
		}
		return nil
	})
	if s.stun != nil {
		g.Go(func() error { return s.stun.Run(ctx) })
	}
	g.Go(func() error { s.announceLoop(ctx); return nil })
	g.Go(func() error { s.recheckLoop(ctx); return nil })
	return g.Wait()
}

func (s *Standalone) recheckLoop(ctx context.Context) {
	t := time.NewTicker(recheckEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			// While the server is away all clients would stay, after a long wait each.
			if s.reachable.Load() {
				s.relay.Recheck()
			}
		}
	}
}

// announceLoop tells the control server every announceEvery that the relay is
// there, and sooner again after a failure.
func (s *Standalone) announceLoop(ctx context.Context) {
	var failed time.Duration // pause after the last failure; zero if it went well
	for first := true; ; first = false {
		wait := announceEvery
		got, err := s.announce(ctx)
		s.reachable.Store(err == nil)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.c.Log.Warn("announce relay", "err", err)
			failed = min(max(announceFirst, 2*failed), announceEvery)
			wait = failed/2 + rand.N(failed/2) // many relays, one server
		case first || failed != 0:
			failed = 0
			s.c.Log.Info("relay is announced", "name", got.Name, "region", got.Region, "host", s.self.Host, "port", s.self.Port)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (s *Standalone) announce(ctx context.Context) (announceAnswer, error) {
	var got announceAnswer
	err := s.ask(ctx, "relay/announce", s.self, &got)
	return got, err
}

// admit asks the control server about a client. While the server can't be asked,
// clients that it admitted before stay welcome, so that its outage is not one of
// the relay.
func (s *Standalone) admit(node key.NodePublic, from netip.Addr) bool {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return false
	}
	var res tailcfg.DERPAdmitClientResponse
	err := s.ask(ctx, "verify", tailcfg.DERPAdmitClientRequest{NodePublic: node, Source: from}, &res)
	if err != nil {
		ok := s.known.has(node, time.Now())
		s.c.Log.Warn("ask control server about client", "node", node.ShortString(), "admitted", ok, "err", err)
		return ok
	}
	if res.Allow {
		s.known.add(node, time.Now())
	} else {
		s.known.remove(node)
	}
	return res.Allow
}

// ask posts a message to the control server and reads the answer.
func (s *Standalone) ask(ctx context.Context, path string, message, result any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	body, err := json.Marshal(message)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.server.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+s.c.Token)
	res, err := s.c.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 200))
		return fmt.Errorf("%s: %s: %s", req.URL.Redacted(), res.Status, strings.TrimSpace(string(text)))
	}
	return readMessage(res.Body, result)
}
