package review

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"selvage/internal/policy"
)

// TestHostile looks at policies that would take for ever if everything were compared
// with everything. It fails by the deadline of the test run.
func TestHostile(t *testing.T) {
	var sources, rules, members, addrs, tests strings.Builder
	for i := range 600 {
		fmt.Fprintf(&sources, "\"10.0.%d.%d\",", i>>7, i<<1&255)
	}
	for i := range 300 {
		fmt.Fprintf(&rules, `{"src": [%s], "dst": ["*"], "ip": ["%d"]},`, sources.String(), i+1)
	}
	for i := range 15_000 {
		fmt.Fprintf(&members, "\"u%d@a.org\",", i)
		fmt.Fprintf(&addrs, "\"10.%d.%d.%d\",", i>>14, i>>7&127, i<<1&255)
	}
	for i := range 20 {
		fmt.Fprintf(&tests, `{"src": "group:g", "accept": ["10.0.0.1:%d"]},`, i+1)
	}
	router := []Node{
		{Name: "a", Device: policy.Device{Node: 1, User: 1, Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.1")}}},
		{Name: "r", Device: policy.Device{Node: 2, Tags: []string{"tag:r"}, Routes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}},
	}
	for _, tt := range []struct{ name, text string }{
		{"many sources in many rules", `{"grants": [` + rules.String() + `]}`},
		{"a big group in many tests", `{"groups": {"group:g": [` + members.String() + `]}, "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}], "tests": [` + tests.String() + `]}`},
		{"a big IP set", `{"ipsets": {"ipset:s": [` + addrs.String() + `]}, "grants": [{"src": ["*"], "dst": ["ipset:s"], "ip": ["22", "tcp:443", "udp:1-9"]}]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pol, err := policy.Parse(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			n := New(pol, pol.Compile(people()), people(), router)
			if len(Lint(tt.text, n)) == 0 {
				t.Error("nothing found")
			}
			none, err := policy.Parse(`{"grants": []}`)
			if err != nil {
				t.Fatal(err)
			}
			d := Compare(New(none, none.Compile(people()), people(), router), n)
			if _, err := n.Reach("a"); err != nil || d.Text() == "" {
				t.Error(err)
			}
		})
	}
}
