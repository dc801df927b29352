package policy

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
)

func compiled(t *testing.T, text string, people ...Person) *Compiled {
	t.Helper()
	pol, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return pol.Compile(people)
}

// TestClassesAreFew checks that devices share a class unless a rule tells them apart.
func TestClassesAreFew(t *testing.T) {
	devices := sizes[0].devices()
	people := sizes[0].people()
	count := func(text string) int {
		c := compiled(t, text, people...)
		for _, d := range devices {
			c.Class(d)
		}
		return c.Classes()
	}
	owners := make(map[int64]bool)
	for _, d := range devices {
		if d.User != 0 {
			owners[int64(d.User)] = true
		}
	}
	for _, tt := range []struct {
		name, text string
		want       int
	}{
		{"open", `{"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]}`, 1},
		{"closed", `{"grants": []}`, 1},
		{"members and tagged", `{"grants": [{"src": ["autogroup:member"], "dst": ["autogroup:tagged"], "ip": ["*"]}]}`, 2},
		{"own devices", Default(), len(owners) + 1},
		{"own devices of one", `{"grants": [{"src": ["user1@example.com"], "dst": ["autogroup:self"], "ip": ["*"]}]}`, 2},
		{"a network", `{"grants": [{"src": ["*"], "dst": ["100.64.0.0/24"], "ip": ["*"]}]}`, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := count(tt.text); got != tt.want {
				t.Errorf("got %d classes, want %d", got, tt.want)
			}
		})
	}
}

// TestConcurrentUse reads while devices come in; the race detector judges.
func TestConcurrentUse(t *testing.T) {
	s := size{nodes: 400, users: 60, groups: 20, rules: 50}
	c := compiled(t, s.policy(), s.people()...)
	w := newWorld(c)
	w.add(s.devices()[0])
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for _, d := range s.devices() {
				c.Class(d)
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for range 200 {
				n := Class(c.Classes())
				if n == 0 {
					continue
				}
				if a, b := c.Sees(0, n-1), c.Sees(n-1, 0); a != b {
					t.Errorf("classes 0 and %d: %v and %v", n-1, a, b)
				}
				c.Viewers(n - 1)
				c.Sources(n - 1)
				w.filter(0)
				for _, d := range s.devices()[:5] {
					for _, r := range d.Routes {
						c.UsesRoute(n-1, r)
					}
				}
			}
		})
	}
	wg.Wait()
	if c.Classes() < 10 {
		t.Errorf("%d classes", c.Classes())
	}
}

// TestRangesOfTheTailnet checks that the wildcard follows the tailnet's addresses.
func TestRangesOfTheTailnet(t *testing.T) {
	pol, err := Parse(`{"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		ranges []netip.Prefix
		want   string
	}{
		{"default", nil, "100.115.94.0-100.127.255.255 100.64.0.0-100.115.91.255 fd7a:115c:a1e0::/48"},
		{"own", []netip.Prefix{netip.MustParsePrefix("100.80.0.0/12"), netip.MustParsePrefix("fd00:7::/64")}, "100.80.0.0/12 fd00:7::/64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(pol.Compile(nil, tt.ranges...))
			w.add(Device{User: 1})
			if got := strings.Join(w.filter(0)[0].SrcIPs, " "); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestEmptyFilter: an empty filter blocks everything, and nil would leave a
// client with the filter that it has.
func TestEmptyFilter(t *testing.T) {
	w := newWorld(compiled(t, `{"grants": []}`))
	w.add(Device{User: 1})
	if got := w.filter(0); got == nil || len(got) != 0 {
		t.Errorf("got %#v", got)
	}
	if got := w.c.SSH(w.devices[0], w.classes[0], w.addrs); got == nil || got.Rules == nil || w.c.HasSSH(w.classes[0]) {
		t.Errorf("got %#v", got)
	}
}
