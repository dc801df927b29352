package review

import (
	"testing"

	"selvage"
)

func TestParseTarget(t *testing.T) {
	for _, tt := range []struct {
		text  string
		name  string
		proto int
		port  uint16
	}{
		{"web:443", "web", 6, 443},
		{"web:53/udp", "web", 17, 53},
		{"tag:web:22/tcp", "tag:web", 6, 22},
		{"[fd7a::1]:22", "fd7a::1", 6, 22},
		{"fd7a::1:22", "fd7a::1", 6, 22},
		{"10.1.2.3:80/6", "10.1.2.3", 6, 80},
		{"web/icmp", "web", 1, 0},
		{"web:*/icmp", "web", 1, 0},
		{"tag:web/icmp", "tag:web", 1, 0},
		{"[fd7a::1]/ipv6-icmp", "fd7a::1", 58, 0},
		{"web", "", 0, 0},
		{"web:", "", 0, 0},
		{":22", "", 0, 0},
		{"web:ssh", "", 0, 0},
		{"web:70000", "", 0, 0},
		{"web:22/tpc", "", 0, 0},
		{"web:22/", "", 0, 0},
		{"/icmp", "", 0, 0},
	} {
		t.Run(tt.text, func(t *testing.T) {
			name, proto, port, err := ParseTarget(tt.text)
			if name != tt.name || proto != tt.proto || port != tt.port || (err == nil) != (tt.name != "") {
				t.Errorf("got %q %d %d %v", name, proto, port, err)
			}
			if err != nil && selvage.KindOf(err) != selvage.KindInvalid {
				t.Errorf("kind %v", selvage.KindOf(err))
			}
		})
	}
}

// FuzzParseTarget feeds what people may write.
func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"web:443", "[fd7a::1]:22/udp", "web/icmp", ":", "/", "a:b:1/tcp"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, proto, _, err := ParseTarget(s)
		if (err == nil) != (name != "") || proto < 0 || proto > 255 {
			t.Fatalf("%q is %q %d %v", s, name, proto, err)
		}
	})
}
