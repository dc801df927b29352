package transport

import (
	"slices"
	"strings"
	"testing"

	"tailscale.com/tailcfg"
)

func TestTexts(t *testing.T) {
	for _, tt := range []struct {
		proto, ports string
		want         string
	}{
		{"", "*", "*"},
		{"", "22, 80-90", "22 80-90"},
		{"TCP", "443", "tcp:443"},
		{"ipv4", "*", "ipv4:*"},
		{"99", "*", "99:*"},
		{"icmp", "*", "icmp:*"},
	} {
		t.Run(tt.proto+tt.ports, func(t *testing.T) {
			protos, err := ParseProto(tt.proto)
			if err != nil {
				t.Fatal(err)
			}
			ports, err := ParsePorts(tt.ports)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(Texts(protos, ports), " "); got != tt.want {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{"", "a", "22-", "-22", "90-80", "65536", "1,,2", "0x10", strings.Repeat("1,", MaxRanges) + "1"} {
		if got, err := ParsePorts(s); err == nil {
			t.Errorf("%.20q is %v", s, got)
		}
	}
	for _, s := range []string{"tpc", "256", "-1"} {
		if got, err := ParseProto(s); err == nil {
			t.Errorf("%q is %v", s, got)
		}
	}
}

// FuzzPorts checks that ports are written as they are read.
func FuzzPorts(f *testing.F) {
	for _, s := range []string{"*", "22", "80-90,1", "65535"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ports, err := ParsePorts(s)
		if err != nil {
			return
		}
		texts := make([]string, len(ports))
		for i, p := range ports {
			texts[i] = Text(p)
		}
		if slices.Contains(texts, "*") && len(texts) > 1 {
			return // all ports among others are read only as a range
		}
		again, err := ParsePorts(strings.Join(texts, ","))
		if err != nil || !slices.EqualFunc(ports, again, func(a, b tailcfg.PortRange) bool { return a == b }) {
			t.Fatalf("%q is %v, and that is %v (%v)", s, ports, again, err)
		}
	})
}
