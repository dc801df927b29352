package review

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"selvage"
	"selvage/internal/policy"
)

var update = flag.Bool("update", false, "write the answers of testdata anew")

// office returns the devices of testdata/office.txtar.
func office() []Node {
	var out []Node
	add := func(name string, d policy.Device) *Node {
		i := len(out) + 1
		d.Node = selvage.NodeID(i)
		d.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{100, 64, 0, byte(i)}), netip.MustParseAddr(fmt.Sprintf("fd7a:115c:a1e0::%x", i))}
		out = append(out, Node{Device: d, Name: name, Approved: true, Online: true})
		return &out[len(out)-1]
	}
	add("ann-laptop", policy.Device{User: 1, Attrs: map[string]any{"node:os": "linux"}})
	add("ann-phone", policy.Device{User: 1, Attrs: map[string]any{"node:os": "ios"}})
	add("bob-old", policy.Device{User: 2}).Expired = true
	add("cid-mac", policy.Device{User: 3})
	add("web", policy.Device{Tags: []string{"tag:web"}})
	add("db", policy.Device{Tags: []string{"tag:db"}}).Online = false
	lan := netip.MustParsePrefix("10.1.0.0/16")
	r := add("router", policy.Device{Tags: []string{"tag:router"}, Routes: []netip.Prefix{lan}})
	r.Primary, r.Advertised = r.Routes, append(slices.Clone(r.Routes), netip.MustParsePrefix("192.168.7.0/24"))
	add("spare", policy.Device{Tags: []string{"tag:router"}, Routes: []netip.Prefix{lan}})
	add("exit", policy.Device{Tags: []string{"tag:router"}, Routes: selvage.ExitRoutes()})
	return out
}

// TestOffice asks the questions of testdata/office.txtar: each begins in the first
// column, and the lines of its answer with a tab.
func TestOffice(t *testing.T) {
	const file = "testdata/office.txtar"
	ar, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string]string)
	for _, f := range ar.Files {
		texts[f.Name] = string(f.Data)
	}
	under := func(name string) *Network {
		pol, err := policy.Parse(texts[name])
		if err != nil {
			t.Fatal(err)
		}
		return New(pol, pol.Compile(people()), people(), office())
	}
	var got strings.Builder
	for line := range strings.Lines(texts["answers"]) {
		if strings.HasPrefix(line, "\t") {
			continue
		}
		line = strings.TrimSpace(line)
		fmt.Fprintln(&got, line)
		for l := range strings.Lines(ask(under, texts, strings.Fields(line))) {
			got.WriteString("\t" + l)
		}
	}
	if *update {
		ar.Files[len(ar.Files)-1].Data = []byte(got.String())
		if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(texts["answers"], got.String()); diff != "" {
		t.Errorf("answers differ (-want +got):\n%s", diff)
	}
}

func ask(under func(string) *Network, texts map[string]string, f []string) string {
	n := under("policy")
	proto := map[string]int{"tcp": 6, "udp": 17, "icmp": 1}
	port := func(s string) uint16 {
		v, err := strconv.ParseUint(s, 10, 16)
		if err != nil {
			return 0
		}
		return uint16(v)
	}
	answer := func(s string, err error) string {
		if err != nil {
			return err.Error() + "\n"
		}
		return s
	}
	switch f[0] {
	case "lint":
		name := append(f, "policy")[1]
		return Text(Lint(texts[name], under(name)))
	case "diff":
		return Compare(n, under(f[1])).Text()
	case "markdown":
		return Compare(n, under(f[1])).Markdown()
	case "explain":
		a, err := n.Explain(Question{From: f[1], To: f[2], Proto: proto[f[3]], Port: port(f[4])})
		return answer(a.Text(), err)
	case "who":
		rs, err := n.Who(f[1], proto[f[2]], port(f[3]))
		return answer(ReachText(rs), err)
	case "reach":
		rs, err := n.Reach(f[1])
		return answer(ReachText(rs), err)
	case "rules":
		r, err := n.Rules(f[1])
		return answer(r.Text(), err)
	}
	return "unknown question\n"
}

func TestLintErrors(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{
			"group", "{\n\t\"grants\": [\n\t\t{\"src\": [\"group:ops\"], \"dst\": [\"*\"], \"ip\": [\"22\"]},\n\t],\n}",
			"policy:3:12: error: src=group not found: \"group:ops\"\n    {\"src\": [\"group:ops\"], \"dst\": [\"*\"], \"ip\": [\"22\"]},\n    fix: add \"group:ops\": [\"somebody@example.com\"] to \"groups\"\n",
		},
		{"syntax", "{\n\t\"grants\": [,],\n}", "policy:2:13: error: syntax:"},
		{"failing test", `{"grants": [], "tests": [{"src": "ann@a.org", "accept": ["10.0.0.1:22"]}]}`, "error: test(s) failed: ann@a.org must reach"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Text(Lint(tt.text, nil)); !strings.HasPrefix(got, tt.want) && !strings.Contains(got, tt.want) {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// TestShadows has pairs of rules, and whether the second is superfluous.
func TestShadows(t *testing.T) {
	const frame = `{"groups": {"group:g": ["ann@a.org"]}, "tagOwners": {"tag:a": [], "tag:b": []}, "postures": {"posture:p": ["node:os IS SET"], "posture:q": ["node:os == 'x'"]}, "grants": [%s, %s]}`
	for _, tt := range []struct {
		name, a, b string
		want       bool
	}{
		{"alike", `{"src": ["tag:a"], "dst": ["tag:b"], "ip": ["22"]}`, `{"src": ["tag:a"], "dst": ["tag:b"], "ip": ["22"]}`, true},
		{"fewer ports", `{"src": ["tag:a"], "dst": ["tag:b"], "ip": ["20-30"]}`, `{"src": ["tag:a"], "dst": ["tag:b"], "ip": ["22"]}`, true},
		{"one protocol", `{"src": ["tag:a"], "dst": ["tag:b"], "ip": ["22"]}`, `{"src": ["tag:a"], "dst": ["tag:b"], "ip": ["tcp:22"]}`, true},
		{"all protocols", `{"src": ["tag:a"], "dst": ["tag:b"], "ip": ["tcp:22"]}`, `{"src": ["tag:a"], "dst": ["tag:b"], "ip": ["22"]}`, false},
		{"another protocol", `{"src": ["tag:a"], "dst": ["tag:b"], "ip": ["*"]}`, `{"src": ["tag:a"], "dst": ["tag:b"], "ip": ["gre:*"]}`, false},
		{"everybody", `{"src": ["*"], "dst": ["tag:b"], "ip": ["22"]}`, `{"src": ["tag:a", "group:g"], "dst": ["tag:b"], "ip": ["22"]}`, true},
		{"members", `{"src": ["autogroup:member"], "dst": ["tag:b"], "ip": ["22"]}`, `{"src": ["group:g", "ann@a.org"], "dst": ["tag:b"], "ip": ["22"]}`, true},
		{"members and tags", `{"src": ["autogroup:member"], "dst": ["tag:b"], "ip": ["22"]}`, `{"src": ["tag:a"], "dst": ["tag:b"], "ip": ["22"]}`, false},
		{"network in network", `{"src": ["*"], "dst": ["10.0.0.0/8"], "ip": ["22"]}`, `{"src": ["*"], "dst": ["10.1.0.0/16", "10.2.0.1-10.2.0.9"], "ip": ["22"]}`, true},
		{"network around", `{"src": ["*"], "dst": ["10.1.0.0/16"], "ip": ["22"]}`, `{"src": ["*"], "dst": ["10.0.0.0/8"], "ip": ["22"]}`, false},
		{"internet", `{"src": ["*"], "dst": ["*"], "ip": ["22"]}`, `{"src": ["*"], "dst": ["autogroup:internet"], "ip": ["22"]}`, false},
		{"stricter posture", `{"src": ["*"], "dst": ["*"], "ip": ["22"], "srcPosture": ["posture:p"]}`, `{"src": ["*"], "dst": ["*"], "ip": ["22"]}`, false},
		{"looser posture", `{"src": ["*"], "dst": ["*"], "ip": ["22"]}`, `{"src": ["*"], "dst": ["*"], "ip": ["22"], "srcPosture": ["posture:p"]}`, true},
		{"via", `{"src": ["*"], "dst": ["10.0.0.0/8"], "ip": ["22"], "via": ["tag:a"]}`, `{"src": ["*"], "dst": ["10.0.0.0/8"], "ip": ["22"]}`, false},
		{"capability", `{"src": ["*"], "dst": ["*"], "ip": ["22"]}`, `{"src": ["*"], "dst": ["*"], "ip": ["22"], "app": {"a.org/x": [1]}}`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := false
			for _, f := range Lint(fmt.Sprintf(frame, tt.a, tt.b), nil) {
				got = got || strings.Contains(f.Msg, "grants[1]: grants[0] in line 1 already allows all of it")
			}
			if got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestFormat(t *testing.T) {
	got, err := Format("{ // why\n\"grants\":[ {\"src\":[\"*\"]} ] }")
	if err != nil || !strings.Contains(got, "// why") || !strings.Contains(got, `{"src": ["*"]}`) {
		t.Errorf("got %s, %v", got, err)
	}
	if again, err := Format(got); err != nil || again != got {
		t.Errorf("twice is %s, %v", again, err)
	}
	if _, err := Format("{"); selvage.KindOf(err) != selvage.KindInvalid {
		t.Errorf("got %v", err)
	}
}
