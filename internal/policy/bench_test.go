package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"selvage"
)

// size is a network to measure with.
type size struct{ nodes, users, groups, rules int }

var sizes = []size{{1_000, 300, 50, 200}, {10_000, 3_000, 300, 1_000}, {100_000, 30_000, 1_000, 2_000}}

func (s size) String() string {
	return fmt.Sprintf("nodes=%d,users=%d,groups=%d,rules=%d", s.nodes, s.users, s.groups, s.rules)
}

// policy writes a policy like those of companies: everybody's own devices, groups
// that reach tags and networks, tags that reach tags.
func (s size) policy() string {
	rnd := rand.New(rand.NewPCG(1, 2))
	var sb strings.Builder
	sb.WriteString(`{"groups": {`)
	for g := range s.groups {
		fmt.Fprintf(&sb, "\n\"group:g%d\": [", g)
		for range 5 + rnd.IntN(40) {
			fmt.Fprintf(&sb, "%q,", login(rnd.IntN(s.users)))
		}
		sb.WriteString("],")
	}
	sb.WriteString("},\n\"tagOwners\": {")
	for i := range s.groups {
		fmt.Fprintf(&sb, "\"tag:t%d\": [\"group:g%d\"],", i, i)
	}
	sb.WriteString("},\n\"grants\": [{\"src\": [\"autogroup:member\"], \"dst\": [\"autogroup:self\"], \"ip\": [\"*\"]},")
	for i := range s.rules - 1 {
		src, dst := fmt.Sprintf("group:g%d", rnd.IntN(s.groups)), fmt.Sprintf("tag:t%d", rnd.IntN(s.groups))
		switch i % 10 {
		case 0:
			src = fmt.Sprintf("tag:t%d", rnd.IntN(s.groups))
		case 1:
			src = login(rnd.IntN(s.users))
		case 2:
			dst = fmt.Sprintf("10.%d.%d.0/24", rnd.IntN(256), rnd.IntN(256))
		}
		fmt.Fprintf(&sb, "\n{\"src\": [%q, \"group:g%d\"], \"dst\": [%q], \"ip\": [\"tcp:%d\", \"tcp:443\"]},", src, rnd.IntN(s.groups), dst, 1+rnd.IntN(65535))
	}
	sb.WriteString("]}")
	return sb.String()
}

func login(i int) string { return fmt.Sprintf("user%d@example.com", i) }

func (s size) people() []Person {
	people := make([]Person, s.users)
	for i := range people {
		people[i] = Person{ID: selvage.UserID(i + 1), Login: login(i), Role: selvage.RoleMember}
	}
	return people
}

// devices returns the nodes: two thirds are people's, the others have tags, and one
// in fifty is a router.
func (s size) devices() []Device {
	rnd := rand.New(rand.NewPCG(3, 4))
	ds := make([]Device, s.nodes)
	for i := range ds {
		a := netip.AddrFrom4([4]byte{100, 64 + byte(i>>16), byte(i >> 8), byte(i)})
		b := a.As4()
		ds[i] = Device{
			Node:  selvage.NodeID(i + 1),
			Addrs: []netip.Addr{a, netip.AddrFrom16([16]byte{0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, 12: b[0], 13: b[1], 14: b[2], 15: b[3]})},
		}
		if i%3 == 0 {
			ds[i].Tags = []string{fmt.Sprintf("tag:t%d", rnd.IntN(s.groups))}
		} else {
			ds[i].User = selvage.UserID(1 + rnd.IntN(s.users))
		}
		if i%50 == 0 {
			ds[i].Routes = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(rnd.IntN(256)), 0, 0}), 16)}
		}
	}
	return ds
}

func (s size) world(b *testing.B) *world {
	pol, err := Parse(s.policy())
	if err != nil {
		b.Fatal(err)
	}
	w := newWorld(pol.Compile(s.people()))
	for _, d := range s.devices() {
		w.add(d)
	}
	return w
}

func BenchmarkParse(b *testing.B) {
	for _, s := range sizes {
		b.Run(s.String(), func(b *testing.B) {
			text := s.policy()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := Parse(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkFromNothing is what a restart or a change of the policy costs: people and
// all devices to classes.
func BenchmarkFromNothing(b *testing.B) {
	for _, s := range sizes {
		b.Run(s.String(), func(b *testing.B) {
			pol, err := Parse(s.policy())
			if err != nil {
				b.Fatal(err)
			}
			people, devices := s.people(), s.devices()
			var c *Compiled
			for b.Loop() {
				c = pol.Compile(people)
				for _, d := range devices {
					c.Class(d)
				}
			}
			b.ReportMetric(float64(c.Classes()), "classes")
			b.ReportMetric(float64(len(c.sets)), "sets")
		})
	}
}

// BenchmarkOneChange is what a change of one device costs: its class, and whom to
// wake.
func BenchmarkOneChange(b *testing.B) {
	for _, s := range sizes {
		b.Run(s.String(), func(b *testing.B) {
			w := s.world(b)
			var i int
			for b.Loop() {
				w.c.Viewers(w.c.Class(w.devices[i%len(w.devices)]))
				i++
			}
		})
	}
}

func BenchmarkSees(b *testing.B) {
	for _, s := range sizes {
		b.Run(s.String(), func(b *testing.B) {
			w := s.world(b)
			n := Class(w.c.Classes())
			var i Class
			for b.Loop() {
				w.c.Sees(i%n, (i*7)%n)
				i++
			}
		})
	}
}

func BenchmarkUsesRoute(b *testing.B) {
	for _, s := range sizes {
		b.Run(s.String(), func(b *testing.B) {
			w := s.world(b)
			n := Class(w.c.Classes())
			var i Class
			for b.Loop() {
				w.c.UsesRoute(i%n, w.routes[int(i)%len(w.routes)])
				i++
			}
		})
	}
}

// BenchmarkFilter is the filter of one device.
func BenchmarkFilter(b *testing.B) {
	for _, s := range sizes {
		b.Run(s.String(), func(b *testing.B) {
			w := s.world(b)
			var i, rules, sources int
			for b.Loop() {
				for _, r := range w.filter(i % len(w.devices)) {
					rules, sources = rules+1, sources+len(r.SrcIPs)
				}
				i++
			}
			b.ReportMetric(float64(rules)/float64(i), "rules")
			b.ReportMetric(float64(sources)/float64(i), "sources")
		})
	}
}

// BenchmarkMember is what it costs that somebody joins a group: another Compiled that
// goes on with the classes, and the person's devices to classes of it.
func BenchmarkMember(b *testing.B) {
	for _, s := range sizes {
		b.Run(s.String(), func(b *testing.B) {
			before, err := Parse(s.policy())
			if err != nil {
				b.Fatal(err)
			}
			after, err := Parse(strings.Replace(s.policy(), "\"group:g0\": [", "\"group:g0\": [\"user1@example.com\",", 1))
			if err != nil {
				b.Fatal(err)
			}
			people, devices := s.people(), s.devices()
			policies := []*Policy{before, after}
			c := before.Compile(people)
			for _, d := range devices {
				c.Class(d)
			}
			i := 1
			for b.Loop() {
				next, changed, ok := policies[i%2].CompileAfter(c, people)
				if !ok || len(changed) != 1 {
					b.Fatal(ok, changed)
				}
				for _, d := range devices {
					if d.User == changed[0] {
						next.Class(d)
					}
				}
				c = next
				i++
			}
		})
	}
}

// BenchmarkCompactFilter is the filter of one device in the compact form.
func BenchmarkCompactFilter(b *testing.B) {
	for _, s := range sizes[:2] {
		b.Run(s.String(), func(b *testing.B) {
			w := s.world(b)
			var i, sources int
			for b.Loop() {
				at := i % len(w.devices)
				for _, chunk := range w.c.CompactFilter(w.devices[at], w.classes[at], w.addrs, w.routes...) {
					for _, r := range chunk {
						sources += len(r.SrcIPs)
					}
				}
				i++
			}
			b.ReportMetric(float64(sources)/float64(i), "sources")
		})
	}
}
