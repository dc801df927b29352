package review

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"go4.org/netipx"
	"pgregory.net/rapid"
	"tailscale.com/types/ipproto"
	"tailscale.com/types/logger"
	"tailscale.com/wgengine/filter"

	"selvage"
	"selvage/internal/policy"
)

var (
	someLogins = []string{"ann@a.org", "bob@a.org", "cid@b.org"}
	tags       = []string{"tag:web", "tag:db", "tag:router"}
	nets       = []string{"10.1.0.0/16", "10.1.2.0/24", "192.168.7.0/24"}
)

// draft is a policy in the form in which tests draw it.
type draft struct {
	Groups    map[string][]string `json:"groups"`
	TagOwners map[string][]string `json:"tagOwners"`
	Postures  map[string][]string `json:"postures"`
	Grants    []map[string]any    `json:"grants"`
	SSH       []map[string]any    `json:"ssh"`
	NodeAttrs []map[string]any    `json:"nodeAttrs"`
}

func drawDraft(t *rapid.T) *draft {
	some := func(from []string, most int, what string) []string {
		return rapid.SliceOfN(rapid.SampledFrom(from), 1, most).Draw(t, what)
	}
	d := &draft{
		Groups:    map[string][]string{"group:one": rapid.SliceOfN(rapid.SampledFrom(someLogins), 0, 2).Draw(t, "group")},
		TagOwners: map[string][]string{},
		Postures:  map[string][]string{"posture:ok": {"node:os == 'linux'"}},
		Grants:    []map[string]any{},
		SSH:       []map[string]any{},
	}
	for _, tag := range tags {
		d.TagOwners[tag] = []string{}
	}
	people := append(slices.Clone(someLogins), "group:one", "autogroup:member")
	for range rapid.IntRange(0, 4).Draw(t, "grants") {
		g := map[string]any{
			"src": some(slices.Concat(people, tags, []string{"*", "10.1.0.0/16"}), 2, "src"),
			"dst": some(slices.Concat(people, tags, nets, []string{"*", "autogroup:internet", "10.1.2.3"}), 2, "dst"),
			"ip":  some([]string{"*", "22", "80-90", "tcp:443", "udp:53", "tcp:1-100"}, 2, "ip"),
		}
		switch rapid.IntRange(0, 6).Draw(t, "sort") {
		case 0:
			g["src"], g["dst"] = some(people, 2, "people"), []string{"autogroup:self"}
		case 1:
			g["dst"], g["via"] = some(nets, 2, "networks"), []string{"tag:router"}
		case 2:
			g["srcPosture"] = []string{"posture:ok"}
		case 3:
			g["dst"] = some(tags, 2, "tags")
			g["app"] = map[string]any{"a.org/cap": []any{rapid.IntRange(1, 2).Draw(t, "value")}}
		}
		d.Grants = append(d.Grants, g)
	}
	for range rapid.IntRange(0, 2).Draw(t, "ssh") {
		d.SSH = append(d.SSH, map[string]any{
			"action": rapid.SampledFrom([]string{"accept", "check"}).Draw(t, "action"),
			"src":    some(people, 2, "who"), "dst": some(append(slices.Clone(tags), "autogroup:self"), 2, "where"),
			"users": some([]string{"root", nonroot, "ubuntu", "localpart:*@a.org"}, 2, "users"),
		})
	}
	if rapid.Bool().Draw(t, "attributes") {
		d.NodeAttrs = []map[string]any{{"target": some(people, 2, "target"), "attr": []string{"funnel"}}}
	}
	return d
}

// change returns a draft with one thing changed, or a new one.
func (d *draft) change(t *rapid.T) *draft {
	n := *d
	n.Grants, n.SSH = slices.Clone(d.Grants), slices.Clone(d.SSH)
	other := drawDraft(t)
	switch rapid.IntRange(0, 4).Draw(t, "change") {
	case 0:
		n.Groups = other.Groups
	case 1:
		n.Grants = append(n.Grants, other.Grants...)
	case 2:
		n.Grants = n.Grants[:len(n.Grants)/2]
	case 3:
		n.SSH, n.NodeAttrs = other.SSH, other.NodeAttrs
	default:
		return other
	}
	return &n
}

func drawNodes(t *rapid.T) []Node {
	var out []Node
	for i := range rapid.IntRange(1, 6).Draw(t, "nodes") {
		d := Node{Name: fmt.Sprintf("n%d", i), Approved: true, Online: true}
		d.Node = selvage.NodeID(i + 1)
		d.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{100, 64, 0, byte(i + 1)}), netip.MustParseAddr(fmt.Sprintf("fd7a:115c:a1e0::%x", i+1))}
		if rapid.Bool().Draw(t, "tagged") {
			d.Tags = []string{rapid.SampledFrom(tags).Draw(t, "tag")}
			for _, r := range rapid.SliceOfNDistinct(rapid.SampledFrom(append(slices.Clone(nets), "0.0.0.0/0")), 0, 2, rapid.ID).Draw(t, "routes") {
				d.Routes = append(d.Routes, netip.MustParsePrefix(r))
			}
		} else {
			d.User = selvage.UserID(rapid.IntRange(1, len(someLogins)).Draw(t, "user"))
		}
		if rapid.Bool().Draw(t, "linux") {
			d.Attrs = map[string]any{"node:os": "linux"}
		}
		out = append(out, d)
	}
	return out
}

func people() []policy.Person {
	var out []policy.Person
	for i, login := range someLogins {
		out = append(out, policy.Person{ID: selvage.UserID(i + 1), Login: login, Role: selvage.RoleMember})
	}
	return out
}

type fataler interface{ Fatalf(string, ...any) }

func underPolicy(t fataler, d *draft, nodes []Node) *Network {
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatalf("%v", err)
	}
	// The service refuses grants of capabilities to autogroup:internet.
	pol, err := policy.Parse(string(b))
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	return New(pol, pol.Compile(people()), people(), nodes)
}

// same reports whether two lists of boxes have the same in them.
func same(a, b []box) bool { return len(subtract(a, b)) == 0 && len(subtract(b, a)) == 0 }

// TestDiffAppliedToReach checks that what A allows, less what the difference loses
// and with what it gains, is what B allows, for each pair of devices; and who gets a
// message.
func TestDiffAppliedToReach(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawDraft(t)
		b := a.change(t)
		nodes := drawNodes(t)
		old, now := underPolicy(t, a, nodes), underPolicy(t, b, nodes)
		d := Compare(old, now)
		found := make(map[[2]int]pair)
		for _, p := range d.pairs {
			for _, i := range p.from {
				found[[2]int{i, p.to}] = p
			}
		}
		told := 0
		for i := range nodes {
			if messageDue(old, now, i) {
				told++
			}
			for j := range nodes {
				if i == j {
					continue
				}
				p := found[[2]int{i, j}]
				before := boxes(old.c.Openings(nodes[i].Device, nodes[j].Device))
				after := boxes(now.c.Openings(nodes[i].Device, nodes[j].Device))
				if got := append(subtract(before, p.lost), p.gained...); !same(got, after) {
					t.Fatalf("%d to %d: %v less %v with %v is not %v\n%s\n%s", i, j, before, p.lost, p.gained, after, old.pol.Text(), now.pol.Text())
				}
				had, has := old.sshUsers(i, j), now.sshUsers(i, j)
				got := append(minus(had, p.sshLost), p.sshGained...)
				if slices.Sort(got); !slices.Equal(got, has) {
					t.Fatalf("%d to %d: ssh %v less %v with %v is not %v\n%s\n%s", i, j, had, p.sshLost, p.sshGained, has, old.pol.Text(), now.pol.Text())
				}
			}
		}
		if d.Messages != told {
			t.Fatalf("%d messages, want %d\n%s\n%s", d.Messages, told, old.pol.Text(), now.pol.Text())
		}
		for _, s := range []string{d.Text(), d.Markdown(), mustJSON(d)} {
			if s == "" {
				t.Fatalf("a renderer wrote nothing")
			}
		}
	})
}

// messageDue reports whether a device is sent anything else by the other policy.
func messageDue(old, now *Network, i int) bool {
	sent := func(n *Network) string {
		out := mustJSON(n.c.Filter(n.nodes[i].Device, n.classes[i], n.addrs, n.routes...)) + mustJSON(n.c.CapMap(n.nodes[i].Device))
		if n.c.HasSSH(n.classes[i]) {
			out += mustJSON(n.c.SSH(n.nodes[i].Device, n.classes[i], n.addrs))
		}
		for j, peer := range n.nodes {
			if i == j || !n.c.Sees(n.classes[i], n.classes[j]) {
				continue
			}
			out += peer.Name
		}
		for _, r := range append(slices.Clone(nets), "0.0.0.0/0") {
			route := netip.MustParsePrefix(r)
			var routers []int
			var classes []policy.Class
			for j, peer := range n.nodes {
				if slices.Contains(peer.Routes, route) {
					routers, classes = append(routers, j), append(classes, n.classes[j])
				}
			}
			if at := n.c.Carrier(n.classes[i], route, classes); at >= 0 && route.Bits() > 0 {
				out += fmt.Sprint(route, routers[at])
			}
			for x := range routers {
				if route.Bits() == 0 && n.c.ExitVia(n.classes[i], classes[x]) {
					out += fmt.Sprint("exit", routers[x])
				}
			}
		}
		return out
	}
	return sent(old) != sent(now)
}

// TestExplainAgreesWithTheFilter sends packets to the filter that a client makes.
func TestExplainAgreesWithTheFilter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := drawNodes(t)
		n := underPolicy(t, drawDraft(t), nodes)
		j := rapid.IntRange(0, len(nodes)-1).Draw(t, "to")
		dst := nodes[j]
		rules := n.c.Filter(dst.Device, n.classes[j], n.addrs, n.routes...)
		matches, err := filter.MatchesFromFilterRules(rules)
		if err != nil {
			t.Fatalf("%v", err)
		}
		var local netipx.IPSetBuilder
		ends := slices.Clone(dst.Addrs)
		for _, a := range dst.Addrs {
			local.Add(a)
		}
		for _, r := range dst.Routes {
			local.AddPrefix(r)
		}
		for _, s := range []string{"10.1.0.9", "10.1.2.3", "192.168.7.7", "8.8.8.8"} {
			ends = append(ends, netip.MustParseAddr(s))
		}
		locals, err := local.IPSet()
		if err != nil {
			t.Fatalf("%v", err)
		}
		f := filter.New(matches, nil, locals, locals, nil, logger.Discard)
		for i, src := range nodes {
			if i == j {
				continue
			}
			to := rapid.SampledFrom(ends).Draw(t, "to")
			from := src.Addrs[0]
			if to.Is6() {
				from = src.Addrs[1]
			}
			icmp := ipproto.ICMPv4
			if to.Is6() {
				icmp = ipproto.ICMPv6
			}
			proto := rapid.SampledFrom([]ipproto.Proto{ipproto.TCP, ipproto.UDP, icmp}).Draw(t, "proto")
			port := rapid.SampledFrom([]uint16{1, 22, 53, 80, 90, 443, 65535}).Draw(t, "port")
			a, _ := n.explain(src, dst, to, Question{To: to.String(), Proto: int(proto), Port: port})
			if got := f.Check(from, to, port, proto) == filter.Accept; got != a.Allowed {
				t.Fatalf("%v to %v %v %d: filter %v, explained %s\n%s\n%s", from, to, proto, port, got, a.Text(), mustJSON(rules), n.pol.Text())
			}
			if a.Rule != nil && a.Allowed == (len(a.Lacks) > 0) {
				t.Fatalf("allowed %v, and lacks %v", a.Allowed, a.Lacks)
			}
		}
	})
}

// TestBoxes checks the arithmetic of boxes by points.
func TestBoxes(t *testing.T) {
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}) }
	rapid.Check(t, func(t *rapid.T) {
		draw := func(what string) []box {
			var out []box
			for range rapid.IntRange(0, 4).Draw(t, what) {
				a, b := rapid.IntRange(0, 6).Draw(t, "a"), rapid.IntRange(0, 6).Draw(t, "b")
				p, q := rapid.Uint16Range(0, 6).Draw(t, "p"), rapid.Uint16Range(0, 6).Draw(t, "q")
				x := box{rng: netipx.IPRangeFrom(addr(min(a, b)), addr(max(a, b))), proto: rapid.SampledFrom([]int{6, 17}).Draw(t, "proto"), first: min(p, q), last: max(p, q)}
				if rapid.IntRange(0, 5).Draw(t, "kind") == 0 {
					x.kind, x.rng = isInternet, netipx.IPRange{}
				}
				out = append(out, x)
			}
			return out
		}
		a, b := draw("a"), draw("b")
		has := func(bs []box, p box) int {
			n := 0
			for _, x := range bs {
				if x.kind == p.kind && x.proto == p.proto && x.first <= p.first && p.first <= x.last && (x.kind != isRange || x.rng.Contains(p.rng.From())) {
					n++
				}
			}
			return n
		}
		diff, flat := subtract(a, b), normal(a)
		for i := range 7 {
			for port := range uint16(7) {
				for _, proto := range []int{6, 17} {
					for _, k := range []kind{isRange, isInternet} {
						p := box{kind: k, rng: netipx.IPRangeFrom(addr(i), addr(i)), proto: proto, first: port}
						if got, want := has(diff, p) > 0, has(a, p) > 0 && has(b, p) == 0; got != want {
							t.Fatalf("%v less %v is %v, wrong at %v", a, b, diff, p)
						}
						if got, want := has(flat, p), min(1, has(a, p)); got != want {
							t.Fatalf("%v is %v, wrong at %v", a, flat, p)
						}
					}
				}
			}
		}
	})
}

func TestCell(t *testing.T) {
	if got := cell("a|b<script>\n`x`"); strings.ContainsAny(got, "<>\n`") || !strings.Contains(got, `a\|b`) {
		t.Errorf("got %s", got)
	}
}

// FuzzLint feeds arbitrary texts to what people see of them.
func FuzzLint(f *testing.F) {
	for _, s := range policy.Samples() {
		f.Add(s.Text)
	}
	for _, s := range []string{"", "{", `{"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}, {"src": ["10.0.0.0/8"], "dst": ["10.0.0.1"], "ip": ["tcp:1-2"]}]}`} {
		f.Add(s)
	}
	nodes := []Node{
		{Name: "a", Device: policy.Device{Node: 1, User: 1, Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.1")}}},
		{Name: "b", Device: policy.Device{Node: 2, Tags: []string{"tag:b"}, Addrs: []netip.Addr{netip.MustParseAddr("100.64.0.2")}, Routes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}},
	}
	empty, err := policy.Parse(`{"grants": []}`)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		found := Lint(text, nil)
		Text(found)
		pol, err := policy.Parse(text)
		if err != nil {
			if len(found) == 0 || found[0].Severity == "" {
				t.Fatalf("refused, and nothing found: %v", err)
			}
			return
		}
		laid, err := Format(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := policy.Parse(laid); err != nil {
			t.Fatalf("%v after the layout of %q: %q", err, text, laid)
		}
		n := New(pol, pol.Compile(people()), people(), nodes)
		Lint(text, n)
		d := Compare(New(empty, empty.Compile(people()), people(), nodes), n)
		if d.Text() == "" || d.Markdown() == "" {
			t.Fatal("a renderer wrote nothing")
		}
		for _, to := range []string{"b", "10.1.2.3", "100.64.0.2"} {
			if a, err := n.Explain(Question{From: "a", To: to, Proto: 6, Port: 22}); err != nil || a.Text() == "" {
				t.Fatalf("%v", err)
			}
		}
	})
}
