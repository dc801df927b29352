package control_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"tailscale.com/control/controlbase"
	"tailscale.com/control/controlhttp/controlhttpcommon"
	"tailscale.com/control/tsp"
	"tailscale.com/net/netutil"
	"tailscale.com/net/wsconn"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/control"
	"selvage/internal/control/controltest"
)

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), controltest.Timeout)
	t.Cleanup(cancel)
	return ctx
}

// initiate returns a client's half of the handshake.
func initiate(t *testing.T, s *controltest.Server, m key.MachinePrivate) (first string, then controlbase.HandshakeContinuation) {
	t.Helper()
	server, err := tsp.DiscoverServerKey(within(t), s.URL())
	if err != nil {
		t.Fatal(err)
	}
	init, then, err := controlbase.ClientDeferred(m, server, uint16(tailcfg.CurrentCapabilityVersion))
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(init), then
}

// upgrade sends the upgrade request and returns the connection and the answer.
func upgrade(t *testing.T, s *controltest.Server, handshake string) (net.Conn, *http.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(controltest.Timeout))
	fmt.Fprintf(conn, "POST /ts2021 HTTP/1.1\r\nHost: %s\r\nUpgrade: tailscale-control-protocol\r\nConnection: upgrade\r\nX-Tailscale-Handshake: %s\r\n\r\n", s.Address(), handshake)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return netutil.NewDrainBufConn(conn, r), resp
}

// dial makes a Noise connection by hand.
func dial(t *testing.T, s *controltest.Server, m key.MachinePrivate) *controlbase.Conn {
	t.Helper()
	handshake, then := initiate(t, s, m)
	conn, resp := upgrade(t, s, handshake)
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %s", resp.Status)
	}
	c, err := then(within(t), conn)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// skipEarly reads the payload that comes before HTTP/2.
func skipEarly(t *testing.T, c io.Reader) tailcfg.EarlyNoise {
	t.Helper()
	var head [9]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		t.Fatal(err)
	}
	if string(head[:5]) != "\xff\xff\xffTS" {
		t.Fatalf("the connection begins with %q", head)
	}
	body := make([]byte, uint32(head[5])<<24|uint32(head[6])<<16|uint32(head[7])<<8|uint32(head[8]))
	if _, err := io.ReadFull(c, body); err != nil {
		t.Fatal(err)
	}
	var early tailcfg.EarlyNoise
	if err := json.Unmarshal(body, &early); err != nil {
		t.Fatal(err)
	}
	return early
}

func TestEarlyPayload(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	if early := skipEarly(t, dial(t, s, key.NewMachine())); early.NodeKeyChallenge.IsZero() {
		t.Error("no challenge")
	}
}

func TestServerKey(t *testing.T) {
	noise := key.NewMachine()
	s := controltest.New(t, controltest.Options{NoiseKey: noise})
	resp, err := http.Get(s.URL() + "/key?v=142")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var keys tailcfg.OverTLSPublicKeyResponse
	if err := json.NewDecoder(resp.Body).Decode(&keys); err != nil || keys.PublicKey != noise.Public() || !keys.LegacyPublicKey.IsZero() {
		t.Errorf("got %+v, %v", keys, err)
	}
}

// A browser-built client comes by WebSocket; its connection must outlive the time
// limit of the handshake.
func TestWebSocket(t *testing.T) {
	s := controltest.New(t, controltest.Options{Control: control.Options{Keepalive: 300 * time.Millisecond}})
	s.SetShakeLimit(200 * time.Millisecond)
	n := s.Joined("console")
	handshake, then := initiate(t, s, n.Machine)
	address := "ws://" + s.Address() + "/ts2021?" + url.Values{controlhttpcommon.HandshakeHeaderName: {handshake}}.Encode()
	ws, _, err := websocket.Dial(within(t), address, &websocket.DialOptions{Subprotocols: []string{controlhttpcommon.UpgradeHeaderValue}})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := then(within(t), wsconn.NetConn(within(t), ws, websocket.MessageBinary, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	tr := &http.Transport{Protocols: new(http.Protocols), DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
	tr.Protocols.SetUnencryptedHTTP2(true)
	req := n.MapRequest()
	req.Compress = ""
	body, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: tr}).Post("http://inside/machine/map", "", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	next := controltest.PlainMessages(resp.Body)
	for i := range 3 {
		m, err := next()
		if err != nil || m.KeepAlive != (i > 0) {
			t.Fatalf("message %d is %+v, %v", i, m, err)
		}
	}
}

func TestBadUpgrades(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	s.SetShakeLimit(time.Second)
	good, _ := initiate(t, s, key.NewMachine())
	raw, err := base64.StdEncoding.DecodeString(good)
	if err != nil {
		t.Fatal(err)
	}
	raw[60] ^= 1
	tests := map[string]struct {
		handshake string
		status    int
	}{
		"none":       {"", http.StatusBadRequest},
		"no base 64": {"%%%", http.StatusBadRequest},
		// These are told in the handshake's own error message.
		"too short": {"AAAA", http.StatusSwitchingProtocols},
		"tampered":  {base64.StdEncoding.EncodeToString(raw), http.StatusSwitchingProtocols},
	}
	for name, test := range tests {
		conn, resp := upgrade(t, s, test.handshake)
		if resp.StatusCode != test.status {
			t.Errorf("%s: got %s", name, resp.Status)
		}
		if test.status != http.StatusSwitchingProtocols {
			continue
		}
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("%s: the connection stays open: %v", name, err)
		}
	}
	for _, method := range []string{"GET", "PUT", "HEAD"} {
		req, err := http.NewRequest(method, s.URL()+"/ts2021", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode < 400 || resp.StatusCode >= 500 {
			t.Errorf("%s without upgrade: %s", method, resp.Status)
		}
	}
	if s.Connections() != 0 {
		t.Errorf("%d connections are open", s.Connections())
	}
}

// Who shakes hands and says nothing, or nonsense, is cut off.
func TestNothingAfterHandshake(t *testing.T) {
	for name, send := range map[string]string{"silence": "", "nonsense": "GET / HTTP/1.1\r\n\r\n" + strings.Repeat("x", 100)} {
		t.Run(name, func(t *testing.T) {
			s := controltest.New(t, controltest.Options{})
			s.SetShakeLimit(100 * time.Millisecond)
			c := dial(t, s, key.NewMachine())
			skipEarly(t, c)
			io.WriteString(c, send)
			io.Copy(io.Discard, c) // until the server hangs up
			until(t, "the end of the connection", func() bool { return s.Connections() == 0 })
		})
	}
}

func TestRequestsInside(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	n := s.Joined("laptop")
	tests := []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"GET", "/machine/whoami", "", 200, n.Machine.Public().String()},
		{"GET", "/machine/whoami", "a body that nobody wants", 200, ""},
		{"GET", "/machine/nope", "", 404, ""},
		{"POST", "/machine/tka/init/begin", "{}", 404, ""},
		{"POST", "/machine/id-token", "{}", 404, ""},
		{"GET", "/machine/map", "", 405, ""},
		{"GET", "/key", "", 404, ""},
		{"POST", "/machine/update-health", "{}", 200, ""},
		{"POST", "/machine/feature/query", `{"Feature":"funnel"}`, 200, `\"funnel\"`},
		{"POST", "/machine/feature/query", "nonsense", 400, ""},
		{"POST", "/machine/map", "nonsense", 400, "bad request body"},
		{"POST", "/machine/map", "{}", 426, "1.80"},
	}
	old := s.OldNode("old", 100)
	for _, test := range tests {
		from := n
		if test.status == 426 {
			from = old
		}
		if a := from.Ask(test.method, test.path, test.body); a.Status != test.status || !strings.Contains(a.Body, test.says) {
			t.Errorf("%s %s: got %+v", test.method, test.path, a)
		}
	}
}

// Nothing of what is served inside is served outside.
func TestMachineEndpointsNeedNoise(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	for _, path := range []string{"/machine/register", "/machine/map", "/machine/c2n/x", "/machine/whoami"} {
		resp, err := http.Post(s.URL()+path, "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

// Clients hold a connection for each host name; the end of one that has no stream
// says nothing of the node.
func TestTwoConnectionsOfOneMachine(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	n := s.Joined("laptop")
	stream := n.Stream()
	stream.Next()
	before := s.Connections()
	other := n.SameMachine()
	if a := other.Ask("GET", "https://unused/machine/whoami", nil); a.Status != 200 {
		t.Fatalf("got %+v", a)
	}
	if got := s.Connections(); got != before+1 {
		t.Errorf("%d connections, want %d", got, before+1)
	}
	other.Hangup()
	until(t, "the end of the other connection", func() bool { return s.Connections() == before })
	s.Settings(func(set *selvage.Settings) { set.DNS.SearchPaths = []string{"mark.example"} })
	stream.Until(func(m *tailcfg.MapResponse) bool { return m.DNSConfig != nil })
}

func TestPanicTakesNobodyElseDown(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic("for the test") })
	mux.HandleFunc("GET /fine", func(http.ResponseWriter, *http.Request) {})
	s.ServeInside(mux)
	n := s.Node("laptop")
	if resp, err := n.Do(within(t), "GET", "/panic", nil); err == nil {
		resp.Body.Close()
		t.Errorf("a panic was answered with %s", resp.Status)
	}
	if a := n.Ask("GET", "/fine", nil); a.Status != 200 {
		t.Errorf("the same connection gives %+v", a)
	}
	if log := s.Log.String(); !strings.Contains(log, "for the test") || !strings.Contains(log, "level=ERROR") {
		t.Errorf("the log says nothing of it: %s", log)
	}
}

// slow opens a map stream on a connection of its own and reads no more of the body
// than its window has room for.
func slow(t *testing.T, s *controltest.Server, n *controltest.Node, window uint32) *http2.Framer {
	t.Helper()
	c := dial(t, s, n.Machine)
	skipEarly(t, c)
	io.WriteString(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
	body, err := json.Marshal(n.MapRequest())
	if err != nil {
		t.Fatal(err)
	}
	var head bytes.Buffer
	h := hpack.NewEncoder(&head)
	for _, field := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", s.Address()}, {":path", "/machine/map"}} {
		h.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
	}
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndHeaders: true})
	if err := f.WriteData(1, true, body); err != nil {
		t.Fatal(err)
	}
	return f
}

// A client that stops reading is cut off, and meanwhile nobody else waits for it.
func TestSlowReader(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	s.SetWriteLimit(300 * time.Millisecond)
	n, other := s.Joined("slow"), s.Joined("other")
	f := slow(t, s, n, 100)
	until(t, "the slow session", func() bool { return s.HasSession(s.Net, n.ID) })
	stream := other.Stream()
	stream.Next()
	n.Report("192.0.2.1:1")
	stream.Until(func(m *tailcfg.MapResponse) bool { return len(m.PeersChangedPatch) > 0 })
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Fatalf("before the stream was reset: %v", err)
		}
		if rst, ok := frame.(*http2.RSTStreamFrame); ok && rst.StreamID == 1 {
			break
		}
	}
	until(t, "the end of the slow session", func() bool { return !s.HasSession(s.Net, n.ID) })
}

// A client that takes no bytes at all is cut off as a whole.
func TestStalledConnection(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	s.SetWriteStall(300 * time.Millisecond)
	s.SetWriteLimit(time.Hour)
	crowd(t, s, 200)
	n := s.Joined("stalled")
	before := s.Connections()
	f := slow(t, s, n, 1<<30)
	f.WriteWindowUpdate(0, 1<<30)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		// More and more to send, until no buffer has room for it.
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				s.Net.ChangeSettings(background, selvage.System(), "settings.change", func(set *selvage.Settings) error {
					set.Domain = fmt.Sprintf("d%d.example", i)
					return nil
				})
			}
		}
	}()
	until(t, "the connection", func() bool { return s.Connections() > before })
	until(t, "the end of the connection", func() bool { return s.Connections() == before })
}

func TestNothingIsLeftBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("clients", func(t *testing.T) {
		s := controltest.New(t, controltest.Options{})
		for i := range 20 {
			n := s.Joined(fmt.Sprint("n", i))
			st := n.Stream()
			st.Next()
			n.Report("192.0.2.1:1")
			if i%2 == 0 {
				c2n(t.Context(), s, n.ID, "GET", "/echo", "")
			}
			if i%4 != 0 {
				n.Hangup()
			}
			w := s.Node("waits")
			w.Register(w.RegisterRequest())
		}
		dial(t, s, key.NewMachine())
	})
	until(t, "the end of all goroutines", func() bool {
		http.DefaultClient.CloseIdleConnections()
		return runtime.NumGoroutine() <= before
	})
}
