package relay

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netcheck"
	"tailscale.com/net/netmon"
	"tailscale.com/net/wsconn"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
)

const (
	newClient tailcfg.CapabilityVersion = 142 // 1.102
	oldClient tailcfg.CapabilityVersion = 113 // 1.80
)

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// world is a server with an embedded relay: plain HTTP and TLS on one port, and STUN.
type world struct {
	server  *Server
	regions *Regions
	stun    *STUN
	addr    string // host:port of the TCP listener
}

func newWorld(t testing.TB, bind string, admit Admit) *world {
	t.Helper()
	seed := Seed{1, 2, 3}
	s, err := New(Config{Key: DERPKey(seed), Admit: admit, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(bind, "0"))
	if err != nil {
		t.Skipf("can't listen on %s: %v", bind, err)
	}
	stun, err := ListenSTUN(net.JoinHostPort(bind, "0"), testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	pinned := NewPinned(seed)
	regions, err := NewRegions(RegionConfig{
		Embedded: &Embedded{STUNPort: stun.Port(), Pinned: pinned},
		Log:      testLog(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	sniffer := SniffTLS(ln)
	plain := &http.Server{Handler: s.Handler()}
	secure := &http.Server{Handler: s.Handler(), TLSConfig: pinned.TLSConfig(s), ErrorLog: slog.NewLogLogger(testLog(t).Handler(), slog.LevelDebug)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 3)
	go func() { plain.Serve(sniffer.Plain()); done <- struct{}{} }()
	go func() { secure.ServeTLS(sniffer.TLS(), "", ""); done <- struct{}{} }()
	go func() { stun.Run(ctx); done <- struct{}{} }()
	t.Cleanup(func() {
		cancel()
		s.Close()
		plain.Close()
		secure.Close()
		for range cap(done) {
			<-done
		}
	})
	return &world{server: s, regions: regions, stun: stun, addr: ln.Addr().String()}
}

func (w *world) port() string { _, port, _ := net.SplitHostPort(w.addr); return port }

func everyone(key.NodePublic, netip.Addr) bool { return true }

// connect makes a client as magicsock does, and waits until the relay took it in.
func connect(t testing.TB, m *tailcfg.DERPMap, region int, k key.NodePrivate) (*derphttp.Client, error) {
	t.Helper()
	c := derphttp.NewRegionClient(k, t.Logf, netmon.NewStatic(), func() *tailcfg.DERPRegion { return m.Regions[region] })
	ctx := testContext(t)
	context.AfterFunc(ctx, func() { c.Close() }) // Recv knows no deadline
	if err := c.Connect(ctx); err != nil {
		return nil, err
	}
	// The server's first message comes only after it admitted the client.
	msg, err := c.Recv()
	if err != nil {
		return nil, err
	}
	if _, ok := msg.(derp.ServerInfoMessage); !ok {
		t.Fatalf("first message is %T", msg)
	}
	return c, nil
}

func TestClientsTalk(t *testing.T) {
	tests := []struct {
		name, bind, host string
		version          tailcfg.CapabilityVersion
		pin              bool
	}{
		{"IPv4", "127.0.0.1", "127.0.0.1", newClient, true},
		{"IPv4, old", "127.0.0.1", "127.0.0.1", oldClient, false},
		{"name", "127.0.0.1", "localhost", newClient, true},
		{"name, old", "127.0.0.1", "localhost", oldClient, false},
		{"IPv6", "::1", "::1", newClient, true},
		{"IPv6, old", "::1", "::1", oldClient, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.bind, everyone)
			m := w.regions.Map(net.JoinHostPort(tt.host, w.port()), tt.version)
			n := m.Regions[DefaultRegion].Nodes[0]
			if pin := strings.HasPrefix(n.CertName, pinPrefix); pin != tt.pin || n.InsecureForTests == tt.pin {
				t.Fatalf("node %+v: want pin %v", n, tt.pin)
			}
			ka, kb := key.NewNode(), key.NewNode()
			a, err := connect(t, m, DefaultRegion, ka)
			if err != nil {
				t.Fatal(err)
			}
			b, err := connect(t, m, DefaultRegion, kb)
			if err != nil {
				t.Fatal(err)
			}
			if got := a.ServerPublicKey(); got != w.server.PublicKey() {
				t.Errorf("server key %v, want %v", got, w.server.PublicKey())
			}
			want := []byte("from a to b")
			if err := a.Send(kb.Public(), want); err != nil {
				t.Fatal(err)
			}
			msg, err := b.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(derp.ReceivedPacket{Source: ka.Public(), Data: want}, msg, cmpopts.EquateComparable(key.NodePublic{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got := w.server.Clients(); got != 2 {
				t.Errorf("%d clients, want 2", got)
			}
		})
	}
}

func TestWrongPinIsRefused(t *testing.T) {
	w := newWorld(t, "127.0.0.1", everyone)
	m := w.regions.Map(w.addr, newClient).Clone()
	m.Regions[DefaultRegion].Nodes[0].CertName = pinPrefix + strings.Repeat("0", 64)
	if _, err := connect(t, m, DefaultRegion, key.NewNode()); err == nil || !strings.Contains(err.Error(), "hash does not match") {
		t.Errorf("error %v, want one about the hash", err)
	}
}

func TestNetcheck(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "localhost"} {
		for _, tcpOnly := range []bool{false, true} {
			t.Run(host+" TCP only "+strconv.FormatBool(tcpOnly), func(t *testing.T) {
				w := newWorld(t, "127.0.0.1", everyone)
				c := &netcheck.Client{NetMon: netmon.NewStatic(), Logf: t.Logf, SkipExternalNetwork: true}
				if err := c.Standalone(testContext(t), "127.0.0.1:0"); err != nil {
					t.Fatal(err)
				}
				m := w.regions.Map(net.JoinHostPort(host, w.port()), newClient)
				report, err := c.GetReport(testContext(t), m, &netcheck.GetReportOpts{OnlyTCP443: tcpOnly})
				if err != nil {
					t.Fatal(err)
				}
				if report.PreferredDERP != DefaultRegion {
					t.Errorf("preferred region %d, want %d: %+v", report.PreferredDERP, DefaultRegion, report)
				}
				if report.UDP == tcpOnly {
					t.Errorf("UDP is %v: %+v", report.UDP, report)
				}
				if answered := w.stun.answered.Load(); answered > 0 == tcpOnly {
					t.Errorf("%d STUN requests answered", answered)
				}
			})
		}
	}
}

func TestAdmission(t *testing.T) {
	good, bad := key.NewNode(), key.NewNode()
	var revoked atomic.Bool
	w := newWorld(t, "127.0.0.1", func(k key.NodePublic, from netip.Addr) bool {
		return k == good.Public() && from == netip.MustParseAddr("127.0.0.1") && !revoked.Load()
	})
	m := w.regions.Map(w.addr, newClient)
	if _, err := connect(t, m, DefaultRegion, bad); err == nil {
		t.Error("a stranger was admitted")
	}
	if got := w.server.denied.Load(); got != 1 {
		t.Errorf("%d clients denied, want 1", got)
	}
	c, err := connect(t, m, DefaultRegion, good)
	if err != nil {
		t.Fatal(err)
	}
	w.server.Recheck()
	if got := w.server.Clients(); got != 1 {
		t.Fatalf("%d clients after a check, want 1", got)
	}
	revoked.Store(true)
	w.server.Recheck()
	if msg, err := c.Recv(); err == nil {
		t.Errorf("a revoked client got %T", msg)
	}
	if got := w.server.Clients(); got != 0 {
		t.Errorf("%d clients, want 0", got)
	}
}

// A client in a browser, and one that claims another's key.
func TestWebSocket(t *testing.T) {
	good := key.NewNode()
	w := newWorld(t, "127.0.0.1", func(k key.NodePublic, _ netip.Addr) bool { return k == good.Public() })
	dial := func(k key.NodePrivate) (*derp.Client, error) {
		ctx := testContext(t)
		ws, _, err := websocket.Dial(ctx, "ws://"+w.addr+"/derp", &websocket.DialOptions{Subprotocols: []string{"derp"}})
		if err != nil {
			t.Fatal(err)
		}
		conn := wsconn.NetConn(ctx, ws, websocket.MessageBinary, w.addr)
		t.Cleanup(func() { conn.Close() })
		rw := bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
		c, err := derp.NewClient(k, conn, rw, t.Logf)
		if err != nil {
			return nil, err
		}
		_, err = c.Recv()
		return c, err
	}
	if _, err := dial(key.NewNode()); err == nil {
		t.Error("a stranger was admitted")
	}
	c, err := dial(good)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(good.Public(), []byte("to myself")); err != nil {
		t.Fatal(err)
	}
	msg, err := c.Recv()
	if p, ok := msg.(derp.ReceivedPacket); err != nil || !ok || string(p.Data) != "to myself" {
		t.Errorf("got %v, %v", msg, err)
	}
}

func TestSmallPages(t *testing.T) {
	s, err := New(Config{
		Key: key.NewNode(), Admit: everyone, Log: testLog(t),
		OwnNames: func() []string { return []string{"ctl.example.com", "gone.example.com"} },
		LookUp: func(_ context.Context, host string) ([]netip.Addr, error) {
			if host != "ctl.example.com" {
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
			}
			return []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tests := []struct {
		name, method, path string
		status             int
		body               string
	}{
		{"probe", "GET", "/derp/probe", 200, ""},
		{"latency", "HEAD", "/derp/latency-check", 200, ""},
		{"post probe", "POST", "/derp/probe", 405, "bogus probe method\n"},
		{"captive", "GET", "/generate_204", 204, ""},
		{"no upgrade", "GET", "/derp", 426, "DERP requires connection upgrade\n"},
		{"own name", "GET", "/bootstrap-dns?q=CTL.example.com.", 200, `{"ctl.example.com":["192.0.2.1","2001:db8::1"]}` + "\n"},
		{"own name without address", "GET", "/bootstrap-dns?q=gone.example.com", 200, "{}\n"},
		{"foreign name", "GET", "/bootstrap-dns?q=www.example.org", 200, "{}\n"},
		{"no name", "GET", "/bootstrap-dns", 200, "{}\n"},
		{"post name", "POST", "/bootstrap-dns?q=ctl.example.com", 405, "use GET\n"},
		{"else", "GET", "/machine", 404, "404 page not found\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newRecorder(s.Handler(), tt.method, tt.path, nil, "")
			if w.Code != tt.status || w.Body.String() != tt.body {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, tt.status, tt.body)
			}
		})
	}
	w := newRecorder(s.Handler(), "GET", "/generate_204", nil, "")
	if w.Header().Get("X-Tailscale-Response") != "" {
		t.Error("an answer to no challenge")
	}
}

func TestVerify(t *testing.T) {
	good := key.NewNode().Public()
	h := VerifyHandler(func(k key.NodePublic, from netip.Addr) bool {
		return k == good && from == netip.MustParseAddr("192.0.2.1")
	}, testLog(t))
	ask := func(k key.NodePublic, from string) []byte {
		b, err := json.Marshal(tailcfg.DERPAdmitClientRequest{NodePublic: k, Source: netip.MustParseAddr(from)})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	tests := []struct {
		name, method string
		body         []byte
		status       int
		want         string
	}{
		{"good", "POST", ask(good, "192.0.2.1"), 200, `{"Allow":true}`},
		{"mapped address", "POST", ask(good, "::ffff:192.0.2.1"), 200, `{"Allow":true}`},
		{"stranger", "POST", ask(key.NewNode().Public(), "192.0.2.1"), 200, `{"Allow":false}`},
		{"get", "GET", nil, 405, "use POST"},
		{"empty", "POST", nil, 400, "request: EOF"},
		{"no key", "POST", []byte(`{}`), 400, "names no NodePublic"},
		{"bad key", "POST", []byte(`{"NodePublic":"nodekey:00"}`), 400, "request:"},
		{"long", "POST", bytes.Repeat([]byte(" "), maxMessage+1), 400, "longer than 4096 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newRecorder(h, tt.method, "/verify", tt.body, "")
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("%d %q, want %d with %q", w.Code, w.Body, tt.status, tt.want)
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte(`{"NodePublic":"nodekey:` + strings.Repeat("ab", 32) + `","Source":"192.0.2.1"}`))
	f.Add([]byte(`{"Source":"fe80::1%eth0"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, b []byte) {
		req, err := readVerify(bytes.NewReader(b))
		if err == nil && req.NodePublic.IsZero() {
			t.Fatal("a request without a key was taken")
		}
		if err != nil && !selvage.Is(err, selvage.KindInvalid) {
			t.Fatalf("error %v is not of kind invalid", err)
		}
	})
}

// fakeConn gives what it has, at most step bytes at a time.
type fakeConn struct {
	net.Conn
	r    io.Reader
	step int
}

func (c *fakeConn) Read(p []byte) (int, error) { return c.r.Read(p[:min(len(p), c.step)]) }
func (c *fakeConn) Close() error               { return nil }

// However the bytes come, they come out as they went in if the key is admitted,
// and not even the key comes out whole if it isn't.
func FuzzGate(f *testing.F) {
	hello := key.NewNode().Public().AppendTo([]byte{byte(derp.FrameClientInfo), 0, 0, 0, 100})
	f.Add(append(hello, "rest of the frame"...), uint8(3), true)
	f.Add(hello, uint8(1), false)
	f.Add([]byte("GET / HTTP/1.1"), uint8(200), true)
	f.Add([]byte{2, 0xff, 0xff, 0xff, 0xff}, uint8(5), true)
	f.Fuzz(func(t *testing.T, in []byte, step uint8, ok bool) {
		s, err := New(Config{Key: key.NewNode(), Admit: func(key.NodePublic, netip.Addr) bool { return ok }, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		g := s.newGate(nil, nil, "192.0.2.1:1")
		g.Conn = &fakeConn{r: bytes.NewReader(in), step: int(step) + 1}
		g.r = bufio.NewReader(g.Conn)
		out, err := io.ReadAll(g)
		if !bytes.HasPrefix(in, out) {
			t.Fatalf("%x came out of %x", out, in)
		}
		_, admitted := g.admitted()
		if admitted && (!ok || len(in) < helloLen || err != nil || len(out) != len(in)) {
			t.Fatalf("admitted %x: %d bytes out, %v", in, len(out), err)
		}
		if !admitted && len(out) >= helloLen {
			t.Fatalf("not admitted, but %x came out", out)
		}
	})
}
