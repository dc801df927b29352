package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"go4.org/netipx"
	"pgregory.net/rapid"
	"tailscale.com/tailcfg"
	"tailscale.com/types/ipproto"
	"tailscale.com/types/logger"
	"tailscale.com/wgengine/filter"

	"selvage"
)

// drawWorld draws a policy and a network of devices that joins it one by one.
func drawWorld(t *rapid.T) (*naivePolicy, *world) {
	n := drawNaive(t)
	pol, err := Parse(n.text())
	if err != nil {
		t.Fatalf("%v\n%s", err, n.text())
	}
	w := newWorld(pol.Compile(n.people))
	for i := range rapid.IntRange(1, 8).Draw(t, "devices") {
		w.add(drawDevice(t, i+1))
	}
	return n, w
}

// TestVisibilityIsThatOfPairs compares what is worked out between classes with what
// the rules say of each pair of devices.
func TestVisibilityIsThatOfPairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, w := drawWorld(t)
		for i, a := range w.devices {
			viewers := w.c.Viewers(w.classes[i])
			for j, b := range w.devices {
				got, want := w.c.Sees(w.classes[i], w.classes[j]), n.sees(a, b)
				if got != want {
					t.Fatalf("%+v sees %+v: got %v, want %v\n%s", a, b, got, want, n.text())
				}
				if back := w.c.Sees(w.classes[j], w.classes[i]); back != got {
					t.Fatalf("not symmetric: %+v %+v\n%s", a, b, n.text())
				}
				if slices.Contains(viewers, w.classes[j]) != got {
					t.Fatalf("viewers of %+v: %v\n%s", a, viewers, n.text())
				}
			}
		}
	})
}

// ends returns addresses that packets of the device, or of what it serves, may have.
func ends(d Device) []netip.Addr {
	out := slices.Clone(d.Addrs)
	for _, s := range []string{"10.1.0.9", "10.1.2.3", "10.1.2.9", "192.168.7.7", "8.8.8.8", "2001:db8::8"} {
		a := netip.MustParseAddr(s)
		if slices.ContainsFunc(d.Routes, func(r netip.Prefix) bool { return r.Contains(a) }) {
			out = append(out, a)
		}
	}
	return out
}

// clientFilter returns the filter that a client makes of its rules.
func clientFilter(t *rapid.T, w *world, i int) *filter.Filter {
	return filterOf(t, w, i, w.filter(i), nil)
}

// filterOf returns the filter that a client makes of some rules, where peers have
// capabilities.
func filterOf(t *rapid.T, w *world, i int, rules []tailcfg.FilterRule, has filter.CapTestFunc) *filter.Filter {
	matches, err := filter.MatchesFromFilterRules(rules)
	if err != nil {
		t.Fatalf("%v\n%s", err, mustJSON(rules))
	}
	var local netipx.IPSetBuilder
	for _, a := range ends(w.devices[i]) {
		local.Add(a)
	}
	locals, err := local.IPSet()
	if err != nil {
		t.Fatal(err)
	}
	return filter.New(matches, has, locals, locals, nil, logger.Discard)
}

// TestFiltersAreThoseOfPairs runs packets through the filter of the client and
// compares with the rules, and with Explain.
func TestFiltersAreThoseOfPairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, w := drawWorld(t)
		i := rapid.IntRange(0, len(w.devices)-1).Draw(t, "from")
		a := w.devices[i]
		for j, b := range w.devices {
			if i == j {
				continue
			}
			f := clientFilter(t, w, j)
			for range 8 {
				from, to := rapid.SampledFrom(ends(a)).Draw(t, "from"), rapid.SampledFrom(ends(b)).Draw(t, "to")
				if from.Is4() != to.Is4() || !slices.Contains(a.Addrs, from) && !n.servesSubnet(a, from) {
					continue
				}
				proto := rapid.SampledFrom([]ipproto.Proto{ipproto.TCP, ipproto.UDP}).Draw(t, "proto")
				port := rapid.SampledFrom([]int{1, 22, 53, 80, 90, 91, 443, 65535}).Draw(t, "port")
				// A source may be served by several devices, or be one and served.
				var want bool
				for _, x := range w.devices {
					want = want || slices.Contains(ends(x), from) && n.opens(x, b, from, to, int(proto), port)
				}
				got := f.Check(from, to, uint16(port), proto) == filter.Accept
				if got != want {
					t.Fatalf("%v (%+v) to %v (%+v) %v port %d: got %v, want %v\n%s\n%s", from, a, to, b, proto, port, got, want, mustJSON(w.filter(j)), n.text())
				}
				if !got || !n.opens(a, b, from, to, int(proto), port) {
					continue
				}
				if ok, _ := w.c.Explain(a, b, int(proto), uint16(port)); !ok {
					t.Fatalf("%v to %v %v port %d is open, but not explained\n%s", a, b, proto, port, n.text())
				}
				if !w.c.Sees(w.classes[i], w.classes[j]) {
					t.Fatalf("%v may send to %v and does not see it\n%s", a, b, n.text())
				}
			}
		}
	})
}

// TestNetworks compares the search for overlapping networks with looking at all.
func TestNetworks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		addr := func() netip.Addr {
			return netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "byte")})
		}
		rng := func() netipx.IPRange {
			a, b := addr(), addr()
			if b.Less(a) {
				a, b = b, a
			}
			return netipx.IPRangeFrom(a, b)
		}
		c := new(Compiled)
		nets := make(map[netipx.IPRange][]int)
		for i := range rapid.IntRange(0, 20).Draw(t, "networks") {
			nets[rng()] = []int{i}
		}
		c.indexNetworks(nets)
		q := rng()
		got, want := newBitset(64), newBitset(64)
		c.addNetworks(got, q.From(), q.To())
		for r, sets := range nets {
			if r.Overlaps(q) {
				want.setAll(sets)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v: got %b, want %b of %v", q, got, want, nets)
		}
	})
}

// TestFiltersNameTheirSources checks that Feeds and Sources say whose addresses a
// filter has: a model that heeds them sends a filter exactly when it changed.
func TestFiltersNameTheirSources(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, w := drawWorld(t)
		for j := range w.devices {
			k := w.classes[j]
			sources, depends := w.c.Sources(k)
			asked := make(map[Class]bool)
			rules := w.c.Filter(w.devices[j], k, func(s Class) []netip.Addr {
				asked[s] = true
				return w.members[s]
			}, w.routes...)
			for s := range Class(w.c.Classes()) {
				if got, want := w.c.Feeds(s, k), asked[s]; got != want {
					t.Fatalf("class %d feeds class %d: got %v, want %v\n%s\n%s", s, k, got, want, mustJSON(rules), n.text())
				}
				if slices.Contains(sources, s) != asked[s] {
					t.Fatalf("sources of class %d: %v; asked for %v\n%s", k, sources, asked, n.text())
				}
			}
			if len(sources) > 0 && !depends {
				t.Fatalf("class %d has sources and depends on nobody\n%s", k, n.text())
			}
			with := mustJSON(w.c.Filter(w.devices[j], k, w.addrs, netip.MustParsePrefix("172.30.0.0/16")))
			without := mustJSON(w.c.Filter(w.devices[j], k, w.addrs))
			if (with != without) != w.c.NeedsRoutes(k) {
				t.Fatalf("NeedsRoutes is %v\n%s\n%s\n%s", w.c.NeedsRoutes(k), with, without, n.text())
			}
		}
	})
}

// TestRoutesAreThoseOfRules checks UsesRoute against the rules, with a device that
// serves the route.
func TestRoutesAreThoseOfRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, w := drawWorld(t)
		for i, a := range w.devices {
			for _, r := range naiveRoutes {
				if got, want := w.c.UsesRoute(w.classes[i], r), n.usesRoute(a, r); got != want {
					t.Fatalf("%+v uses %v: got %v, want %v\n%s", a, r, got, want, n.text())
				}
			}
		}
	})
}

// usesRoute reports whether a grant goes from the device to the route or back. The
// route is a device of nobody's that has nothing but the route.
func (n *naivePolicy) usesRoute(a Device, r netip.Prefix) bool {
	router := Device{Routes: []netip.Prefix{r}}
	is := func(s string) bool {
		return s == "*" || s == "autogroup:internet" && selvage.IsExitRoute(r) || n.isLiteral(s) && n.is(s, router)
	}
	for _, g := range n.Grants {
		if n.from(g, a) && slices.ContainsFunc(g.Dst, func(s string) bool { return is(s) && (len(g.Via) == 0 || s != "*") }) {
			return true
		}
	}
	return n.hearsRoute(a, r)
}

// hearsRoute reports whether a grant goes from the route to the device.
func (n *naivePolicy) hearsRoute(a Device, r netip.Prefix) bool {
	router := Device{Routes: []netip.Prefix{r}}
	is := func(s string) bool { return s == "*" || n.isLiteral(s) && n.is(s, router) }
	for _, g := range n.Grants {
		back := slices.ContainsFunc(g.Dst, func(s string) bool { return s != "autogroup:self" && n.target(g, s, router, a) })
		if back && len(g.SrcPosture) == 0 && !selvage.IsExitRoute(r) && slices.ContainsFunc(g.Src, is) {
			return true
		}
	}
	return false
}

// TestClassesDoNotDependOnOrder shows the same devices in two orders: the answers
// are the same, and so are the filters.
func TestClassesDoNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, w := drawWorld(t)
		pol, err := Parse(n.text())
		if err != nil {
			t.Fatal(err)
		}
		o := newWorld(pol.Compile(n.people))
		for _, d := range slices.Backward(w.devices) {
			o.add(d)
		}
		last := len(w.devices) - 1
		for i := range w.devices {
			if a, b := mustJSON(w.filter(i)), mustJSON(o.filter(last-i)); a != b {
				t.Fatalf("filters differ:\n%s\n%s\n%s", a, b, n.text())
			}
			for j := range w.devices {
				same := w.classes[i] == w.classes[j]
				if same != (o.classes[last-i] == o.classes[last-j]) {
					t.Fatal(fmt.Sprint("classes differ: ", w.devices[i], w.devices[j]))
				}
			}
		}
	})
}
