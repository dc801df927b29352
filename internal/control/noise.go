package control

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"tailscale.com/control/controlbase"
	"tailscale.com/control/controlhttp/controlhttpserver"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

const (
	handshakeTimeout = 15 * time.Second
	// maxBody bounds the body of a request; a Hostinfo is a few KiB.
	maxBody = 1 << 20
	// bodyTimeout is how long a client may take to send a body.
	bodyTimeout = time.Minute
)

// connection is one Noise connection, and what it proves.
type connection struct {
	*controlbase.Conn
	machine key.MachinePublic
	version tailcfg.CapabilityVersion
	host    string // host[:port] that the client dialled
	remote  string // where it came from
	// close closes the connection and forgets it; it can be called again.
	close func() error
	ended chan struct{} // closed by close
	// admission is told when the connection has shown that it belongs here.
	admission *admission
}

// Close ends the connection.
func (c *connection) Close() error { return c.close() }

type connectionKey struct{}

// from returns the connection that carries the request.
func from(ctx context.Context) *connection {
	return ctx.Value(connectionKey{}).(*connection)
}

// serveNoise upgrades a request to the Noise transport and hands the connection over
// to the server of what is inside.
func (s *Server) serveNoise(w http.ResponseWriter, r *http.Request) {
	if s.draining() {
		refuseDraining(w)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	conn, err := s.handshake(ctx, cancel, w, r)
	if err != nil {
		s.metrics.handshakes.WithLabelValues("failed").Inc()
		s.log.Debug("handshake failed", "remote", r.RemoteAddr, "err", err)
		return
	}
	s.metrics.handshakes.WithLabelValues("ok").Inc()
	c := &connection{
		Conn:    conn,
		machine: conn.Peer(),
		version: tailcfg.CapabilityVersion(conn.ProtocolVersion()),
		host:    cleanHost(r.Host),
		remote:  remoteAddress(r),
		ended:   make(chan struct{}),
	}
	if !s.unproven.add(c.remote, false) {
		if !s.knows(c.machine) {
			s.log.Debug("too many unknown machines", "remote", c.remote)
			conn.Close()
			return
		}
		s.unproven.add(c.remote, true)
	}
	s.open(c)
	// The server of what is inside lifts this when the client has begun to speak.
	if err := c.SetReadDeadline(time.Now().Add(s.shakeLimit)); err != nil || !s.inside.serve(c) {
		c.Close()
		return
	}
	if isWebSocket(r) {
		<-c.ended // it lives as long as the request
	}
}

// open counts a connection, and sees to it that it is counted out once when it ends.
func (s *Server) open(c *connection) {
	s.count(1)
	c.close = sync.OnceValue(func() error {
		s.count(-1)
		close(c.ended)
		c.admission.done()
		return c.Conn.Close()
	})
	c.admission = newAdmission(s.unprovenIdle, func() error { return c.close() }, func() { s.unproven.remove(c.remote) })
	c.admission.start()
}

// handshake makes the Noise connection within handshakeTimeout. A WebSocket lives as
// long as its context, so for that one the time limit is a timer, which is stopped.
func (s *Server) handshake(ctx context.Context, cancel context.CancelFunc, w http.ResponseWriter, r *http.Request) (*controlbase.Conn, error) {
	if isWebSocket(r) {
		timer := time.AfterFunc(s.shakeLimit, cancel)
		defer timer.Stop()
	} else {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, s.shakeLimit)
		defer stop()
	}
	return controlhttpserver.AcceptHTTP(ctx, w, r, s.noiseKey, earlyPayload)
}

func isWebSocket(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
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
	mux.HandleFunc("GET /machine/ssh/action/{from}/to/{to}", serveSSHCheck)
	return mux
}

// serveWhoami answers `tailscale debug ts2021`.
func (s *Server) serveWhoami(w http.ResponseWriter, r *http.Request) {
	c := from(r.Context())
	io.WriteString(w, "machine "+c.machine.String()+", capability version "+strconv.Itoa(int(c.version))+"\n")
}

// serveSSHCheck answers a node that asks for the outcome of a check before it lets
// somebody in. Nobody can prove who they are to this server yet, so nobody gets in.
func serveSSHCheck(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, tailcfg.SSHAction{
		Message: "The policy wants a check before this login, which the server cannot do yet. Ask for a rule with \"accept\".\r\n",
		Reject:  true,
	})
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

// cleanHost returns a Host header that is safe to put into a URL, or "localhost".
func cleanHost(host string) string {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-.:[]_", r)
	}
	if host == "" || len(host) > 255 || strings.ContainsFunc(host, func(r rune) bool { return !ok(r) }) {
		return "localhost"
	}
	if u, err := url.Parse("https://" + host + "/"); err != nil || u.Host != host || u.Hostname() == "" {
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
	body, err := readBody(w, r, maxBody)
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		http.Error(w, "bad request body: "+err.Error(), http.StatusBadRequest)
	}
	return err == nil
}

// readBody reads a body of at most limit bytes within bodyTimeout.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	ctl := http.NewResponseController(w)
	if err := ctl.SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return nil, err
	}
	defer ctl.SetReadDeadline(time.Time{})
	return io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}
