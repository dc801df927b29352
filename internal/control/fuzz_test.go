package control_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/control"
	"selvage/internal/control/controltest"
)

// fuzzed returns a server for all inputs of a fuzz test. Its clock runs fast, so that
// one machine can make many requests.
func fuzzed(f *testing.F) *controltest.Server {
	f.Helper()
	start := time.Now()
	var seconds atomic.Int64
	now := func() time.Time { return start.Add(time.Duration(seconds.Add(1)) * time.Second) }
	return controltest.New(f, controltest.Options{Control: control.Options{Now: now}})
}

// unharmed checks that nothing in the server has panicked.
func unharmed(t *testing.T, s *controltest.Server) {
	t.Helper()
	if log := s.Log.String(); strings.Contains(log, "panic") {
		t.Fatalf("something panicked:\n%s", log)
	}
}

func jsonFor(f *testing.F, v any) string {
	f.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		f.Fatal(err)
	}
	return string(b)
}

// FuzzRegisterBody sends anything as a registration.
func FuzzRegisterBody(f *testing.F) {
	s := fuzzed(f)
	n := s.Node("fuzz")
	req := n.RegisterRequest()
	f.Add(jsonFor(f, req))
	req.Auth = &tailcfg.RegisterResponseAuth{AuthKey: s.AuthKey(selvage.AuthKey{Reusable: true})}
	req.Hostinfo.RequestTags, req.Hostinfo.RoutableIPs = []string{"tag:x"}, selvage.ExitRoutes()
	f.Add(jsonFor(f, req))
	req.Auth, req.Expiry, req.Followup = nil, time.Unix(123, 0), "http://x/register/y"
	f.Add(jsonFor(f, req))
	for _, text := range []string{"", "null", "[]", "{}", `{"NodeKey":""}`, `{"Hostinfo":{"RoutableIPs":["","::/0","1.2.3.4/33"]}}`, "\x00", strings.Repeat("[", 20_000)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, body string) {
		a := n.For(t).Ask("POST", "/machine/register", body)
		switch a.Status {
		case 200, 400, 429:
		default:
			t.Errorf("got %+v", a)
		}
		if resp := new(tailcfg.RegisterResponse); a.Status == 200 && json.Unmarshal([]byte(a.Body), resp) != nil {
			t.Errorf("answer is no response: %s", a.Body)
		}
		unharmed(t, s)
	})
}

// FuzzMapBody sends anything as a map request of a node.
func FuzzMapBody(f *testing.F) {
	s := fuzzed(f)
	n := s.Joined("fuzz")
	req := n.MapRequest()
	f.Add(jsonFor(f, req))
	req.Stream, req.OmitPeers = false, true
	f.Add(jsonFor(f, req))
	req.Hostinfo.RoutableIPs, req.Hostinfo.NetInfo = selvage.ExitRoutes(), &tailcfg.NetInfo{PreferredDERP: -1}
	f.Add(jsonFor(f, req))
	req.Stream, req.OmitPeers, req.Compress = false, false, "gzip"
	f.Add(jsonFor(f, req))
	for _, text := range []string{"", "null", "{}", `{"Stream":true}`, `{"Endpoints":["","1.2.3.4:0","[::]:99999"]}`, strings.Repeat("{", 5000)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, body string) {
		resp, err := n.Do(within(t), "POST", "/machine/map", body)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		switch resp.StatusCode {
		case 200:
			if _, err := controltest.ReadFrame(resp.Body); err != nil && err != io.EOF {
				t.Errorf("after status 200: %v", err)
			}
		case 400, 403:
		default:
			t.Errorf("got %s", resp.Status)
		}
		unharmed(t, s)
	})
}

// FuzzAnswers lets a node answer anything to a request and to a ping.
func FuzzAnswers(f *testing.F) {
	s := controltest.New(f, controltest.Options{})
	n := s.Joined("fuzz")
	st := n.Stream()
	st.Next()
	for _, text := range []string{reply, "", "HTTP/1.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n", "HTTP/1.1 999 \r\nContent-Length: -1\r\n\r\n", `{"LatencySeconds":1}`, "null"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got := c2n(within(t), s, n.ID, "GET", "/echo", "")
		n.For(t).Ask("POST", asked(t, st.For(t)).URL, body)
		wait(t, "answer", got)
		pinged := make(chan error, 1)
		go func() {
			_, err := s.PingAs(within(t), selvage.System(), s.Net, s.Net.View().Node(n.ID), s.Net.View().Node(n.ID).IPv4, tailcfg.PingDisco)
			pinged <- err
		}()
		n.For(t).Ask("POST", asked(t, st.For(t)).URL, body)
		wait(t, "ping", pinged)
		unharmed(t, s)
	})
}

// FuzzUpgrade sends anything instead of the handshake.
func FuzzUpgrade(f *testing.F) {
	s := controltest.New(f, controltest.Options{})
	s.SetShakeLimit(50 * time.Millisecond)
	f.Add("POST", "tailscale-control-protocol", "AAAA", "")
	f.Add("GET", "websocket", "", "\x00\x01")
	f.Add("POST", "", "%", "\x01\x02\x03")
	f.Add("POST", "tailscale-control-protocol", strings.Repeat("A", 136), strings.Repeat("\xff", 200))
	f.Fuzz(func(t *testing.T, method, protocol, handshake, rest string) {
		if strings.ContainsAny(method+protocol+handshake, "\r\n") {
			t.Skip("another header, which is net/http's business")
		}
		conn, err := net.Dial("tcp", s.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, method+" /ts2021?X-Tailscale-Handshake="+url.QueryEscape(handshake)+" HTTP/1.1\r\nHost: x\r\nUpgrade: "+protocol+
			"\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: tailscale-control-protocol\r\nX-Tailscale-Handshake: "+handshake+"\r\n\r\n"+rest)
		unharmed(t, s)
		alive(t, s)
	})
}

// FuzzAfterHandshake sends anything in a good connection, as bytes inside of Noise or
// in place of its frames.
func FuzzAfterHandshake(f *testing.F) {
	s := controltest.New(f, controltest.Options{})
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	f.Add("nonsense", "")
	f.Add(preface, "\x04\x00\x10nonsense")
	f.Add(preface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00"+"\xff\xff\xff\x00\x00\x00\x00\x00\x01", "")
	f.Add("", "\x04\xff\xff")
	f.Fuzz(func(t *testing.T, inside, raw string) {
		handshake, then := initiate(t, s, key.NewMachine())
		conn, resp := upgrade(t, s, handshake)
		if resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("upgrade: %s", resp.Status)
		}
		c, err := then(within(t), conn)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, inside)
		io.WriteString(conn, raw)
		c.Close()
		unharmed(t, s)
		alive(t, s)
	})
}

func alive(t *testing.T, s *controltest.Server) {
	t.Helper()
	resp, err := http.Get(s.URL() + "/key")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

// FuzzCleanHost checks that whatever a client calls the server, URLs made of it are
// URLs of that host and nothing else.
func FuzzCleanHost(f *testing.F) {
	for _, host := range []string{"", "localhost", "vpn.example.com:8080", "[::1]:80", "[::1", "a:b:c", "x/y", "x@y", "x?y", "x y", "é", ":80", strings.Repeat("a", 300)} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		clean := control.CleanHost(host)
		if clean != host && clean != "localhost" {
			t.Fatalf("%q became %q", host, clean)
		}
		u, err := url.Parse("https://" + clean + "/machine/c2n/token")
		if err != nil || u.Host != clean || u.Path != "/machine/c2n/token" || u.User != nil || u.RawQuery != "" {
			t.Errorf("%q makes the URL %v, %v", host, u, err)
		}
	})
}

// FuzzCodes looks up anything as a code, and follows anything as a link.
func FuzzCodes(f *testing.F) {
	s := fuzzed(f)
	n := s.Node("fuzz")
	_, good, _ := strings.Cut(n.Register(n.RegisterRequest()).AuthURL, "/register/")
	for _, c := range []string{"", good, strings.ToUpper(good), good + " ", "http://x/register/" + good, "/register//register/" + good, "%00"} {
		f.Add(c)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := s.Pending(text); err == nil && !strings.EqualFold(text, good) {
			t.Errorf("%q is a code", text)
		}
		if control.SameCode(text, good) && !strings.HasSuffix(text, "/register/"+good) {
			t.Errorf("%q is the link of %s", text, good)
		}
	})
}

// FuzzHostinfo checks that what a device says of itself stays within bounds.
func FuzzHostinfo(f *testing.F) {
	for _, text := range []string{"{}", "null", `{"Hostname":"x","RoutableIPs":["10.0.0.1/8","","fd00::/8"]}`, `{"Services":[{"Proto":"peerapi4","Port":1}],"sshHostKeys":["a"],"Location":{"City":"x"}}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var h *tailcfg.Hostinfo
		if json.NewDecoder(bytes.NewReader(text)).Decode(&h) != nil {
			t.Skip()
		}
		before := jsonText(t, h)
		got, err := control.CheckHostinfo(h)
		if jsonText(t, h) != before {
			t.Error("the report was changed in place")
		}
		if err != nil || got == nil {
			return
		}
		for _, r := range got.RoutableIPs {
			if !r.IsValid() || r != r.Masked() {
				t.Errorf("route %v was let through", r)
			}
		}
	})
}

func jsonText(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("what was decoded cannot be encoded: %v", err)
	}
	return string(b)
}
