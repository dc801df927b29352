package control

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"tailscale.com/control/controlbase"
	"tailscale.com/control/controlhttp/controlhttpserver"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// Limits of a client's connection.
const (
	handshakeTimeout = 15 * time.Second
	// readIdle and pingTimeout find connections whose other end is gone without a
	// word, such as a sleeping laptop's.
	readIdle    = 45 * time.Second
	pingTimeout = 20 * time.Second
	// writeStall ends a connection that takes no byte for so long.
	writeStall = 30 * time.Second
	maxStreams = 100
	// maxBody bounds the body of a request; a Hostinfo is a few KiB.
	maxBody = 1 << 20
	// idleTimeout ends connections without a request; clients dial again.
	idleTimeout = 10 * time.Minute
)

// connection is one Noise connection, and what it proves.
type connection struct {
	machine key.MachinePublic
	version tailcfg.CapabilityVersion
	host    string // host[:port] that the client dialled
	remote  string // where it came from
	noise   io.Closer
}

type connectionKey struct{}

// from returns the connection that carries the request.
func from(ctx context.Context) *connection {
	return ctx.Value(connectionKey{}).(*connection)
}

// serveNoise upgrades a request to the Noise transport and serves HTTP/2 in it.
func (s *Server) serveNoise(w http.ResponseWriter, r *http.Request) {
	select {
	case <-s.drain:
		w.Header().Set("Retry-After", strconv.Itoa(retryAfterDrain()))
		http.Error(w, "the server is stopping; try again", http.StatusServiceUnavailable)
		return
	default:
	}
	ctx, cancel := context.WithTimeout(r.Context(), handshakeTimeout)
	defer cancel()
	conn, err := controlhttpserver.AcceptHTTP(ctx, w, r, s.noiseKey, earlyPayload)
	if err != nil {
		s.metrics.handshakes.WithLabelValues("failed").Inc()
		s.log.Debug("handshake failed", "remote", r.RemoteAddr, "err", err)
		return
	}
	defer conn.Close()
	s.metrics.handshakes.WithLabelValues("ok").Inc()
	c := &connection{
		machine: conn.Peer(),
		version: tailcfg.CapabilityVersion(conn.ProtocolVersion()),
		host:    cleanHost(r.Host),
		remote:  remoteAddress(r),
		noise:   conn,
	}
	s.track(c, true)
	defer s.track(c, false)
	s.serveHTTP2(r.Context(), conn, c)
}

func (s *Server) serveHTTP2(ctx context.Context, conn *controlbase.Conn, c *connection) {
	h2 := &http2.Server{
		MaxConcurrentStreams: maxStreams,
		IdleTimeout:          idleTimeout,
		ReadIdleTimeout:      readIdle,
		PingTimeout:          pingTimeout,
		WriteByteTimeout:     writeStall,
	}
	h2.ServeConn(conn, &http2.ServeConnOpts{
		Context: context.WithValue(ctx, connectionKey{}, c),
		BaseConfig: &http.Server{
			Handler:  s.machineHandler(),
			ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		},
	})
}

// machineHandler serves what is only ever served inside the Noise transport.
func (s *Server) machineHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /machine/register", s.serveRegister)
	mux.HandleFunc("POST /machine/map", s.serveMap)
	mux.HandleFunc("POST /machine/c2n/{token}", s.serveAnswer)
	mux.HandleFunc("POST /machine/ping/{token}", s.serveAnswer)
	mux.HandleFunc("HEAD /machine/alive/{token}", s.serveAnswer)
	mux.HandleFunc("POST /machine/update-health", func(w http.ResponseWriter, r *http.Request) {})
	mux.HandleFunc("GET /machine/whoami", s.serveWhoami)
	mux.HandleFunc("POST /machine/feature/query", s.serveFeature)
	return mux
}

// serveWhoami answers `tailscale debug ts2021`.
func (s *Server) serveWhoami(w http.ResponseWriter, r *http.Request) {
	c := from(r.Context())
	io.WriteString(w, "machine "+c.machine.String()+", capability version "+strconv.Itoa(int(c.version))+"\n")
}

// serveFeature tells `tailscale serve` and `tailscale funnel` where they stand.
func (s *Server) serveFeature(w http.ResponseWriter, r *http.Request) {
	var req tailcfg.QueryFeatureRequest
	if !decode(w, r, &req) {
		return
	}
	writeJSON(w, tailcfg.QueryFeatureResponse{
		Text: "The network's operator has not switched on " + strconv.Quote(req.Feature) + " for this device.",
	})
}

// earlyPayload sends the challenge that clients from version 49 on understand.
func earlyPayload(version int, w io.Writer) error {
	const firstWithChallenge = 49
	if version < firstWithChallenge {
		return nil
	}
	body, err := json.Marshal(tailcfg.EarlyNoise{NodeKeyChallenge: key.NewChallenge().Public()})
	if err != nil {
		return err
	}
	const magic = "\xff\xff\xffTS"
	msg := append([]byte(magic), binary.BigEndian.AppendUint32(nil, uint32(len(body)))...)
	_, err = w.Write(append(msg, body...))
	return err
}

// track keeps the set of open connections, so that Drain can end them.
func (s *Server) track(c *connection, open bool) {
	s.sessMu.Lock()
	defer s.sessMu.Unlock()
	if open {
		s.conns[c] = struct{}{}
	} else {
		delete(s.conns, c)
	}
	s.metrics.connections.Set(float64(len(s.conns)))
}

// cleanHost returns a Host header that is safe to put into a URL, or "localhost".
func cleanHost(host string) string {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-.:[]_", r)
	}
	if host == "" || len(host) > 255 || strings.ContainsFunc(host, func(r rune) bool { return !ok(r) }) {
		return "localhost"
	}
	return host
}

func remoteAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// decode reads a JSON body, or answers with what is wrong with it.
func decode(w http.ResponseWriter, r *http.Request, into any) bool {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(into)
	if err != nil {
		http.Error(w, "bad request body: "+err.Error(), http.StatusBadRequest)
	}
	return err == nil
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}
