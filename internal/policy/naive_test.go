package policy

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"selvage"
)

// naivePolicy is a policy in the plainest form, with an evaluator that looks at one
// pair of devices at a time. It shares no code with the package.
type naivePolicy struct {
	Groups    map[string][]string `json:"groups"`
	TagOwners map[string][]string `json:"tagOwners"`
	Hosts     map[string]string   `json:"hosts"`
	Grants    []naiveGrant        `json:"grants"`
	Postures  map[string][]string `json:"postures"`

	people []Person
}

type naiveGrant struct {
	Src []string         `json:"src"`
	Dst []string         `json:"dst"`
	IP  []string         `json:"ip,omitempty"`
	App map[string][]any `json:"app,omitempty"`
	Via []string         `json:"via,omitempty"`

	SrcPosture []string `json:"srcPosture,omitempty"`
}

var (
	naiveLogins = []string{"ann@a.org", "bob@a.org", "cid@b.org", "dan", "eve@b.org"}
	naiveTags   = []string{"tag:web", "tag:db", "tag:router", "tag:exit"}
	naiveHosts  = map[string]string{"lan": "10.1.0.0/16", "box": "100.64.0.3", "some": "100.64.0.2-100.64.0.5"}
	naiveRoutes = []netip.Prefix{
		netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.1.2.0/24"), netip.MustParsePrefix("192.168.7.0/24"),
		netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"),
	}
)

func drawNaive(t *rapid.T) *naivePolicy {
	logins := rapid.SliceOfNDistinct(rapid.SampledFrom(naiveLogins), 0, 3, rapid.ID)
	n := &naivePolicy{
		Groups:    map[string][]string{"group:one": logins.Draw(t, "group one"), "group:two": logins.Draw(t, "group two")},
		TagOwners: map[string][]string{},
		Hosts:     naiveHosts,
		Grants:    []naiveGrant{},
		Postures:  map[string][]string{"posture:linux": {"node:os == 'linux'"}, "posture:new": {"node:tsVersion >= '1.80'", "node:os != 'windows'"}},
	}
	for _, tag := range naiveTags {
		n.TagOwners[tag] = []string{}
	}
	for i, login := range naiveLogins {
		role := rapid.SampledFrom(selvage.Roles()).Draw(t, "role")
		n.people = append(n.people, Person{ID: selvage.UserID(i + 1), Login: login, Role: role})
	}
	people := []string{
		"ann@a.org", "bob@a.org", "dan", "nobody@a.org", "group:one", "group:two", "user:*@b.org",
		"autogroup:member", "autogroup:admin", "autogroup:auditor",
	}
	others := []string{"*", "autogroup:tagged", "tag:web", "tag:db", "tag:router", "tag:exit", "lan", "box", "some", "10.1.2.3", "192.168.0.0/16", "100.64.0.1", "fd7a:115c:a1e0::2"}
	for range rapid.IntRange(0, 6).Draw(t, "grants") {
		var g naiveGrant
		src, dst := slices.Concat(people, others), slices.Concat(people, others, []string{"autogroup:internet"})
		if rapid.IntRange(0, 3).Draw(t, "self") == 0 {
			src, dst = people, append(dst, "autogroup:self", "autogroup:self", "autogroup:self", "autogroup:self", "autogroup:self")
		}
		g.Src = rapid.SliceOfN(rapid.SampledFrom(src), 1, 3).Draw(t, "src")
		g.Dst = rapid.SliceOfN(rapid.SampledFrom(dst), 1, 3).Draw(t, "dst")
		g.IP = rapid.SliceOfN(rapid.SampledFrom([]string{"*", "22", "80-90", "tcp:443", "udp:53", "tcp:1-100", "icmp:*", "gre:*"}), 1, 2).Draw(t, "ip")
		if rapid.IntRange(0, 3).Draw(t, "app") == 0 && !slices.Contains(g.Dst, "autogroup:internet") {
			g.App = map[string][]any{rapid.SampledFrom([]string{"a.org/cap", "tailscale.com/cap/drive", "tailscale.com/cap/relay"}).Draw(t, "cap"): {map[string]any{"x": 1}}}
			if rapid.Bool().Draw(t, "only app") {
				g.IP = nil
			}
		}
		if rapid.IntRange(0, 3).Draw(t, "via") == 0 && !slices.Contains(g.Dst, "autogroup:self") {
			g.Dst = rapid.SliceOfN(rapid.SampledFrom([]string{"lan", "10.1.2.3", "100.64.0.1", "192.168.0.0/16", "tag:web", "*"}), 1, 3).Draw(t, "networks")
			if rapid.Bool().Draw(t, "internet") && g.App == nil {
				g.Dst = append(g.Dst, "autogroup:internet")
			}
			g.Via = rapid.SliceOfN(rapid.SampledFrom(naiveTags), 1, 2).Draw(t, "via tags")
		}
		if rapid.IntRange(0, 3).Draw(t, "posture") == 0 {
			g.SrcPosture = rapid.SliceOfN(rapid.SampledFrom([]string{"posture:linux", "posture:new"}), 1, 2).Draw(t, "postures")
		}
		n.Grants = append(n.Grants, g)
	}
	return n
}

func drawDevice(t *rapid.T, i int) Device {
	d := Device{
		Node:  selvage.NodeID(i),
		Addrs: []netip.Addr{netip.AddrFrom4([4]byte{100, 64, 0, byte(i)}), netip.MustParseAddr(fmt.Sprintf("fd7a:115c:a1e0::%x", i))},
	}
	if rapid.Bool().Draw(t, "tagged") {
		d.Tags = rapid.SliceOfNDistinct(rapid.SampledFrom(naiveTags), 1, 2, rapid.ID).Draw(t, "tags")
	} else {
		d.User = selvage.UserID(rapid.IntRange(1, len(naiveLogins)).Draw(t, "user"))
	}
	if rapid.IntRange(0, 2).Draw(t, "serves") == 0 {
		d.Routes = rapid.SliceOfNDistinct(rapid.SampledFrom(naiveRoutes), 0, 3, rapid.ID).Draw(t, "routes")
	}
	d.Attrs = rapid.SampledFrom(naiveAttrs).Draw(t, "attributes")
	return d
}

// naiveAttrs are what the devices of tests may say of themselves.
var naiveAttrs = []map[string]any{
	nil, {}, {"node:os": "linux"}, {"node:os": "macos", "node:tsVersion": "1.84.0"}, {"node:os": "windows", "node:tsVersion": "1.84.0"}, {"node:os": "linux", "node:tsVersion": "1.20"},
}

// passes reports whether the device has a posture that the grant asks for.
func (n *naivePolicy) passes(g naiveGrant, d Device) bool {
	os, version := d.Attrs["node:os"], d.Attrs["node:tsVersion"]
	return len(g.SrcPosture) == 0 || slices.Contains(g.SrcPosture, "posture:linux") && os == "linux" ||
		slices.Contains(g.SrcPosture, "posture:new") && os != nil && os != "windows" && version == "1.84.0"
}

// from reports whether the device is a source of the grant. What is behind a router
// has no posture.
func (n *naivePolicy) from(g naiveGrant, d Device) bool {
	if len(g.SrcPosture) > 0 {
		d.Routes = nil
	}
	return n.passes(g, d) && n.isAny(g.Src, d)
}

func (n *naivePolicy) text() string {
	b, err := json.Marshal(n)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// is reports whether a selector, other than autogroup:self, names the device.
func (n *naivePolicy) is(sel string, d Device) bool {
	if h, ok := n.Hosts[sel]; ok {
		sel = h
	}
	tagged := len(d.Tags) > 0
	switch {
	case sel == "*":
		return true
	case sel == "autogroup:tagged":
		return tagged
	case strings.HasPrefix(sel, "tag:"):
		return slices.Contains(d.Tags, sel)
	case sel == "autogroup:internet":
		return slices.ContainsFunc(d.Routes, func(r netip.Prefix) bool { return r.Bits() == 0 })
	case strings.ContainsAny(sel[:1], "0123456789") || strings.HasPrefix(sel, "fd"):
		return n.covers(sel, d)
	}
	if tagged {
		return false
	}
	p := n.people[d.User-1]
	switch {
	case sel == "autogroup:member":
		return true
	case sel == "autogroup:admin":
		return p.Role == selvage.RoleAdmin || p.Role == selvage.RoleOwner
	case sel == "autogroup:auditor":
		return p.Role == selvage.RoleAuditor
	case strings.HasPrefix(sel, "group:"):
		return slices.Contains(n.Groups[sel], p.Login)
	case strings.HasPrefix(sel, "user:*"):
		return strings.HasSuffix(p.Login, sel[len("user:*"):])
	}
	return p.Login == sel
}

// covers reports whether an address, network or range has an address of the device
// or one that it serves.
func (n *naivePolicy) covers(sel string, d Device) bool {
	first, last := naiveRange(sel)
	for _, a := range d.Addrs {
		if first.Compare(a) <= 0 && a.Compare(last) <= 0 && a.Is4() == first.Is4() {
			return true
		}
	}
	for _, r := range d.Routes {
		f, l := naiveRange(r.String())
		if r.Bits() > 0 && f.Compare(last) <= 0 && first.Compare(l) <= 0 && f.Is4() == first.Is4() {
			return true
		}
	}
	return false
}

func naiveRange(s string) (first, last netip.Addr) {
	if a, b, ok := strings.Cut(s, "-"); ok {
		return netip.MustParseAddr(a), netip.MustParseAddr(b)
	}
	if !strings.Contains(s, "/") {
		return netip.MustParseAddr(s), netip.MustParseAddr(s)
	}
	p := netip.MustParsePrefix(s)
	b := p.Addr().AsSlice()
	for i := range b {
		for bit := range 8 {
			if i*8+bit >= p.Bits() {
				b[i] |= 0x80 >> bit
			}
		}
	}
	last, _ = netip.AddrFromSlice(b)
	return p.Addr(), last
}

func (n *naivePolicy) isAny(sels []string, d Device) bool {
	return slices.ContainsFunc(sels, func(s string) bool { return n.is(s, d) })
}

// reaches reports whether a grant lets a do something to b.
func (n *naivePolicy) reaches(g naiveGrant, a, b Device) bool {
	if !n.from(g, a) {
		return false
	}
	return slices.ContainsFunc(g.Dst, func(s string) bool { return n.target(g, s, a, b) })
}

func (n *naivePolicy) target(g naiveGrant, s string, a, b Device) bool {
	if len(g.Via) > 0 {
		carried := n.isLiteral(s) || s == "autogroup:internet"
		return carried && n.isAny(g.Via, b) && n.is(s, Device{Routes: b.Routes})
	}
	if s == "autogroup:self" {
		return len(a.Tags) == 0 && len(b.Tags) == 0 && a.User == b.User
	}
	return n.is(s, b)
}

func (n *naivePolicy) sees(a, b Device) bool {
	return slices.ContainsFunc(n.Grants, func(g naiveGrant) bool { return n.reaches(g, a, b) || n.reaches(g, b, a) })
}

// opens reports whether a packet from an address of a, or of what it serves, to an
// address of b, or of what that serves, is let through.
func (n *naivePolicy) opens(a, b Device, from, to netip.Addr, proto, port int) bool {
	fromOwn, toOwn := slices.Contains(a.Addrs, from), slices.Contains(b.Addrs, to)
	for _, g := range n.Grants {
		if !slices.ContainsFunc(g.Src, func(s string) bool { return n.sends(g, s, a, from, fromOwn) }) {
			continue
		}
		for _, s := range g.Dst {
			if !n.target(g, s, a, b) || !n.receives(g, s, a, b, to, fromOwn, toOwn) {
				continue
			}
			if slices.ContainsFunc(g.IP, func(ip string) bool { return naiveIP(ip, proto, port) }) {
				return true
			}
		}
	}
	return false
}

// sends reports whether the address, of a or of what it serves, is a source that
// the selector names.
func (n *naivePolicy) sends(g naiveGrant, s string, a Device, from netip.Addr, own bool) bool {
	switch {
	case len(g.SrcPosture) > 0:
		return own && n.passes(g, a) && n.is(s, Device{User: a.User, Tags: a.Tags, Addrs: a.Addrs})
	case n.isLiteral(s):
		return n.covers(n.literal(s), Device{Addrs: []netip.Addr{from}})
	case s == "*":
		return own || n.servesSubnet(a, from)
	}
	return own && n.is(s, a)
}

func (n *naivePolicy) receives(g naiveGrant, s string, a, b Device, to netip.Addr, fromOwn, own bool) bool {
	switch {
	case n.isLiteral(s):
		return n.is(s, b) && n.covers(n.literal(s), Device{Addrs: []netip.Addr{to}})
	case s == "*":
		return true
	case s == "autogroup:internet":
		public := !to.IsPrivate() && to != netip.MustParseAddr("fd00::1") && !netip.MustParsePrefix("100.64.0.0/10").Contains(to)
		return public && n.is(s, b)
	case s == "autogroup:self":
		return fromOwn && own && n.target(g, s, a, b)
	}
	return own && n.is(s, b)
}

// servesSubnet reports whether the device serves the address other than as an exit
// node.
func (n *naivePolicy) servesSubnet(d Device, a netip.Addr) bool {
	return slices.ContainsFunc(d.Routes, func(r netip.Prefix) bool { return r.Bits() > 0 && r.Contains(a) })
}

func (n *naivePolicy) literal(s string) string {
	if h, ok := n.Hosts[s]; ok {
		return h
	}
	return s
}

func (n *naivePolicy) isLiteral(s string) bool {
	s = n.literal(s)
	return strings.ContainsAny(s[:1], "0123456789") || strings.HasPrefix(s, "fd")
}

// naiveIP reports whether an entry of "ip" opens a port.
func naiveIP(ip string, proto, port int) bool {
	icmp := proto == 1
	switch ip {
	case "*":
		return true
	case "22":
		return icmp || port == 22
	case "80-90":
		return icmp || port >= 80 && port <= 90
	case "tcp:443":
		return proto == 6 && port == 443
	case "udp:53":
		return proto == 17 && port == 53
	case "tcp:1-100":
		return proto == 6 && port >= 1 && port <= 100
	case "icmp:*":
		return icmp
	case "gre:*":
		return proto == 47
	}
	panic(ip)
}
