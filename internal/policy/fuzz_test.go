package policy

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"tailscale.com/tailcfg"
	"tailscale.com/wgengine/filter"

	"selvage"
	"selvage/internal/policy/transport"
)

// FuzzParse feeds arbitrary texts. What parses must compile, and whatever it answers
// must hold together and be understood by a client.
func FuzzParse(f *testing.F) {
	for _, s := range Samples() {
		f.Add(s.Text)
	}
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		ar, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(section(ar, "policy"))
	}
	for _, text := range goldenTexts(f) {
		f.Add(text)
	}
	for _, s := range []string{"", "{", "{}", "[[[[", "/*", `{"acls": [{"action": "accept", "src": ["*"], "dst": ["fd7a::1-fd7a::2:1-2"]}]}`} {
		f.Add(s)
	}
	people := []Person{{1, "ann@example.com", selvage.RoleOwner}, {2, "bea@example.com", selvage.RoleMember}, {3, "carl", selvage.RoleAuditor}}
	f.Fuzz(func(t *testing.T, text string) {
		pol, err := Parse(text)
		if err != nil {
			var pe *Error
			if !errors.As(err, &pe) || len(pe.Diagnostics) == 0 {
				t.Fatalf("not an *Error with diagnostics: %v", err)
			}
			return
		}
		if err := pol.Test(people); err != nil {
			return
		}
		fuzzWorld(t, pol.Compile(people))
	})
}

// goldenTexts returns the policies of the golden cases, if they are there.
func goldenTexts(f *testing.F) []string {
	dir := os.Getenv("SELVAGE_GOLDEN_DIR")
	if dir == "" {
		dir = "../../../shared/golden"
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.json"))
	if err != nil {
		f.Fatal(err)
	}
	var out []string
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var g goldenCase
		if err := json.Unmarshal(b, &g); err != nil {
			f.Fatal(err)
		}
		out = append(out, g.Policy)
	}
	return out
}

// fuzzWorld puts a network under the policy and checks that the answers agree.
func fuzzWorld(t *testing.T, c *Compiled) {
	w := newWorld(c)
	for i, d := range []Device{
		{User: 1},
		{User: 1},
		{User: 2, Routes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
		{User: 3, Attrs: map[string]any{"node:os": "linux", "node:tsVersion": "1.90.0"}, Services: []Service{{"svc:web", []netip.Addr{netip.MustParseAddr("100.100.0.1")}}}},
		{Shared: true},
		{Tags: []string{"tag:web"}},
		{Tags: []string{"tag:db", "tag:router"}, Routes: append(selvage.ExitRoutes(), netip.MustParsePrefix("192.168.1.0/24"))},
	} {
		d.Node = selvage.NodeID(i + 1)
		d.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{100, 64, 0, byte(i + 1)})}
		w.add(d)
	}
	for i, d := range w.devices {
		rules := w.filter(i)
		if _, err := filter.MatchesFromFilterRules(rules); err != nil {
			t.Fatalf("the client refuses the filter: %v\n%s", err, mustJSON(rules))
		}
		var compact []tailcfg.FilterRule
		for _, chunk := range c.CompactFilter(d, w.classes[i], w.addrs, w.routes...) {
			compact = append(compact, chunk...)
		}
		if _, err := filter.MatchesFromFilterRules(compact); err != nil {
			t.Fatalf("the client refuses the compact filter: %v\n%s", err, mustJSON(compact))
		}
		c.CapMap(d)
		c.IPPools(d)
		c.Postures(d)
		c.Sources(w.classes[i])
		for _, r := range c.SSH(d, w.classes[i], w.addrs).Rules {
			if len(r.Principals) == 0 || r.Action == nil {
				t.Fatalf("SSH rule that means nothing: %s", mustJSON(r))
			}
		}
		for j := range w.devices {
			see := c.Sees(w.classes[i], w.classes[j])
			if see != c.Sees(w.classes[j], w.classes[i]) {
				t.Fatalf("devices %d and %d: not symmetric", i, j)
			}
			c.Attempts(w.devices[i], w.devices[j], netip.Addr{}, transport.TCP, 22)
			if open := c.Openings(w.devices[i], w.devices[j]); len(open) > 0 && !see {
				t.Fatalf("device %d may send to %d unseen: %+v", i, j, open)
			}
			if ok, _ := c.Explain(w.devices[i], w.devices[j], transport.TCP, 22); ok && !see {
				t.Fatalf("device %d may reach %d unseen", i, j)
			}
		}
	}
}

// FuzzSelector feeds what stands for an address or a port.
func FuzzSelector(f *testing.F) {
	for _, s := range []string{"10.0.0.1", "10.0.0.0/8", "1.2.3.4-1.2.3.9", "fd7a::/48", "::-::ffff", "fe80::1%x", "1-2,3,*", "65536", "-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if rng, err := parseRange(s); err == nil {
			again, err := parseRange(rangeText(rng))
			if err != nil || again != rng {
				t.Errorf("%q is %v, and that is %v (%v)", s, rng, again, err)
			}
		}
		if ports, err := transport.ParsePorts(s); err == nil {
			for _, r := range ports {
				if r.Last < r.First {
					t.Errorf("%q is %v", s, ports)
				}
			}
		}
		if host, ports, ok := transport.SplitPorts(s); ok && len(host)+len(ports) >= len(s) {
			t.Errorf("%q is %q and %q", s, host, ports)
		}
	})
}
