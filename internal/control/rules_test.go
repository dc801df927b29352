package control_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go4.org/netipx"
	"tailscale.com/control/controlclient"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
	tsnetmap "tailscale.com/types/netmap"
	"tailscale.com/types/persist"
	"tailscale.com/types/views"
	"tailscale.com/wgengine/filter"

	"selvage"
	"selvage/internal/control"
	"selvage/internal/control/controltest"
	"selvage/internal/control/splice"
	"selvage/internal/netmap"
)

// admits asks the client's own packet filter whether it lets a TCP connection in.
func admits(t *testing.T, m *tailcfg.MapResponse, src, dst string, port uint16) bool {
	t.Helper()
	if m.PacketFilters == nil {
		t.Fatal("the message has no packet filter")
	}
	var rules []tailcfg.FilterRule
	for _, chunk := range m.PacketFilters {
		if chunk == nil {
			t.Fatal("a chunk of the packet filter is null, which takes it away")
		}
		rules = append(rules, chunk...)
	}
	matches, err := filter.MatchesFromFilterRules(rules)
	if err != nil {
		t.Fatal(err)
	}
	return passes(t, matches, src, dst, port)
}

func passes(t *testing.T, matches []filter.Match, src, dst string, port uint16) bool {
	t.Helper()
	var local netipx.IPSetBuilder
	local.Add(netip.MustParseAddr(dst))
	set, err := local.IPSet()
	if err != nil {
		t.Fatal(err)
	}
	f := filter.New(matches, nil, set, set, nil, logger.Discard)
	return f.CheckTCP(netip.MustParseAddr(src), netip.MustParseAddr(dst), port) == filter.Accept
}

// blocksAll reports whether the filter of a message admits nothing, whoever asks.
func blocksAll(t *testing.T, m *tailcfg.MapResponse) bool {
	t.Helper()
	dst := m.Node.Addresses[0].Addr().String()
	for _, src := range []string{"100.64.0.1", "100.64.0.2", "100.100.1.1", "192.0.2.1"} {
		if admits(t, m, src, dst, 22) {
			return false
		}
	}
	return true
}

// crowd adds devices of the owner that never connect.
func crowd(t *testing.T, s *controltest.Server, n int) {
	t.Helper()
	owner := s.Net.View().Owner().ID
	for range n {
		_, err := s.Net.Join(background, selvage.System(), netmap.Join{
			Machine: key.NewMachine().Public(), Key: key.NewNode().Public(), User: owner, Cap: 142, Preapproved: true,
			Hostinfo: &tailcfg.Hostinfo{OS: "linux", Hostname: "crowd"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// rawStream opens a map stream and returns its body.
func rawStream(t *testing.T, n *controltest.Node, req *tailcfg.MapRequest) io.Reader {
	t.Helper()
	resp, err := n.Do(t.Context(), "POST", "/machine/map", req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d", resp.StatusCode)
	}
	return resp.Body
}

// A map with many peers comes as several zstd frames, none of which tells its size,
// and real clients read it like any other.
func TestRule1MapsAreSplicedFromFrames(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	crowd(t, s, 400)
	n := s.Joined("viewer")
	body, err := controltest.ReadFrame(rawStream(t, n, n.MapRequest()))
	if err != nil {
		t.Fatal(err)
	}
	frames := 0
	for rest := body; len(rest) > 0; frames++ {
		var h zstd.Header
		if err := h.Decode(rest); err != nil {
			t.Fatal(err)
		}
		if h.HasFCS || h.SingleSegment {
			t.Errorf("frame %d tells the size of its content", frames)
		}
		next := bytes.Index(rest[1:], []byte{0x28, 0xb5, 0x2f, 0xfd})
		if next < 0 {
			break
		}
		rest = rest[1+next:]
	}
	if frames < 400/128 {
		t.Errorf("the map came as %d frames", frames)
	}
	plain := n.MapRequest()
	plain.Compress = ""
	want, err := controltest.PlainMessages(rawStream(t, n, plain))()
	if err != nil {
		t.Fatal(err)
	}
	got := n.OneMap()
	if len(want.Peers) != 400 || len(got.Peers) != 400 {
		t.Fatalf("%d peers plain, %d compressed", len(want.Peers), len(got.Peers))
	}
	for i := range got.Peers {
		if !got.Peers[i].Equal(want.Peers[i]) {
			t.Fatalf("peer %d is %+v compressed, %+v plain", i, got.Peers[i], want.Peers[i])
		}
	}
	c := n.Client()
	c.Poll()
	c.Wait("400 peers", func(m *tsnetmap.NetworkMap) bool { return len(m.Peers) == 400 })
}

// stub is a server that answers /machine/map with fixed bytes.
type stub struct{ body []byte }

func (s stub) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(s.body)), Request: r}, nil
}

// Real clients mistake a message for the keepalive that they remember, if it has the
// same length. They must never get to remember ours.
func TestRule2MessageOfTheLengthOfAKeepalive(t *testing.T) {
	s := controltest.New(t, controltest.Options{Control: control.Options{Keepalive: 10 * time.Millisecond}})
	n := s.Joined("viewer")
	r := rawStream(t, n, n.MapRequest())
	if _, err := controltest.ReadFrame(r); err != nil {
		t.Fatal(err)
	}
	keepalive, err := controltest.ReadFrame(r)
	if err != nil {
		t.Fatal(err)
	}
	var body bytes.Buffer
	add := func(frame []byte) {
		binary.Write(&body, binary.LittleEndian, uint32(len(frame)))
		body.Write(frame)
	}
	peer := func(id tailcfg.NodeID) *tailcfg.Node {
		return &tailcfg.Node{ID: id, Name: "p.", Key: key.NewNode().Public(), Machine: key.NewMachine().Public()}
	}
	first, err := json.Marshal(&tailcfg.MapResponse{Node: peer(1), Peers: []*tailcfg.Node{peer(2), peer(3)}})
	if err != nil {
		t.Fatal(err)
	}
	add(splice.Frame(first))
	add(keepalive)
	add(sameLength(t, `{"PeersRemoved":[2]}`, len(keepalive)))
	c := &fullMaps{}
	o := n.ClientOptions()
	o.NoiseTestClient = &http.Client{Transport: stub{body.Bytes()}}
	o.Persist = persist.Persist{PrivateNodeKey: n.Key}
	d, err := controlclient.NewDirect(o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.PollNetMap(t.Context(), c); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("poll ended with %v", err)
	}
	if len(c.last.Peers) != 1 || c.last.Peers[0].ID() != 3 {
		t.Errorf("the client has the peers %v, want 3 alone", c.last.Peers)
	}
}

type fullMaps struct{ last *tsnetmap.NetworkMap }

func (c *fullMaps) UpdateFullNetmap(m *tsnetmap.NetworkMap) { c.last = m }

// sameLength compresses a JSON text to a frame of the given length.
func sameLength(t *testing.T, text string, length int) []byte {
	t.Helper()
	for _, crc := range []bool{false, true} {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(crc))
		if err != nil {
			t.Fatal(err)
		}
		for spaces := range 12 {
			if b := e.EncodeAll([]byte(text+strings.Repeat(" ", spaces)), nil); len(b) == length {
				return b
			}
		}
	}
	t.Fatalf("%s cannot be made %d bytes long", text, length)
	return nil
}

// Each change that clients can apply piece by piece comes as a patch of just that.
func TestRule3WhatBecomesAPatch(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	viewer, peer := s.Joined("viewer"), s.Joined("peer")
	peer.Report("192.0.2.1:1")
	stream := viewer.Stream()
	stream.Next()
	id := tailcfg.NodeID(peer.ID)
	disco := key.NewDisco().Public()
	expiry := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	online := true
	tests := []struct {
		name   string
		change func()
		want   *tailcfg.PeerChange
	}{
		{"endpoints", func() { peer.Report("192.0.2.1:1", "192.0.2.2:2") }, &tailcfg.PeerChange{
			NodeID: id, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2")},
		}},
		{"no endpoints any more", func() { peer.Report() }, &tailcfg.PeerChange{NodeID: id, Endpoints: []netip.AddrPort{}}},
		{"home relay", func() {
			peer.Hostinfo.NetInfo = &tailcfg.NetInfo{PreferredDERP: 7}
			peer.Report()
		}, &tailcfg.PeerChange{NodeID: id, DERPRegion: 7}},
		{"disco key", func() {
			peer.Disco = disco
			peer.Report()
		}, &tailcfg.PeerChange{NodeID: id, DiscoKey: &disco}},
		{"comes online", func() { peer.Stream().Next() }, &tailcfg.PeerChange{NodeID: id, Online: &online}},
		{"key expiry", func() {
			if err := s.Net.SetKeyExpiry(background, selvage.System(), peer.ID, expiry); err != nil {
				t.Error(err)
			}
		}, &tailcfg.PeerChange{NodeID: id, KeyExpiry: &expiry}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.change()
			m := stream.Next()
			want := &tailcfg.MapResponse{PeersChangedPatch: []*tailcfg.PeerChange{test.want}}
			if got, want := asJSON(t, m), asJSON(t, want); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if p := m.PeersChangedPatch; len(p) == 1 && (p[0].Endpoints == nil) != (test.want.Endpoints == nil) {
				t.Errorf("endpoints are %#v, want %#v", p[0].Endpoints, test.want.Endpoints)
			}
		})
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What is equal to what was sent is not sent again, though the view is new.
func TestRule3NothingIsSentTwice(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	text := `{"tagOwners": {"tag:a": []}, "grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}], "ssh": [{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self"], "users": ["autogroup:nonroot"]}]}`
	s.Policy(text)
	n := s.Joined("viewer")
	n.Hostinfo.NetInfo = &tailcfg.NetInfo{PreferredDERP: 1}
	stream := n.Stream()
	stream.Next()
	tests := map[string]func(){
		"policy with a comment": func() { s.Policy("// new\n" + text) },
		"same relays":           func() { s.SetDERPMap(controltest.DERPMap("derp.test")) },
		"a report of oneself":   func() { n.Report("192.0.2.1:1") },
		"a setting that clients are not told": func() {
			s.Settings(func(set *selvage.Settings) { set.EphemeralTimeout += time.Minute })
		},
		"an auth key": func() { s.AuthKey(selvage.AuthKey{}) },
	}
	for name, change := range tests {
		change()
		// What comes next must be the mark, alone.
		mark := strings.ReplaceAll(name, " ", "-") + ".example"
		s.Settings(func(set *selvage.Settings) { set.DNS.SearchPaths = []string{mark} })
		m := stream.Next()
		if m.DNSConfig == nil || asJSON(t, m) != asJSON(t, &tailcfg.MapResponse{DNSConfig: m.DNSConfig}) {
			t.Errorf("%s: got %s", name, asJSON(t, m))
		}
	}
}

// deltas counts how often a client had to build everything anew.
type deltas struct {
	full  atomic.Int64
	parts atomic.Int64
}

func (d *deltas) UpdateFullNetmap(*tsnetmap.NetworkMap) { d.full.Add(1) }
func (d *deltas) UpdateNetmapDelta([]tsnetmap.NodeMutation) bool {
	d.parts.Add(1)
	return true
}

func (d *deltas) UpdatePacketFilter(views.Slice[tailcfg.FilterRule], []filter.Match) bool {
	d.parts.Add(1)
	return true
}
func (d *deltas) UpdateUserProfiles(map[tailcfg.UserID]tailcfg.UserProfileView) bool { return true }

// Everyday changes of peers must not make the real client rebuild everything.
func TestRule3RealClientNeedNotRebuild(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	viewer, peer := s.Joined("viewer"), s.Joined("peer")
	peer.Report() // its disco key, which does make clients rebuild
	c := viewer.Client()
	got := new(deltas)
	go c.PollNetMap(t.Context(), got)
	until(t, "first map", func() bool { return got.full.Load() == 1 })
	for _, test := range []struct {
		name   string
		change func()
	}{
		{"endpoints", func() { peer.Report("192.0.2.9:9") }},
		{"no endpoints", func() { peer.Report() }},
		{"home relay", func() { peer.Hostinfo.NetInfo = &tailcfg.NetInfo{PreferredDERP: 3}; peer.Report() }},
		{"online", func() { peer.Stream().Next() }},
		{"a new peer", func() { s.Joined("new") }},
		{"a peer leaves", func() {
			if err := s.Net.DeleteNode(background, selvage.System(), s.Joined("brief").ID); err != nil {
				t.Error(err)
			}
		}},
	} {
		before := got.parts.Load()
		test.change()
		until(t, test.name, func() bool { return got.parts.Load() > before })
		if n := got.full.Load(); n != 1 {
			t.Errorf("%s: the client has rebuilt everything %d times", test.name, n-1)
		}
	}
}

// A policy that lets nobody in must reach the filter as a list without rules: no list
// would leave the old rules in force.
func TestRule4EmptyFilterBlocks(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	s.Joined("other")
	n := s.Joined("viewer")
	stream := n.Stream()
	if m := stream.Next(); !admits(t, m, "100.64.0.1", m.Node.Addresses[0].Addr().String(), 22) {
		t.Fatal("the default policy lets nobody in, so this test shows nothing")
	}
	c := n.Client()
	s.Policy(`{"grants": []}`)
	m := stream.Until(func(m *tailcfg.MapResponse) bool { return m.PacketFilters != nil })
	m.Node = n.OneMap().Node
	if !blocksAll(t, m) {
		t.Errorf("the filter lets somebody in: %+v", m.PacketFilters)
	}
	nm, err := c.FetchNetMapForTest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if passes(t, nm.PacketFilter, "100.64.0.1", m.Node.Addresses[0].Addr().String(), 22) {
		t.Error("the real client lets somebody in")
	}
	// The client that has had rules has none any more.
	c2 := n.NewClient("")
	if _, err := c2.TryLogin(t.Context(), controlclient.LoginDefault); err != nil {
		t.Fatal(err)
	}
	c2.Poll()
	s.Policy(`{"grants": [{"src": ["*"], "dst": ["*"], "ip": ["22"]}]}`)
	c2.Wait("rules", func(m *tsnetmap.NetworkMap) bool { return len(m.PacketFilter) > 0 })
	s.Policy(`{"grants": [], }`)
	c2.Wait("no rules", func(m *tsnetmap.NetworkMap) bool { return len(m.PacketFilter) == 0 })
}

// A client whose logs are switched off turns itself off if it has the capability for
// flow logs; and once off, it stays so for the life of its process.
func TestRules5And7LogsAreOffAndFlowLogsNeverOn(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	s.Policy(`{"nodeAttrs": [{"target": ["*"], "attr": ["https://tailscale.com/cap/data-plane-audit-logs", "custom:x"]}], "grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]}`)
	n := s.Joined("viewer")
	stream := n.Stream()
	check := func(m *tailcfg.MapResponse, off bool) {
		t.Helper()
		if got := m.Debug != nil && m.Debug.DisableLogTail; got != off {
			t.Errorf("logs off: %v, want %v", got, off)
		}
		if m.Node == nil || !m.Node.HasCap("custom:x") {
			t.Fatalf("the policy's attributes are not there: %+v", m.Node)
		}
		if m.Node.HasCap(tailcfg.CapabilityDataPlaneAuditLogs) || m.Node.DataPlaneAuditLogID != "" || m.DomainDataPlaneAuditLogID != "" {
			t.Errorf("flow logs are on: %+v", m)
		}
	}
	check(stream.Next(), true)
	s.Settings(func(set *selvage.Settings) { set.ClientLogs = true })
	check(n.OneMap(), false)
	open := n.Stream()
	check(open.Next(), false)
	s.Settings(func(set *selvage.Settings) { set.ClientLogs = false })
	if m := open.Next(); m.Debug == nil || !m.Debug.DisableLogTail {
		t.Errorf("the open session is not told that logs are off: %+v", m)
	}
}

// Clients keep one connection for each host name in URLs, so each URL has the name by
// which the client calls the server.
func TestRule8URLsHaveTheHostThatTheClientDials(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	s.Policy(`{"ssh": [{"action": "check", "src": ["autogroup:member"], "dst": ["autogroup:self"], "users": ["root"]}]}`)
	_, port, _ := strings.Cut(s.Address(), ":")
	for _, host := range []string{"127.0.0.1:" + port, "localhost:" + port} {
		t.Run(host, func(t *testing.T) {
			n := s.NodeAt("http://"+host, "viewer")
			if u := n.Register(n.RegisterRequest()).AuthURL; hostOf(t, u) != host {
				t.Errorf("link for people is %s", u)
			}
			n.Join(s.AuthKey(selvage.AuthKey{}))
			stream := n.Stream()
			m := stream.Next()
			if m.SSHPolicy == nil || len(m.SSHPolicy.Rules) == 0 {
				t.Fatal("no SSH rules")
			}
			if u := m.SSHPolicy.Rules[0].Action.HoldAndDelegate; hostOf(t, u) != host {
				t.Errorf("check of an SSH login is at %s", u)
			}
			asked := make(chan error, 1)
			go func() { asked <- s.Alive(background, s.Net, s.Net.View().Node(n.ID)) }()
			ping := stream.Next().PingRequest
			if ping == nil || hostOf(t, ping.URL) != host || !ping.URLIsNoise {
				t.Fatalf("request to the node is %+v", ping)
			}
			n.Ask("HEAD", ping.URL, nil)
			if err := wait(t, "sign of life", asked); err != nil {
				t.Error(err)
			}
		})
	}
}

func hostOf(t *testing.T, raw string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// A node that is gone is told that its key has expired, so that it asks its user to
// log in; an error would make it ask for ever.
func TestRule9DeletedAndUnknownNodes(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	n := s.Joined("brief")
	stream := n.Stream()
	stream.Next()
	c := n.Client()
	stranger := s.Node("stranger")
	if m := stranger.OneMap(); m.Node == nil || !m.Node.KeyExpiry.Before(time.Now()) || m.Node.Key != stranger.Key.Public() {
		t.Errorf("an unknown node gets %+v", m.Node)
	}
	stranger.Report("192.0.2.1:1") // is answered 200
	if err := s.Net.DeleteNode(background, selvage.System(), n.ID); err != nil {
		t.Fatal(err)
	}
	m := stream.Until(func(m *tailcfg.MapResponse) bool { return m.Node != nil })
	if !m.Node.KeyExpiry.Before(time.Now()) || m.Node.Key != n.Key.Public() {
		t.Errorf("the open session gets %+v", m.Node)
	}
	if err := stream.Ended(); err != nil {
		t.Errorf("the session ended with %v", err)
	}
	ended := c.Poll()
	c.Wait("an expired key", func(m *tsnetmap.NetworkMap) bool {
		return m.SelfKeyExpiry().Before(time.Now()) && !m.SelfKeyExpiry().IsZero()
	})
	if err := wait(t, "end of the client's session", ended); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("the client's session ended with %v", err)
	}
}

// What a node may do is in the capabilities of its own node.
func TestRule10SelfCapabilities(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	s.Policy(`{"tagOwners": {"tag:a": ["autogroup:admin"]}, "grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}],
		"nodeAttrs": [{"target": ["autogroup:member"], "attr": ["funnel"]}, {"target": ["tag:a"], "app": {"example.com/x": [{"b": 1, "a": 2}]}}]}`)
	owner := s.Joined("owner").OneMap().Node
	if !owner.HasCap("funnel") || !owner.HasCap(tailcfg.CapabilityAdmin) || !owner.HasCap(tailcfg.CapabilityFileSharing) || owner.HasCap("example.com/x") {
		t.Errorf("owner's device has %v", owner.CapMap)
	}
	tagged := s.Node("tagged").Join(s.AuthKey(selvage.AuthKey{Tags: []string{"tag:a"}}))
	stream := tagged.Stream()
	m := stream.Next()
	if m.Node.HasCap("funnel") || m.Node.HasCap(tailcfg.CapabilityAdmin) {
		t.Errorf("tagged device has %v", m.Node.CapMap)
	}
	if got := m.Node.CapMap["example.com/x"]; !slices.Equal(got, []tailcfg.RawMessage{`{"b": 1, "a": 2}`}) && !slices.Equal(got, []tailcfg.RawMessage{`{"b":1,"a":2}`}) {
		t.Errorf("the value of a capability is %q", got)
	}
	for _, p := range m.Peers {
		if len(p.CapMap) != 0 {
			t.Errorf("peer %s has %v", p.Name, p.CapMap)
		}
	}
	s.Policy(`{"tagOwners": {"tag:a": ["autogroup:admin"]}, "grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]}`)
	if m := stream.Until(func(m *tailcfg.MapResponse) bool { return m.Node != nil }); m.Node.HasCap("example.com/x") {
		t.Errorf("after the policy took it away the node has %v", m.Node.CapMap)
	}
}
