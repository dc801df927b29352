package relay

import (
	"bufio"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"

	"go4.org/mem"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

const (
	// webSocketProtocol is the subprotocol of clients in browsers.
	webSocketProtocol = "derp"
	// helloLen is the length of the frame header and key with which a client
	// opens, in bytes: type, length, node key.
	helloLen = derp.FrameHeaderLen + derp.KeyLen
	// minHello and maxHello bound the length that the first frame may claim, in
	// bytes; the frame itself is read and checked by the library.
	minHello = derp.KeyLen + derp.NonceLen
	maxHello = 256 << 10
)

var errDenied = errors.New("client is not admitted")

// gate is the connection of one client. It reads along until the client has named
// its key, and lets nothing after that through unless the key is admitted. The
// library proves afterwards that the client holds the key; a client that lies
// about it gets no further.
//
// The library's own hook for this is a URL that it fetches with the process's
// default HTTP client. Answering that within the process would need a change of
// http.DefaultTransport, which belongs to nobody.
type gate struct {
	net.Conn
	s    *Server
	from netip.Addr
	r    *bufio.Reader // what was read ahead, then Conn

	// The reader's own.
	hello [helloLen]byte
	n     int // bytes of hello so far

	node atomic.Pointer[key.NodePublic] // set once the client is admitted
}

// newGate makes a gate. r reads from conn and is the only buffer before it: once
// it is empty the gate reads from conn itself.
func (s *Server) newGate(conn net.Conn, r *bufio.Reader, from string) *gate {
	ap, _ := netip.ParseAddrPort(from) // Admit gets the zero address if it is none
	g := &gate{Conn: conn, s: s, from: ap.Addr().Unmap(), r: r}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gates[g] = struct{}{}
	return g
}

func (g *gate) readWriter() *bufio.ReadWriter {
	return bufio.NewReadWriter(bufio.NewReader(g), bufio.NewWriter(g.Conn))
}

// admitted returns the client's key once it is known and admitted.
func (g *gate) admitted() (node key.NodePublic, ok bool) {
	if p := g.node.Load(); p != nil {
		return *p, true
	}
	return node, false
}

// Read returns what the client sent, or an error from the point on where it turned
// out that the client may not use the relay.
func (g *gate) Read(p []byte) (int, error) {
	if g.n == helloLen {
		if g.r.Buffered() == 0 {
			return g.Conn.Read(p)
		}
		return g.r.Read(p)
	}
	n, err := g.r.Read(p[:min(len(p), helloLen-g.n)])
	copy(g.hello[g.n:], p[:n])
	g.n += n
	if g.n < helloLen {
		return n, err
	}
	node, err := parseHello(g.hello)
	if err != nil {
		g.n = 0
		return 0, err
	}
	if !g.s.admit(node, g.from) {
		g.n = 0
		g.s.denied.Add(1)
		g.s.log.Debug("turn relay client away", "node", node.ShortString(), "from", g.from)
		return 0, errDenied
	}
	g.node.Store(&node)
	return n, nil
}

// Close closes the connection and forgets it.
func (g *gate) Close() error {
	g.s.mu.Lock()
	delete(g.s.gates, g)
	g.s.mu.Unlock()
	return g.Conn.Close()
}

// parseHello returns the key in the head of a client's first frame.
func parseHello(b [helloLen]byte) (node key.NodePublic, err error) {
	if typ := derp.FrameType(b[0]); typ != derp.FrameClientInfo {
		return node, errors.New("first frame is not a client info frame")
	}
	if n := binary.BigEndian.Uint32(b[1:]); n < minHello || n > maxHello {
		return node, errors.New("client info frame has a bad length")
	}
	node = key.NodePublicFromRaw32(mem.B(b[derp.FrameHeaderLen:]))
	if node.IsZero() {
		return node, errors.New("client info frame has a zero key")
	}
	return node, nil
}

// gatedWriter puts a gate before a connection that a handler takes over.
type gatedWriter struct {
	http.ResponseWriter
	s    *Server
	from string
}

// Hijack implements http.Hijacker.
func (w *gatedWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, brw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	g := w.s.newGate(conn, brw.Reader, w.from)
	return g, g.readWriter(), nil
}

func isWebSocket(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket") &&
		strings.Contains(r.Header.Get("Sec-Websocket-Protocol"), webSocketProtocol)
}
