package control

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage/internal/netmap"
)

// OldestClient is the lowest capability version that is served: Tailscale 1.80.
const OldestClient tailcfg.CapabilityVersion = 113

// OldestClientName is the first release that has OldestClient.
const OldestClientName = "1.80"

// Options are what a server needs from outside.
type Options struct {
	Hub    *netmap.Hub
	Logger *slog.Logger
	// NoiseKey is the server's identity to all clients. Losing it means that every
	// client has to log in anew.
	NoiseKey key.MachinePrivate
	// PublicURL is where people's browsers find the server, without a slash at the
	// end. If it is empty, the host that the client has dialled is used.
	PublicURL string
	// DERPMap returns the relays for a client that dialled the given host[:port]. It
	// is not nil, and what it returns is not changed afterwards.
	DERPMap func(host string, v tailcfg.CapabilityVersion) *tailcfg.DERPMap
	// OldestClient is the lowest capability version that is let in; the constant of
	// that name if it is lower than that, or zero.
	OldestClient tailcfg.CapabilityVersion
	// Metrics counts; see NewMetrics.
	Metrics *Metrics
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// Keepalive is how long a session may be silent, or a sixth longer;
	// DefaultKeepalive if zero.
	Keepalive time.Duration
}

// Server is the coordination server for the official clients. It is safe for
// concurrent use.
type Server struct {
	hub       *netmap.Hub
	log       *slog.Logger
	noiseKey  key.MachinePrivate
	publicURL string
	derpMap   func(string, tailcfg.CapabilityVersion) *tailcfg.DERPMap
	metrics   *Metrics
	now       func() time.Time
	keepalive time.Duration
	oldest    tailcfg.CapabilityVersion

	// The time limits are fields so that tests can shorten them.
	shakeLimit   time.Duration
	writeLimit   time.Duration
	drainSpread  time.Duration
	followupWait time.Duration
	unprovenIdle time.Duration

	codeKey []byte // makes the codes of pending registrations
	pending *pendingTable
	asked   *askTable
	// How often machines register and nodes report.
	limits  *limiter[key.MachinePublic]
	reports *limiter[key.NodePublic]
	groups  *groups
	inside  *inside
	conns   atomic.Int64
	// Connections of machines that may be anybody's.
	unproven *unproven

	drain     chan struct{} // closed when sessions are to end
	drainOnce sync.Once

	derpMu sync.Mutex
	// guards the following field
	derpChanged chan struct{} // closed when the relays changed, and replaced

	sessMu sync.Mutex
	// guards the following fields
	sessions map[sessionKey]*session
	left     chan struct{} // has an item when a session has ended
}

// New returns a server. The caller serves its Handler and runs Probe.
func New(o Options) *Server {
	s := &Server{
		hub: o.Hub, log: o.Logger, noiseKey: o.NoiseKey, publicURL: o.PublicURL,
		derpMap: o.DERPMap, metrics: o.Metrics, now: o.Now,
		keepalive:    cmp.Or(o.Keepalive, DefaultKeepalive),
		oldest:       max(o.OldestClient, OldestClient),
		shakeLimit:   handshakeTimeout,
		writeLimit:   messageWriteLimit,
		drainSpread:  drainSpread,
		followupWait: followupWait,
		unprovenIdle: unprovenIdle,
		unproven:     newUnproven(),
		asked:        newAskTable(),
		limits:       newLimiter[key.MachinePublic](registerBurst, registerInterval),
		reports:      newLimiter[key.NodePublic](reportBurst, reportInterval),
		groups:       newGroups(),
		drain:        make(chan struct{}),
		derpChanged:  make(chan struct{}),
		sessions:     map[sessionKey]*session{},
		left:         make(chan struct{}, 1),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.metrics == nil {
		s.metrics = NewMetrics()
	}
	s.pending = newPendingTable(s.now)
	text, _ := o.NoiseKey.MarshalText() // never fails
	mac := hmac.New(sha256.New, text)
	mac.Write([]byte("selvage registration codes"))
	s.codeKey = mac.Sum(nil)
	s.inside = newInside(s.machineHandler(), s.log)
	return s
}

// Handler serves /key and /ts2021. It needs HTTP/1.1, for the upgrade.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /key", s.serveKey)
	mux.HandleFunc("POST /ts2021", s.serveNoise)
	mux.HandleFunc("GET /ts2021", s.serveNoise) // WebSocket
	return mux
}

// serveKey tells the server's public key. Only a verified TLS connection, or a
// network that is trusted anyway, protects it.
func (s *Server) serveKey(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(tailcfg.OverTLSPublicKeyResponse{PublicKey: s.noiseKey.Public()})
}

// DERPMapChanged makes every session send the relays anew.
func (s *Server) DERPMapChanged() {
	s.derpMu.Lock()
	defer s.derpMu.Unlock()
	close(s.derpChanged)
	s.derpChanged = make(chan struct{})
}

func (s *Server) derpWait() <-chan struct{} {
	s.derpMu.Lock()
	defer s.derpMu.Unlock()
	return s.derpChanged
}

// baseURL returns where a browser finds the server, for a client that dialled host.
func (s *Server) baseURL(host string) string {
	if s.publicURL != "" {
		return s.publicURL
	}
	return "http://" + host
}
