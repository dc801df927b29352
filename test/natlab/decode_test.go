package natlab

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestReadPing(t *testing.T) {
	tests := []struct {
		name, line   string
		seq          int
		answered, ok bool
	}{
		{"answer", "64 bytes from 100.64.0.2: icmp_seq=3 ttl=64 time=0.521 ms", 3, true, true},
		{"late", "no answer yet for icmp_seq=12", 12, false, true},
		{"unreachable", "From 203.0.113.1 icmp_seq=1 Destination Host Unreachable", 1, false, true},
		{"header", "PING 100.64.0.2 (100.64.0.2) 56(84) bytes of data.", 0, false, false},
		{"statistics", "5 packets transmitted, 5 received, 0% packet loss, time 4005ms", 0, false, false},
		{"no number", "icmp_seq=x time=1", 0, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			seq, answered, ok := readPing(tt.line)
			if seq != tt.seq || answered != tt.answered || ok != tt.ok {
				t.Errorf("got %d, %v, %v; want %d, %v, %v", seq, answered, ok, tt.seq, tt.answered, tt.ok)
			}
		})
	}
}

func FuzzReadPing(f *testing.F) {
	f.Add("64 bytes from 100.64.0.2: icmp_seq=3 ttl=64 time=0.521 ms")
	f.Add("no answer yet for icmp_seq=12")
	f.Fuzz(func(t *testing.T, line string) {
		if _, answered, ok := readPing(line); answered && !ok {
			t.Errorf("%q is an answer to nothing", line)
		}
	})
}

func FuzzPortMapping(f *testing.F) {
	f.Add([]byte{0, 0})
	f.Add([]byte{2, 1})
	f.Add([]byte{0, 1, 0, 0, 0xa2, 0xa9, 0x10, 0x00, 0, 0, 0x0e, 0x10})
	f.Fuzz(func(t *testing.T, q []byte) {
		var rules string
		m := &portMapper{
			outside: netip.MustParseAddr("203.0.113.20"), start: time.Now(),
			ports: map[uint16]netip.AddrPort{},
			load:  func(r string) error { rules = r; return nil },
		}
		inside := netip.MustParseAddr("10.70.0.2")
		res := m.answer(q, inside)
		if res == nil {
			return
		}
		if len(res) < 8 || res[1] != q[1]+128 {
			t.Fatalf("answer % x to % x", res, q)
		}
		if n := len(m.list()); n > 1 {
			t.Errorf("one request made %d mappings", n)
		}
		for port, to := range m.list() {
			if to.Addr() != inside || port != binary.BigEndian.Uint16(res[10:]) || !strings.Contains(rules, to.String()) {
				t.Errorf("mapping %d to %v, answer % x, rules %s", port, to, res, rules)
			}
		}
	})
}

func TestRules(t *testing.T) {
	tests := []struct {
		name      string
		nat       NAT
		has, lack string
	}{
		{"easy", Easy, "    oifname \"wan\" meta nfproto ipv4 masquerade\n", "fully-random"},
		{"hard", Hard, "masquerade fully-random", "dnat ip"},
		{"full cone", NAT{FullCone: netip.MustParseAddr("10.70.0.2")}, "dnat ip to 10.70.0.2", "fully-random"},
		{"firewall", Firewall, "established,related accept", "masquerade"},
		{"open", NAT{Open: true}, "iifname \"wan\" accept", "masquerade"},
		{"no UDP", UDPBlocked, "udp dport != 53 drop", "tcp dport"},
		{"web only", WebOnly, "tcp dport != { 80, 443 } drop", "udp dport"},
		{"loss", NAT{Loss: 0.25}, "mod 10000 < 2500 drop", "fully-random"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rules := tt.nat.rules()
			if !strings.Contains(rules, tt.has) || strings.Contains(rules, tt.lack) {
				t.Errorf("want %q and not %q in\n%s", tt.has, tt.lack, rules)
			}
		})
	}
}

func TestBadNames(t *testing.T) {
	for _, name := range []string{"", "A", "1lab", "much-too-long", "abcdefghijklm", "a/b"} {
		if err := Remove(name); err == nil {
			t.Errorf("prefix %q is accepted", name)
		}
	}
}
