package relay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/coder/websocket"
	"tailscale.com/derp/derpserver"
	"tailscale.com/net/wsconn"
	"tailscale.com/types/key"
)

// Admit says whether the device with the node key may use the relay from the
// address. It is asked at each new connection and by Recheck, from many goroutines
// at once; the embedded relay's must answer from memory.
type Admit func(node key.NodePublic, from netip.Addr) bool

// Config is what a Server is made of.
type Config struct {
	// Key is the relay's own; clients learn it when they connect. See DERPKey.
	Key key.NodePrivate
	// Admit decides who may use the relay. It must be set.
	Admit Admit
	// OwnNames returns the host names that /bootstrap-dns answers for: those of the
	// control server and its relays. Nil: none.
	OwnNames func() []string
	// LookUp resolves an own name; nil is the system's resolver.
	LookUp LookUp
	// BytesPerSecond limits what one client may send; zero is no limit.
	BytesPerSecond uint64
	Log            *slog.Logger
}

// Server relays packets between its clients. It listens nowhere; mount Handler.
type Server struct {
	derp   *derpserver.Server
	admit  Admit
	log    *slog.Logger
	names  *bootstrap
	denied atomic.Int64 // clients turned away

	mu    sync.Mutex // guards the fields below
	gates map[*gate]struct{}
}

// New returns a server that accepts clients until it is closed.
func New(c Config) (*Server, error) {
	if c.Key.IsZero() || c.Admit == nil || c.Log == nil {
		return nil, errors.New("new relay: key, admit and log must be set")
	}
	s := &Server{
		admit: c.Admit,
		log:   c.Log,
		names: newBootstrap(c.OwnNames, c.LookUp),
		gates: make(map[*gate]struct{}),
	}
	// The library's log lines tell of single clients that come and go.
	s.derp = derpserver.New(c.Key, func(format string, args ...any) {
		if s.log.Enabled(context.Background(), slog.LevelDebug) {
			s.log.Debug("derp", "text", fmt.Sprintf(format, args...))
		}
	})
	if c.BytesPerSecond > 0 {
		s.derp.UpdateRateLimits(derpserver.RateConfig{PerClientRateLimitBytesPerSec: c.BytesPerSecond})
	}
	return s, nil
}

// Handler serves /derp and what clients ask beside it: /derp/probe,
// /derp/latency-check, /generate_204 and /bootstrap-dns. It needs HTTP/1.1 for
// /derp and answers everything else with 404.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/derp", s.serveDERP)
	mux.HandleFunc("/derp/probe", derpserver.ProbeHandler)
	mux.HandleFunc("/derp/latency-check", derpserver.ProbeHandler)
	mux.HandleFunc("/generate_204", derpserver.ServeNoContent)
	mux.Handle("/bootstrap-dns", s.names)
	return mux
}

// serveDERP lives as long as the client's connection.
func (s *Server) serveDERP(w http.ResponseWriter, r *http.Request) {
	if isWebSocket(r) {
		s.serveWebSocket(w, r)
		return
	}
	derpserver.Handler(s.derp).ServeHTTP(&gatedWriter{ResponseWriter: w, s: s, from: r.RemoteAddr}, r)
}

// serveWebSocket is for clients in browsers, which have no other way to connect.
func (s *Server) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	// Pages of any origin may connect: what admits a client is its node key.
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:    []string{webSocketProtocol},
		OriginPatterns:  []string{"*"},
		CompressionMode: websocket.CompressionDisabled, // packets are ciphertext
	})
	if err != nil {
		s.log.Debug("accept relay web socket", "from", r.RemoteAddr, "err", err)
		return
	}
	defer c.CloseNow()
	conn := wsconn.NetConn(r.Context(), c, websocket.MessageBinary, r.RemoteAddr)
	g := s.newGate(conn, bufio.NewReader(conn), r.RemoteAddr)
	s.derp.Accept(r.Context(), g, g.readWriter(), r.RemoteAddr)
}

// Recheck asks Admit about each connected client again and disconnects those that
// may no longer use the relay. Call it when devices were removed, expired or
// suspended. Its cost is one call of Admit per connection.
func (s *Server) Recheck() {
	for _, g := range s.snapshot() {
		if node, ok := g.admitted(); ok && !s.admit(node, g.from) {
			s.log.Info("disconnect relay client that is no longer admitted", "node", node.ShortString())
			g.Close()
		}
	}
}

// Clients returns the number of connections that were admitted and still stand.
func (s *Server) Clients() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for g := range s.gates {
		if _, ok := g.admitted(); ok {
			n++
		}
	}
	return n
}

// Close disconnects all clients and accepts no new ones.
func (s *Server) Close() error {
	err := s.derp.Close()
	// The library forgets connections that it is just about to take in.
	for _, g := range s.snapshot() {
		g.Close()
	}
	return err
}

// snapshot returns the connections of now, so that none is closed under the lock.
func (s *Server) snapshot() []*gate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.gates))
}

// PublicKey is the key that clients see.
func (s *Server) PublicKey() key.NodePublic { return s.derp.PublicKey() }
