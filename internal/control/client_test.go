package control_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	tsnetmap "tailscale.com/types/netmap"

	"selvage"
	"selvage/internal/control/controltest"
)

var clientPolicies = []string{
	`{"tagOwners": {"tag:s": ["autogroup:admin"], "tag:t": ["autogroup:admin"]}, "grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]}`,
	`{"tagOwners": {"tag:s": ["autogroup:admin"], "tag:t": ["autogroup:admin"]}, "grants": [{"src": ["autogroup:member"], "dst": ["autogroup:self"], "ip": ["*"]}],
	  "ssh": [{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self"], "users": ["root"]}]}`,
	`{"tagOwners": {"tag:s": ["autogroup:admin"], "tag:t": ["autogroup:admin"]},
	  "acls": [{"action": "accept", "src": ["u1"], "dst": ["tag:s:22"]}, {"action": "accept", "src": ["tag:s"], "dst": ["tag:t:*", "10.0.0.0/8:80"]}],
	  "nodeAttrs": [{"target": ["tag:s"], "attr": ["custom:s"]}],
	  "ssh": [{"action": "check", "src": ["autogroup:member"], "dst": ["tag:s"], "users": ["autogroup:nonroot"]}]}`,
	`{"tagOwners": {"tag:s": ["autogroup:admin"], "tag:t": ["autogroup:admin"]}, "grants": []}`,
	`{"tagOwners": {"tag:s": [], "tag:t": []}, "derpMap": {"Regions": {"950": {"RegionID": 950, "RegionCode": "own", "Nodes": [{"Name": "a", "RegionID": 950, "HostName": "a.test"}]}}},
	  "grants": [{"src": ["autogroup:member", "tag:s"], "dst": ["*"], "ip": ["*"]}, {"src": ["tag:t"], "dst": ["autogroup:member"], "ip": ["22"]}]}`,
	`{"tagOwners": {"tag:s": [], "tag:t": []}, "nodeAttrs": [{"target": ["tag:t"], "attr": ["disable-ipv4"]}],
	  "grants": [{"src": ["autogroup:member"], "dst": ["*"], "ip": ["*"]}, {"src": ["autogroup:member"], "dst": ["10.1.0.0/16"], "via": ["tag:s"], "ip": ["*"]}]}`,
}

// mesh is a tailnet under random changes, and the clients that follow it.
type mesh struct {
	s       *controltest.Server
	rand    *rand.Rand
	users   []*selvage.User
	nodes   []*controltest.Node // the first are followed by clients and stay
	clients []*controltest.Client
	seq     int
}

const followed = 3

func newMesh(t *testing.T, r *rand.Rand) *mesh {
	m := &mesh{s: controltest.New(t, controltest.Options{CompactFrom: 8}), rand: r}
	m.s.Policy(clientPolicies[0])
	for i := range 3 {
		m.users = append(m.users, m.s.User(fmt.Sprint("u", i), selvage.RoleMember))
	}
	for range followed {
		m.join()
		c := m.nodes[len(m.nodes)-1].Client()
		c.Poll()
		m.clients = append(m.clients, c)
	}
	return m
}

func (m *mesh) join() {
	u := m.users[m.rand.IntN(len(m.users))]
	n := m.s.Node("host").Join(m.s.AuthKey(selvage.AuthKey{User: u.ID}))
	m.nodes = append(m.nodes, n)
}

func (m *mesh) tags() []string {
	return [][]string{nil, {"tag:s"}, {"tag:t"}, {"tag:s", "tag:t"}}[m.rand.IntN(4)]
}

func (m *mesh) routes() []netip.Prefix {
	all := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("192.168.7.0/24"), selvage.ExitRoutes()[0], selvage.ExitRoutes()[1]}
	return [][]netip.Prefix{nil, all[:1], all[1:2], all[2:], all}[m.rand.IntN(5)]
}

// change makes one random change to the network.
func (m *mesh) change(t *testing.T) {
	m.seq++
	sys, net := selvage.System(), m.s.Net
	i := m.rand.IntN(len(m.nodes))
	n := m.nodes[i]
	var err error
	switch m.rand.IntN(12) {
	case 0:
		m.join()
	case 1:
		if i >= followed {
			err = net.DeleteNode(background, sys, n.ID)
			m.nodes = slices.Delete(m.nodes, i, i+1)
		}
	case 2:
		var eps []string
		for range m.rand.IntN(3) {
			eps = append(eps, fmt.Sprintf("192.0.2.%d:41641", m.rand.IntN(250)+1))
		}
		n.Report(eps...)
	case 3:
		n.Hostinfo.NetInfo = &tailcfg.NetInfo{PreferredDERP: 1 + m.rand.IntN(3)}
		n.Hostinfo.RoutableIPs, n.Hostinfo.Hostname = m.routes(), fmt.Sprint("h", m.rand.IntN(4))
		n.Report()
	case 4:
		n.Disco = key.NewDisco().Public()
		n.Report("192.0.2.1:41641")
	case 5:
		_, err = net.SetPolicy(background, sys, clientPolicies[m.rand.IntN(len(clientPolicies))])
	case 6:
		if err = net.SetNodeTags(background, sys, n.ID, m.tags()); selvage.Is(err, selvage.KindInvalid) {
			err = nil // it has no user to go back to
		}
	case 7:
		err = net.SetApprovedRoutes(background, sys, n.ID, m.routes())
	case 8:
		err = net.RenameNode(background, sys, n.ID, fmt.Sprint("name", m.seq))
	case 9:
		err = net.UpdateUser(background, sys, m.users[m.seq%3].ID, func(u *selvage.User) { u.DisplayName = fmt.Sprint("User ", m.seq) })
	case 10:
		if i >= followed {
			err = net.ExpireNode(background, sys, n.ID)
		}
	case 11:
		m.s.Settings(func(s *selvage.Settings) { s.Domain = fmt.Sprintf("d%d.example", m.rand.IntN(2)) })
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestRealClientsHaveWhatAFullMapSays is the property that everything else rests on,
// with the real client's own code: whatever happened, what a client has been sent adds
// up to what it would get if it asked anew.
func TestRealClientsHaveWhatAFullMapSays(t *testing.T) {
	runs := 12
	if testing.Short() {
		runs = 3
	}
	for range runs {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			m := newMesh(t, rand.New(rand.NewPCG(seed, 0)))
			for round := range 4 {
				for range 10 {
					m.change(t)
				}
				mark := fmt.Sprintf("mark%d.example", round)
				m.s.Settings(func(s *selvage.Settings) { s.DNS.SearchPaths = []string{mark} })
				for i, c := range m.clients {
					got := c.Wait(mark, func(m *tsnetmap.NetworkMap) bool { return slices.Contains(m.DNS.Domains, mark) })
					want, err := c.FetchNetMapForTest(within(t))
					if err != nil {
						t.Fatal(err)
					}
					if d := cmp.Diff(summary(t, want), summary(t, got)); d != "" {
						t.Fatalf("round %d: client %d differs from a full map (-full +deltas):\n%s", round, i, d)
					}
				}
			}
		})
	}
}

// summary is what matters of a client's map.
func summary(t *testing.T, m *tsnetmap.NetworkMap) map[string]string {
	t.Helper()
	out := map[string]string{"domain": m.Domain, "name": m.SelfName()}
	put := func(name string, v any) {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(b)
	}
	self := m.SelfNode.AsStruct()
	// What the node has said of itself it need not hear.
	self.Endpoints, self.HomeDERP, self.DiscoKey, self.Hostinfo = nil, 0, key.DiscoPublic{}, tailcfg.HostinfoView{}
	self.ComputedName, self.ComputedNameWithHost = "", ""
	put("self", self)
	put("dns", m.DNS)
	put("relays", m.DERPMap)
	put("filter", m.PacketFilterRules)
	// No rules and an empty list of rules both let nobody in.
	if m.SSHPolicy != nil && len(m.SSHPolicy.Rules) > 0 {
		put("ssh", m.SSHPolicy)
	}
	for id, u := range m.UserProfiles {
		put(fmt.Sprint("user ", id), u)
	}
	for _, v := range m.Peers {
		p := v.AsStruct()
		if p.Online != nil && *p.Online {
			p.LastSeen = nil // of one that is online it says nothing
		}
		if len(p.Endpoints) == 0 {
			p.Endpoints = nil
		}
		put(fmt.Sprint("peer ", p.ID), p)
	}
	return out
}
