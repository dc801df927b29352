package natlab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const core = "203.0.113.1"

// testLab is a lab with a public switch and two public hosts.
func testLab(t *testing.T, prefix string) (*Lab, *Switch, [2]*Host) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds network namespaces: not with -short")
	}
	SkipUnlessAvailable(t)
	lab, err := New(prefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	inet := must(lab.Switch("inet", "203.0.113.0/24"))(t)
	if err := inet.Core(core); err != nil {
		t.Fatal(err)
	}
	var pub [2]*Host
	for i := range pub {
		pub[i] = must(lab.Host(fmt.Sprintf("pub%d", i)))(t)
		must(inet.Plug(pub[i], "eth0", fmt.Sprintf("203.0.113.%d", 10+i), core))(t)
	}
	return lab, inet, pub
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// reflector answers each packet with the address it came from, as STUN does.
func reflector(t *testing.T, h *Host, port int) {
	pc := must(h.ListenPacket("udp4", fmt.Sprintf(":%d", port)))(t)
	t.Cleanup(func() { pc.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(append(b[:n], from.String()...), from) // who asked notices
		}
	}()
}

// observed asks a reflector which address it sees.
func observed(pc net.PacketConn, server string) (string, error) {
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(server))
	nonce := fmt.Sprintf("%08x ", rand.Uint32())
	if _, err := pc.WriteTo([]byte(nonce), to); err != nil {
		return "", err
	}
	pc.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	for b := make([]byte, 100); ; {
		n, _, err := pc.ReadFrom(b)
		if err != nil {
			return "", err
		}
		if addr, ok := strings.CutPrefix(string(b[:n]), nonce); ok {
			return addr, nil
		}
	}
}

func TestNATKinds(t *testing.T) {
	lab, inet, pub := testLab(t, "ntkinds")
	reflector(t, pub[0], 3478)
	reflector(t, pub[1], 3478)
	stranger := must(pub[1].ListenPacket("udp4", ":5000"))(t)
	defer stranger.Close()

	tests := []struct {
		name              string
		nat               NAT
		udp, same, inward bool // UDP passes; same address towards both; a stranger gets in
	}{
		{"easy", Easy, true, true, false},
		{"hard", Hard, true, false, false},
		{"fullcone", NAT{FullCone: netip.MustParseAddr("10.70.0.2")}, true, true, true},
		{"blocked", UDPBlocked, false, false, false},
		{"webonly", WebOnly, false, false, false},
	}
	r := must(lab.Router("r", inet, "203.0.113.20", core, "10.70.0.0/24", Easy))(t)
	c, _, err := r.Client("c", 2)
	if err != nil {
		t.Fatal(err)
	}
	ln := must(pub[0].Listen("tcp4", ":443"))(t)
	defer ln.Close()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := r.SetNAT(tt.nat); err != nil {
				t.Fatal(err)
			}
			pc := must(c.ListenPacket("udp4", ":0"))(t)
			defer pc.Close()
			a, err := observed(pc, "203.0.113.10:3478")
			if (err == nil) != tt.udp {
				t.Fatalf("UDP: %v", err)
			}
			conn, err := c.Dial(context.Background(), "tcp4", "203.0.113.10:443")
			if err != nil {
				t.Fatalf("TCP 443: %v", err)
			}
			conn.Close()
			if !tt.udp {
				return
			}
			b, err := observed(pc, "203.0.113.11:3478")
			if err != nil {
				t.Fatal(err)
			}
			if (a == b) != tt.same {
				t.Errorf("observed %s and %s", a, b)
			}
			stranger.WriteTo([]byte("hi"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(b)))
			pc.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			_, _, err = pc.ReadFrom(make([]byte, 10))
			if (err == nil) != tt.inward {
				t.Errorf("packet from a stranger: %v", err)
			}
		})
	}
}

func TestCutting(t *testing.T) {
	lab, inet, pub := testLab(t, "ntcut")
	reflector(t, pub[0], 3478)
	h := must(lab.Host("h"))(t)
	p := must(inet.Plug(h, "eth0", "203.0.113.30", core))(t)
	pc := must(h.ListenPacket("udp4", ":0"))(t)
	defer pc.Close()
	check := func(what string, want bool) {
		t.Helper()
		_, err := observed(pc, "203.0.113.10:3478")
		if (err == nil) != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	step := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check("at first", true)
	step(p.Blackhole(true))
	check("in the black hole", false)
	step(p.Blackhole(false))
	check("after it", true)
	step(p.Unplug())
	check("unplugged", false)
	step(p.Replug())
	// The host asks for its neighbour's hardware address once a second, so it
	// may take that long until packets pass.
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	step(Poll(ctx, 0, func() error { _, err := observed(pc, "203.0.113.10:3478"); return err }))

	set, stats, err := p.Wire(30*time.Millisecond, 0)
	step(err)
	check("with a wire", true)
	start := time.Now()
	check("with a wire", true)
	if d := time.Since(start); d < 60*time.Millisecond {
		t.Errorf("round trip %v through a wire of 30 ms", d)
	}
	set(0, 1)
	check("losing everything", false)
	set(0, 0)
	check("losing nothing", true)
	if stats.Lost[0].Load() == 0 {
		t.Error("nothing was counted as lost")
	}
}

func TestHostsAreApart(t *testing.T) {
	lab, _, pub := testLab(t, "ntapart")
	ctx := context.Background()
	if err := pub[0].WriteFile("/etc/resolv.conf", "nameserver 203.0.113.53\n"); err != nil {
		t.Fatal(err)
	}
	if out := must(pub[1].Run(ctx, "cat", "/etc/resolv.conf"))(t); out != "" {
		t.Errorf("one host sees the other's resolv.conf: %q", out)
	}
	if out := must(pub[0].Run(ctx, "hostname"))(t); out != "pub0\n" {
		t.Errorf("host name %q", out)
	}
	if _, err := pub[0].Dial(ctx, "tcp4", "192.0.2.1:80"); err == nil {
		t.Error("a host reaches the outside")
	}
	// New removes what an earlier lab of the same name left.
	again, err := New(lab.prefix)
	if err != nil {
		t.Fatal(err)
	}
	if names, _ := netNSNames(lab.prefix); len(names) != 1 {
		t.Errorf("left over: %v", names)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestPortMapper(t *testing.T) {
	lab, inet, pub := testLab(t, "ntpmp")
	r := must(lab.Router("r", inet, "203.0.113.20", core, "10.70.0.0/24", Hard))(t)
	c, _, err := r.Client("c", 2)
	if err != nil {
		t.Fatal(err)
	}
	mappings := must(r.PortMapper())(t)
	pc := must(c.ListenPacket("udp4", ":41641"))(t)
	defer pc.Close()
	gw := net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.70.0.1:5351"))
	ask := func(q ...byte) []byte {
		t.Helper()
		pc.WriteTo(q, gw)
		pc.SetReadDeadline(time.Now().Add(time.Second))
		b := make([]byte, 100)
		n, _, err := pc.ReadFrom(b)
		if err != nil {
			t.Fatal(err)
		}
		return b[:n]
	}
	if a := ask(0, 0); len(a) != 12 || netip.AddrFrom4([4]byte(a[8:])) != netip.MustParseAddr("203.0.113.20") {
		t.Errorf("outside address: % x", a)
	}
	if a := ask(2, 1); a[3] != 1 {
		t.Errorf("PCP: % x", a)
	}
	if a := ask(0, 1, 0, 0, 0xa2, 0xa9, 0x10, 0x00, 0, 0, 0x0e, 0x10); len(a) != 16 || a[10] != 0x10 || a[3] != 0 {
		t.Errorf("mapping: % x", a)
	}
	if len(mappings()) != 1 {
		t.Errorf("mappings: %v", mappings())
	}
	stranger := must(pub[1].ListenPacket("udp4", ":5000"))(t)
	defer stranger.Close()
	stranger.WriteTo([]byte("hi"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort("203.0.113.20:4096")))
	pc.SetReadDeadline(time.Now().Add(time.Second))
	_, from, err := pc.ReadFrom(make([]byte, 10))
	if err != nil {
		t.Fatal(err)
	}
	pc.WriteTo([]byte("ho"), from)
	stranger.SetReadDeadline(time.Now().Add(time.Second))
	if _, from, err = stranger.ReadFrom(make([]byte, 10)); err != nil || from.String() != "203.0.113.20:4096" {
		t.Errorf("answer from %v: %v", from, err)
	}
	ask(0, 1, 0, 0, 0xa2, 0xa9, 0, 0, 0, 0, 0, 0)
	if len(mappings()) != 0 {
		t.Errorf("mappings after removal: %v", mappings())
	}
}
