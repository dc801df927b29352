package review

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"selvage"
	"selvage/internal/policy"
)

// BenchmarkCompare is what a preview costs: one more rule in a network of companies'
// kind.
func BenchmarkCompare(b *testing.B) {
	for _, s := range []struct{ nodes, users, groups, rules int }{{1_000, 300, 50, 200}, {10_000, 3_000, 300, 1_000}} {
		b.Run(fmt.Sprintf("nodes=%d,users=%d,groups=%d,rules=%d", s.nodes, s.users, s.groups, s.rules), func(b *testing.B) {
			rnd := rand.New(rand.NewPCG(1, 2))
			var groups, tags, rules strings.Builder
			for g := range s.groups {
				fmt.Fprintf(&groups, "\"group:g%d\": [", g)
				for range 5 + rnd.IntN(40) {
					fmt.Fprintf(&groups, "\"u%d@a.org\",", rnd.IntN(s.users))
				}
				groups.WriteString("],")
				fmt.Fprintf(&tags, "\"tag:t%d\": [],", g)
			}
			for range s.rules {
				fmt.Fprintf(&rules, "{\"src\": [\"group:g%d\"], \"dst\": [\"tag:t%d\"], \"ip\": [\"tcp:%d\"]},", rnd.IntN(s.groups), rnd.IntN(s.groups), 1+rnd.IntN(65535))
			}
			var people []policy.Person
			for i := range s.users {
				people = append(people, policy.Person{ID: selvage.UserID(i + 1), Login: fmt.Sprintf("u%d@a.org", i), Role: selvage.RoleMember})
			}
			var nodes []Node
			for i := range s.nodes {
				d := Node{Name: fmt.Sprintf("n%d", i), Approved: true, Online: true}
				d.Node = selvage.NodeID(i + 1)
				d.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)})}
				if i%3 == 0 {
					d.Tags = []string{fmt.Sprintf("tag:t%d", rnd.IntN(s.groups))}
				} else {
					d.User = selvage.UserID(1 + rnd.IntN(s.users))
				}
				nodes = append(nodes, d)
			}
			under := func(more string) *Network {
				pol, err := policy.Parse(fmt.Sprintf(`{"groups": {%s}, "tagOwners": {%s}, "grants": [%s %s]}`, groups.String(), tags.String(), rules.String(), more))
				if err != nil {
					b.Fatal(err)
				}
				return New(pol, pol.Compile(people), people, nodes)
			}
			before, after := under(""), under(`{"src": ["group:g1"], "dst": ["tag:t2"], "ip": ["tcp:9"]}`)
			var d *Diff
			for b.Loop() {
				d = Compare(before, after)
			}
			b.ReportMetric(float64(len(d.Changes)), "changes")
			b.ReportMetric(float64(d.Messages), "messages")
		})
	}
}
