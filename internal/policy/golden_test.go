package policy

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go4.org/netipx"
	"tailscale.com/tailcfg"

	"selvage"
)

// The golden cases are what the hosted service sent to real clients for a policy.
// They lie outside of this repository; SELVAGE_GOLDEN_DIR says where. "by meaning"
// is the same access, peers and routes; "strict" the same rules in the same order.

// goldenExceptions are the cases that cannot hold, with the reason.
var goldenExceptions = map[string]string{
	"policytest-allpass-grants-only-tag-src-ipv6-literal-dst": "the capture has no rule where the policy's own test proves one; it was taken before the policy arrived",
}

// goldenStrict is how many of how many cases are equal in the strict form as well.
// It only ever goes up. Another set of cases is not held to it.
var goldenStrict = struct{ cases, strict int }{426, 426}

type goldenCase struct {
	Name   string
	Policy string
	Users  []struct {
		ID    selvage.UserID
		Name  string
		Email string
		Role  string
	}
	Nodes  []goldenNode
	Expect struct {
		Status int
		Error  string
		Nodes  map[string]struct {
			Filter []tailcfg.FilterRule
			SSH    []*tailcfg.SSHRule
			Self   struct {
				Caps tailcfg.NodeCapMap
			}
			Peers map[string]struct{ Routes []netip.Prefix }
		}
	}
}

type goldenNode struct {
	Name, User     string
	Tags           []string
	IPv4, IPv6     netip.Addr
	RoutableIPs    []netip.Prefix `json:"routable_ips"`
	ApprovedRoutes []netip.Prefix `json:"approved_routes"`
}

func goldenDir(t *testing.T) string {
	dir := os.Getenv("SELVAGE_GOLDEN_DIR")
	if dir == "" {
		dir = "../../../shared/golden"
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skip("no golden cases; set SELVAGE_GOLDEN_DIR")
	}
	return dir
}

func TestGolden(t *testing.T) {
	dir := goldenDir(t)
	var cases, meaning, strict int
	for _, kind := range []string{"acl", "grants", "routes", "policytests", "nodeattrs", "ssh", "sshtests"} {
		files, err := filepath.Glob(filepath.Join(dir, kind, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		var m, s int
		for _, f := range files {
			g := readGolden(t, f)
			byMeaning, strictly := g.check(kind)
			if len(strictly) == 0 {
				s++
			}
			for _, p := range strictly {
				t.Logf("%s/%s: %s", kind, g.Name, p)
			}
			if len(byMeaning) == 0 {
				m++
			} else if reason, ok := goldenExceptions[g.Name]; ok {
				t.Logf("%s/%s does not hold: %s", kind, g.Name, reason)
			} else {
				t.Errorf("%s/%s does not hold", kind, g.Name)
			}
		}
		t.Logf("%s: %d of %d by meaning, %d strict", kind, m, len(files), s)
		cases, meaning, strict = cases+len(files), meaning+m, strict+s
	}
	if cases == 0 {
		t.Errorf("no cases in %s", dir)
	}
	if cases == goldenStrict.cases && strict < goldenStrict.strict {
		t.Errorf("%d strict; there were %d", strict, goldenStrict.strict)
	}
	fmt.Printf("golden: %d of %d by meaning, %d strict\n", meaning, cases, strict)
}

func readGolden(t *testing.T, file string) *goldenCase {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	g := new(goldenCase)
	if err := json.Unmarshal(b, g); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return g
}

func (g *goldenCase) people() []Person {
	var people []Person
	for _, u := range g.Users {
		role, err := selvage.ParseRole(u.Role)
		if err != nil {
			role = selvage.RoleMember
		}
		people = append(people, Person{ID: u.ID, Login: cmp.Or(u.Email, u.Name), Role: role})
	}
	return people
}

// domain returns the domain of the tailnet's mail addresses, which is the owner's.
func (g *goldenCase) domain() string {
	for _, u := range g.Users {
		if u.Role == "owner" {
			_, domain, _ := strings.Cut(u.Email, "@")
			return domain
		}
	}
	return ""
}

// preferred returns the nodes in the order in which they carry a network that
// several serve. Who came first is not recorded, but shows in who has it in most of
// the captured maps.
func (g *goldenCase) preferred() []int {
	order, has := make([]int, len(g.Nodes)), make([]int, len(g.Nodes))
	for i, n := range g.Nodes {
		order[i] = i
		for _, viewer := range g.Expect.Nodes {
			has[i] += len(viewer.Peers[n.Name].Routes)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return has[b] - has[a] })
	return order
}

func (g *goldenCase) device(i int) Device {
	n := g.Nodes[i]
	d := Device{Node: selvage.NodeID(i + 1), Tags: n.Tags, Addrs: []netip.Addr{n.IPv4, n.IPv6}, Routes: n.ApprovedRoutes}
	for _, u := range g.Users {
		if n.User != "" && u.Name == n.User {
			d.User = u.ID
		}
	}
	return d
}

// check returns what differs by meaning, and what differs besides.
func (g *goldenCase) check(kind string) (meaning, strict []string) {
	pol, err := Parse(g.Policy)
	if err == nil {
		err = errors.Join(pol.Test(g.people()), pol.CheckDomains(g.domain()))
	}
	if g.Expect.Status != 200 {
		switch {
		case err == nil:
			meaning = append(meaning, "accepted; want "+g.Expect.Error)
		case !strings.Contains(err.Error(), g.Expect.Error) && kind != "nodeattrs":
			meaning = append(meaning, fmt.Sprintf("error %q; want %q", err, g.Expect.Error))
		}
		return meaning, append(strict, meaning...)
	}
	if err != nil {
		meaning = append(meaning, fmt.Sprintf("refused: %v", err))
		return meaning, meaning
	}
	c := pol.Compile(g.people())
	w := newWorld(c)
	for i := range g.Nodes {
		w.add(g.device(i))
	}
	w.order = g.preferred()
	for i, n := range g.Nodes {
		want, ok := g.Expect.Nodes[n.Name]
		if !ok {
			continue
		}
		d, k := w.devices[i], w.classes[i]
		got := w.filter(i)
		if diff := diffFilters(got, want.Filter); diff != "" {
			meaning = append(meaning, fmt.Sprintf("%s: filter\n%s", n.Name, diff))
		} else if a, b := strictFilter(got), strictFilter(want.Filter); a != b {
			strict = append(strict, fmt.Sprintf("%s: filter\n got %s\nwant %s", n.Name, a, b))
		}
		for j, peer := range g.Nodes {
			wantPeer, see := want.Peers[peer.Name]
			if j == i {
				continue
			}
			if c.Sees(k, w.classes[j]) != see {
				meaning = append(meaning, fmt.Sprintf("%s: sees %s: want %v", n.Name, peer.Name, see))
			} else if see {
				got := w.routesOf(i, j)
				for _, routes := range [][]netip.Prefix{got, wantPeer.Routes} {
					slices.SortFunc(routes, netip.Prefix.Compare)
				}
				if !slices.Equal(got, wantPeer.Routes) {
					meaning = append(meaning, fmt.Sprintf("%s: routes of %s: got %v, want %v", n.Name, peer.Name, got, wantPeer.Routes))
				}
			}
		}
		if kind == "ssh" || kind == "sshtests" {
			got := c.SSH(d, k, w.addrs)
			if a, b := sshText(got.Rules, d, true), sshText(want.SSH, d, true); a != b {
				meaning = append(meaning, fmt.Sprintf("%s: ssh\n got %s\nwant %s", n.Name, a, b))
			} else if a, b := sshText(got.Rules, d, false), sshText(want.SSH, d, false); a != b {
				strict = append(strict, fmt.Sprintf("%s: ssh\n got %s\nwant %s", n.Name, a, b))
			}
			if c.HasSSH(k) != (len(want.SSH) > 0) && len(sshText(want.SSH, d, true)) > 0 {
				meaning = append(meaning, fmt.Sprintf("%s: HasSSH %v", n.Name, c.HasSSH(k)))
			}
		}
		meaning = append(meaning, g.checkRest(kind, c, d, n, want.Self.Caps)...)
	}
	return meaning, append(strict, meaning...)
}

// checkRest compares approvals and node capabilities.
func (g *goldenCase) checkRest(kind string, c *Compiled, d Device, n goldenNode, caps tailcfg.NodeCapMap) []string {
	var out []string
	if kind == "routes" {
		for _, r := range n.RoutableIPs {
			if got, want := c.Approves(d, r), slices.Contains(n.ApprovedRoutes, r); got != want {
				out = append(out, fmt.Sprintf("%s: approves %v: %v", n.Name, r, got))
			}
		}
	}
	if kind == "nodeattrs" {
		got, want := c.CapMap(d), maps.Clone(caps)
		for _, m := range []tailcfg.NodeCapMap{got, want} {
			maps.DeleteFunc(m, func(name tailcfg.NodeCapability, _ []tailcfg.RawMessage) bool { return serverCap(string(name)) })
		}
		if a, b := mustJSON(got), mustJSON(want); a != b {
			out = append(out, fmt.Sprintf("%s: capabilities: got %s, want %s", n.Name, a, b))
		}
	}
	return out
}

// sshText writes SSH rules in a form to compare. The service adds, for rules with
// localpart, rules that let each source log in to itself; by meaning they are left
// out, as a device does not ask its own policy.
func sshText(rules []*tailcfg.SSHRule, d Device, meaning bool) string {
	var sb strings.Builder
	for _, r := range rules {
		var ps []string
		self := true
		for _, p := range r.Principals {
			ps = append(ps, p.NodeIP)
			self = self && slices.Contains(d.Addrs, netip.MustParseAddr(p.NodeIP))
		}
		if meaning && self {
			continue
		}
		slices.Sort(ps)
		fmt.Fprintf(&sb, "%v %v %s %v\n", ps, r.SSHUsers, mustJSON(r.Action), r.AcceptEnv)
	}
	return sb.String()
}

// serverCap reports whether the service gives the capability for other reasons
// than the policy.
func serverCap(name string) bool {
	for _, s := range []string{
		"default-auto-update", "cap/file-sharing", "cap/ssh", "cap/tailnet-lock", "probe-udp-lifetime",
		"ssh-behavior-v1", "ssh-env-vars", "store-appc-routes", "tailnet-display-name", "is-owner", "is-admin",
		"service-host", "warn-funnel-no-https", "max-key-duration", "native-ipv4",
	} {
		if strings.Contains(name, s) {
			return true
		}
	}
	return false
}

// world is a network of devices over a compiled policy.
type world struct {
	c       *Compiled
	devices []Device
	classes []Class
	members map[Class][]netip.Addr
	routes  []netip.Prefix
	order   []int // the devices in the order in which they carry routes; nil is that of devices
}

func newWorld(c *Compiled) *world { return &world{c: c, members: make(map[Class][]netip.Addr)} }

func (w *world) add(d Device) {
	k := w.c.Class(d)
	w.devices, w.classes = append(w.devices, d), append(w.classes, k)
	w.members[k] = append(w.members[k], d.Addrs...)
	w.routes = append(w.routes, d.Routes...)
}

func (w *world) filter(i int) []tailcfg.FilterRule {
	return w.c.Filter(w.devices[i], w.classes[i], w.addrs, w.routes...)
}

func (w *world) addrs(k Class) []netip.Addr { return w.members[k] }

// routesOf returns the routes that device i has by way of device j: those that j
// carries for it, and those that i serves as well and j carries for everybody.
func (w *world) routesOf(i, j int) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range w.devices[j].Routes {
		routers := w.routersOf(r)
		at := w.c.Carrier(w.classes[i], r, w.classesOf(routers))
		if slices.Contains(routers, i) {
			at = 0
		}
		if selvage.IsExitRoute(r) && w.c.ExitVia(w.classes[i], w.classes[j]) || at >= 0 && routers[at] == j {
			out = append(out, r)
		}
	}
	return out
}

// routersOf returns the devices that serve a route, the preferred first.
func (w *world) routersOf(r netip.Prefix) []int {
	var out []int
	for n := range w.devices {
		if w.order != nil {
			n = w.order[n]
		}
		if slices.Contains(w.devices[n].Routes, r) {
			out = append(out, n)
		}
	}
	return out
}

func (w *world) classesOf(devices []int) []Class {
	out := make([]Class, len(devices))
	for n, i := range devices {
		out[n] = w.classes[i]
	}
	return out
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// strictFilter writes rules in a form that is equal if they are equal up to the
// order of entries within a rule.
func strictFilter(rules []tailcfg.FilterRule) string {
	var sb strings.Builder
	for _, r := range rules {
		srcs := slices.Sorted(slices.Values(r.SrcIPs))
		var dsts []string
		for _, d := range r.DstPorts {
			dsts = append(dsts, fmt.Sprintf("%s:%d-%d", d.IP, d.Ports.First, d.Ports.Last))
		}
		slices.Sort(dsts)
		fmt.Fprintf(&sb, "%v -> %v proto %v", srcs, dsts, slices.Sorted(slices.Values(r.IPProto)))
		for _, g := range r.CapGrant {
			fmt.Fprintf(&sb, " cap %v %s", slices.SortedFunc(slices.Values(g.Dsts), netip.Prefix.Compare), capsJSON(g.CapMap))
		}
		sb.WriteString("\n")
	}
	return sb.String()
}

// capsJSON writes a capability map with its values parsed, so that spelling does
// not matter; no values and null are the same.
func capsJSON(m tailcfg.PeerCapMap) string {
	out := make(map[string][]any)
	for name, vals := range m {
		list := []any{}
		for _, v := range vals {
			var x any
			if err := json.Unmarshal([]byte(v), &x); err != nil {
				panic(err)
			}
			list = append(list, x)
		}
		out[string(name)] = list
	}
	return mustJSON(out)
}

// diffFilters compares two filters by meaning: what may be opened, by source,
// destination, protocol and port, and which capabilities are given.
func diffFilters(got, want []tailcfg.FilterRule) string {
	g, w := expand(got), expand(want)
	var out []string
	for _, k := range slices.Sorted(maps.Keys(g)) {
		if !g[k].covered(w[k]) {
			out = append(out, "too much: "+k+g[k].String())
		}
	}
	for _, k := range slices.Sorted(maps.Keys(w)) {
		if !w[k].covered(g[k]) {
			out = append(out, "missing: "+k+w[k].String())
		}
	}
	return strings.Join(out, "\n")
}

// access is pairs of sources and destinations.
type access []struct{ src, dst *netipx.IPSet }

func (a access) String() string {
	var s []string
	for _, x := range a {
		s = append(s, fmt.Sprint(x.src.Ranges(), "->", x.dst.Ranges()))
	}
	return strings.Join(s, " ")
}

// covered reports whether each pair of addresses of a is in b. It cuts the
// sources of b out of each source of a that reaches the same destinations.
func (a access) covered(b access) bool {
	for _, x := range a {
		for _, dst := range x.dst.Ranges() {
			var left netipx.IPSetBuilder
			left.AddSet(x.src)
			var one netipx.IPSetBuilder
			one.AddRange(dst)
			want, _ := one.IPSet()
			for _, y := range b {
				if containsSet(y.dst, want) {
					left.RemoveSet(y.src)
				}
			}
			if rest, _ := left.IPSet(); len(rest.Ranges()) > 0 {
				return false
			}
		}
	}
	return true
}

func containsSet(big, small *netipx.IPSet) bool {
	for _, r := range small.Ranges() {
		if !big.ContainsRange(r) {
			return false
		}
	}
	return true
}

// expand sorts what rules open by protocol, ports and capability.
func expand(rules []tailcfg.FilterRule) map[string]access {
	out := make(map[string]access)
	add := func(key string, srcs, dsts []string) {
		out[key] = append(out[key], struct{ src, dst *netipx.IPSet }{addrSet(srcs), addrSet(dsts)})
	}
	for _, r := range rules {
		protos := r.IPProto
		if len(protos) == 0 {
			protos = []int{6, 17, 1, 58}
		}
		for _, d := range r.DstPorts {
			for _, p := range protos {
				add(fmt.Sprintf("proto %d ports %d-%d: ", p, d.Ports.First, d.Ports.Last), r.SrcIPs, []string{d.IP})
			}
		}
		for _, g := range r.CapGrant {
			var dsts []string
			for _, d := range g.Dsts {
				dsts = append(dsts, d.String())
			}
			for name, vals := range g.CapMap {
				add(fmt.Sprintf("cap %s %s: ", name, capsJSON(tailcfg.PeerCapMap{name: vals})), r.SrcIPs, dsts)
			}
		}
	}
	return out
}

func addrSet(texts []string) *netipx.IPSet {
	var b netipx.IPSetBuilder
	for _, s := range texts {
		if s == "*" {
			for _, p := range selvage.ExitRoutes() {
				b.AddPrefix(p)
			}
			continue
		}
		rng, err := parseRange(s)
		if err != nil {
			panic(err)
		}
		b.AddRange(rng)
	}
	set, err := b.IPSet()
	if err != nil {
		panic(err)
	}
	return set
}
