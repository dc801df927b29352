package netmap_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/journal"
	"selvage/internal/netmap"
	"selvage/internal/store"
	"selvage/internal/store/storetest"
)

// The network that is measured.
const (
	benchNodes  = 10_000
	benchUsers  = 4_000
	benchGroups = 300
	benchTags   = 200
)

const openPolicy = `{"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]}`

// companyPolicy is like those of companies: one's own devices, groups that reach
// tags and networks, tags that reach tags.
func companyPolicy() string {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	b.WriteString(`{"groups": {`)
	for g := range benchGroups {
		fmt.Fprintf(&b, "\n\"group:g%d\": [", g)
		for range 5 + r.IntN(40) {
			fmt.Fprintf(&b, "%q,", fmt.Sprintf("user%d", r.IntN(benchUsers)))
		}
		b.WriteString("],")
	}
	b.WriteString("},\n\"tagOwners\": {")
	for i := range benchTags {
		fmt.Fprintf(&b, "\"tag:t%d\": [],", i)
	}
	b.WriteString("},\n\"grants\": [{\"src\": [\"autogroup:member\"], \"dst\": [\"autogroup:self\"], \"ip\": [\"*\"]},")
	for i := range 600 {
		src, dst := fmt.Sprintf("group:g%d", r.IntN(benchGroups)), fmt.Sprintf("tag:t%d", r.IntN(benchTags))
		switch i % 10 {
		case 0:
			src = fmt.Sprintf("tag:t%d", r.IntN(benchTags))
		case 2:
			dst = fmt.Sprintf("10.%d.0.0/16", r.IntN(256))
		}
		fmt.Fprintf(&b, "\n{\"src\": [%q], \"dst\": [%q], \"ip\": [\"tcp:443\"]},", src, dst)
	}
	b.WriteString("]}")
	return b.String()
}

// bench is a tailnet to measure, loaded from a database.
type bench struct {
	hub   *netmap.Hub
	net   *netmap.Net
	users []selvage.UserID
	nodes []selvage.NodeID
}

func newBench(b *testing.B, policy string) *bench {
	b.Helper()
	db := storetest.New(b)
	c := newClock()
	open := func() *bench {
		hub, err := netmap.Open(b.Context(), netmap.Options{DB: db, Logger: quiet, Now: c.Now})
		if err != nil {
			b.Fatal(err)
		}
		return &bench{hub: hub, net: hub.Nets()[0]}
	}
	w := open()
	err := w.net.Update(b.Context(), selvage.System(), func(tx *netmap.Tx) error { return fill(tx, policy) })
	if err != nil {
		b.Fatal(err)
	}
	for u := range benchUsers {
		w.users = append(w.users, selvage.UserID(u+2))
	}
	for n := range w.net.View().Nodes() {
		w.nodes = append(w.nodes, n.ID)
		_, err := w.net.Report(n.ID, func(s *selvage.Soft) {
			s.Hostinfo = hostinfo(int(n.ID))
			s.Disco, s.Cap, s.HomeDERP = key.NewDisco().Public(), 142, 900
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return w
}

func hostinfo(i int) *tailcfg.Hostinfo {
	return &tailcfg.Hostinfo{
		IPNVersion: "1.102.5", OS: "linux", OSVersion: "6.1", Hostname: fmt.Sprint("host", i), GoArch: "amd64",
		Services: []tailcfg.Service{{Proto: tailcfg.PeerAPI4, Port: 1}, {Proto: tailcfg.PeerAPI6, Port: 1}},
		NetInfo:  &tailcfg.NetInfo{PreferredDERP: 900, DERPLatency: map[string]float64{"900-v4": 0.1}},
	}
}

// fill stages users, a policy and nodes: two devices for each user, the others with
// tags, and one in fifty a router.
func fill(tx *netmap.Tx, policy string) error {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range benchUsers {
		u := &selvage.User{ID: selvage.UserID(i + 2), Tailnet: 1, Login: fmt.Sprint("user", i), Role: selvage.RoleMember, Created: tx.Now}
		if err := tx.PutUser(journal.UserCreate, u); err != nil {
			return err
		}
	}
	for i := range benchNodes {
		n := &selvage.Node{
			ID: selvage.NodeID(i + 1), Tailnet: 1, StableID: selvage.NewStableID(), Name: fmt.Sprint("host", i+1),
			Machine: key.NewMachine().Public(), Key: key.NewNode().Public(), Created: tx.Now, Approved: true,
			IPv4: netip.AddrFrom4([4]byte{100, 64, byte((i + 1) >> 8), byte(i + 1)}),
			IPv6: netip.AddrFrom16([16]byte{0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, 14: byte((i + 1) >> 8), 15: byte(i + 1)}),
		}
		if i < 2*benchUsers {
			n.User = selvage.UserID(i/2 + 2)
		} else {
			n.Tags = []string{fmt.Sprint("tag:t", r.IntN(benchTags))}
		}
		tx.PutNode(journal.NodeCreate, n)
	}
	_, err := tx.PutPolicy(policy)
	return err
}

// eachPolicy measures with a policy that allows all, and one of a company.
func eachPolicy(b *testing.B, f func(b *testing.B, w *bench)) {
	b.Run("open", func(b *testing.B) { f(b, newBench(b, openPolicy)) })
	b.Run("company", func(b *testing.B) { f(b, newBench(b, companyPolicy())) })
}

func (w *bench) report(b *testing.B, id selvage.NodeID, i int) {
	_, err := w.net.Report(id, func(s *selvage.Soft) {
		s.Endpoints = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(i))}
	})
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkJoin is a new device, with its transaction.
func BenchmarkJoin(b *testing.B) {
	eachPolicy(b, func(b *testing.B, w *bench) {
		for b.Loop() {
			j := device("new")
			j.User = w.users[7]
			if _, err := w.net.Join(b.Context(), selvage.System(), j); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkUpdate is a change of nothing: what of a join is the database's.
func BenchmarkUpdate(b *testing.B) {
	eachPolicy(b, func(b *testing.B, w *bench) {
		for b.Loop() {
			err := w.net.Update(b.Context(), selvage.System(), func(tx *netmap.Tx) error {
				_, err := tx.Store().NextID(store.CounterNode)
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkReport is an endpoint change, with one session and with those of all nodes,
// which look at what they are woken for only after it.
func BenchmarkReport(b *testing.B) {
	eachPolicy(b, func(b *testing.B, w *bench) {
		var watches []*netmap.Watch
		watch := func(nodes []selvage.NodeID) {
			for _, id := range nodes {
				watch, err := w.net.Watch(id)
				if err != nil {
					b.Fatal(err)
				}
				watches = append(watches, watch)
			}
		}
		measure := func(b *testing.B) {
			i := 0
			for b.Loop() {
				i++
				w.report(b, w.nodes[0], i)
				b.StopTimer()
				for _, watch := range watches {
					drain(watch)
				}
				b.StartTimer()
			}
		}
		watch(w.nodes[:1])
		b.Run("watchers=1", measure)
		watch(w.nodes[1:])
		b.Run(fmt.Sprint("watchers=", len(w.nodes)), measure)
	})
}

// BenchmarkReportSame is a report that says nothing new, freshly decoded.
func BenchmarkReportSame(b *testing.B) {
	w := newBench(b, openPolicy)
	h := hostinfo(1)
	for b.Loop() {
		changed, err := w.net.Report(w.nodes[0], func(s *selvage.Soft) { s.Hostinfo = h })
		if err != nil || changed {
			b.Fatal(changed, err)
		}
	}
}

// BenchmarkSince is what one session compares after others changed.
func BenchmarkSince(b *testing.B) {
	eachPolicy(b, func(b *testing.B, w *bench) {
		last := w.net.View()
		viewer := last.Node(w.nodes[10])
		measure := func(b *testing.B) {
			v := w.net.View()
			for b.Loop() {
				if v.Since(last, viewer).Gone {
					b.Fatal("gone")
				}
			}
		}
		w.report(b, w.nodes[11], 1)
		b.Run("changes=1", measure)
		for i := range 100 {
			w.report(b, w.nodes[i*97], 1)
		}
		b.Run("changes=100", measure)
		for i, id := range w.nodes {
			w.report(b, id, i+1)
		}
		b.Run("changes=10000", measure)
	})
}

// BenchmarkPolicy is a change of the policy: for the writer, and for one session.
func BenchmarkPolicy(b *testing.B) {
	for _, c := range []struct{ name, policy string }{{"open", openPolicy}, {"company", companyPolicy()}} {
		b.Run(c.name, func(b *testing.B) {
			w := newBench(b, c.policy)
			last := w.net.View()
			i := 0
			b.Run("change", func(b *testing.B) {
				for b.Loop() {
					i++
					if _, err := w.net.SetPolicy(b.Context(), selvage.System(), c.policy+strings.Repeat(" ", i)); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run("since", func(b *testing.B) {
				v := w.net.View()
				for b.Loop() {
					i++
					v.Since(last, last.Node(w.nodes[i%len(w.nodes)]))
				}
			})
			b.Run("user", func(b *testing.B) {
				for b.Loop() {
					if _, err := w.net.CreateUser(b.Context(), selvage.System(), selvage.RandomText(12), "", selvage.RoleMember); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// BenchmarkTick is a second in which nothing is due.
func BenchmarkTick(b *testing.B) {
	w := newBench(b, openPolicy)
	for b.Loop() {
		netmap.TickForTest(b.Context(), w.net)
	}
}

// BenchmarkUseKey is the use of one of 10,000 auth keys.
func BenchmarkUseKey(b *testing.B) {
	w := newBench(b, openPolicy)
	err := w.net.Update(b.Context(), selvage.System(), func(tx *netmap.Tx) error {
		for i := range 10_000 {
			tx.PutAuthKey(journal.KeyCreate, &selvage.AuthKey{ID: selvage.KeyID(fmt.Sprintf("key%09d", i)), Tailnet: 1, User: 2, Reusable: true})
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		j := device("new")
		j.AuthKey = "key000000007"
		if _, err := w.net.Join(b.Context(), selvage.System(), j); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoad is a start on a database that is there.
func BenchmarkLoad(b *testing.B) {
	db := storetest.New(b)
	options := netmap.Options{DB: db, Logger: quiet}
	hub, err := netmap.Open(b.Context(), options)
	if err != nil {
		b.Fatal(err)
	}
	policy := companyPolicy()
	if err := hub.Nets()[0].Update(b.Context(), selvage.System(), func(tx *netmap.Tx) error { return fill(tx, policy) }); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := netmap.Open(b.Context(), options); err != nil {
			b.Fatal(err)
		}
	}
}
