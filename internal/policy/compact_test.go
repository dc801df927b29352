package policy

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
	"tailscale.com/tailcfg"
	"tailscale.com/types/ipproto"

	"selvage"
)

// compact returns the compact filter of a device, in the order of its chunks.
func (w *world) compact(i int, members func(Class) []netip.Addr) []tailcfg.FilterRule {
	var rules []tailcfg.FilterRule
	for _, chunk := range w.c.CompactFilter(w.devices[i], w.classes[i], members, w.routes...) {
		rules = append(rules, chunk...)
	}
	return rules
}

// hasCap reports whether the device with the address has a capability as device i
// sees it, which a client looks up when a packet comes.
func (w *world) hasCap(i int) func(netip.Addr, tailcfg.NodeCapability) bool {
	return func(a netip.Addr, name tailcfg.NodeCapability) bool {
		j := slices.IndexFunc(w.devices, func(d Device) bool { return slices.Contains(d.Addrs, a) })
		return j >= 0 && j != i && w.c.Sees(w.classes[i], w.classes[j]) &&
			slices.Contains(w.c.PeerCaps(w.classes[i], w.classes[j]), name)
	}
}

// TestBothFormsAdmitTheSame sends packets through both filters of a device, as the
// client makes them, and compares the capabilities that they give.
func TestBothFormsAdmitTheSame(t *testing.T) {
	named := 0
	rapid.Check(t, func(t *rapid.T) {
		n, w := drawWorld(t)
		for j, b := range w.devices {
			expanded, compact := clientFilter(t, w, j), filterOf(t, w, j, w.compact(j, w.addrs), w.hasCap(j))
			for _, r := range w.compact(j, w.addrs) {
				if slices.ContainsFunc(r.SrcIPs, func(s string) bool { return s[:3] == "cap" }) {
					named++
				}
			}
			for i, a := range w.devices {
				if i == j {
					continue
				}
				for _, from := range ends(a) {
					for _, to := range ends(b) {
						if from.Is4() != to.Is4() {
							continue
						}
						if x, y := expanded.CapsWithValues(from, to), compact.CapsWithValues(from, to); !cmp.Equal(x, y) {
							t.Fatalf("%v to %v: capabilities %v and %v\n%s", from, to, x, y, n.text())
						}
						icmp := ipproto.ICMPv4
						if from.Is6() {
							icmp = ipproto.ICMPv6
						}
						for _, proto := range []ipproto.Proto{ipproto.TCP, ipproto.UDP, ipproto.SCTP, ipproto.GRE, icmp} {
							port := rapid.SampledFrom([]uint16{22, 53, 80, 443, 65535}).Draw(t, "port")
							x, y := expanded.Check(from, to, port, proto), compact.Check(from, to, port, proto)
							if x != y {
								t.Fatalf("%v to %v %v port %d: expanded %v, compact %v\n%s\n%s\n%s", from, to, proto, port, x, y,
									mustJSON(w.filter(j)), mustJSON(w.compact(j, w.addrs)), n.text())
							}
						}
					}
				}
			}
		}
	})
	if named == 0 {
		t.Error("no filter named its sources by a capability")
	}
}

// TestCompactFeeds checks that CompactFeeds says whose addresses a compact filter
// has.
func TestCompactFeeds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, w := drawWorld(t)
		for j, d := range w.devices {
			asked := make(map[Class]bool)
			w.compact(j, func(k Class) []netip.Addr { asked[k] = true; return w.members[k] })
			for k := range Class(w.c.Classes()) {
				if got := w.c.CompactFeeds(k, d, w.classes[j]); got != asked[k] {
					t.Fatalf("class %d feeds device %d: %v\n%s", k, j, got, n.text())
				}
			}
		}
	})
}

// TestJoinChangesNoCompactFilter is what the form is for.
func TestJoinChangesNoCompactFilter(t *testing.T) {
	c := compiled(t, `{"groups": {"group:ops": ["ann@a.org", "bob@a.org"]}, "tagOwners": {"tag:web": []}, "grants": [
		{"src": ["group:ops"], "dst": ["tag:web"], "ip": ["tcp:22", "443"]},
		{"src": ["group:ops"], "dst": ["10.0.0.0/8"], "ip": ["tcp:22"]},
		{"src": ["autogroup:member"], "dst": ["autogroup:self"], "ip": ["*"]}]}`,
		Person{1, "ann@a.org", selvage.RoleMember}, Person{2, "bob@a.org", selvage.RoleMember})
	w := newWorld(c)
	device := func(i byte, d Device) {
		d.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{100, 64, 0, i})}
		w.add(d)
	}
	device(1, Device{User: 1})
	device(2, Device{Tags: []string{"tag:web"}})
	device(3, Device{Tags: []string{"tag:web"}, Routes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}})
	chunks := func(i int) map[string][]tailcfg.FilterRule {
		return c.CompactFilter(w.devices[i], w.classes[i], w.addrs)
	}
	before := []map[string][]tailcfg.FilterRule{chunks(0), chunks(1), chunks(2)}
	device(4, Device{User: 2})
	if diff := cmp.Diff(before[1], chunks(1)); diff != "" || len(before[1]) != 1 || before[1][chunkFixed] == nil {
		t.Errorf("the filter of a device changed: %s\n%v", diff, before[1])
	}
	if diff := cmp.Diff(before[0], chunks(0)); diff != "" || before[0][chunkOwn] == nil {
		t.Errorf("the filter of another's device changed: %s", diff)
	}
	if cmp.Equal(before[2], chunks(2)) {
		t.Error("the filter of a router has to name its sources, and did not change")
	}
}
