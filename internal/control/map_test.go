package control_test

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	tsnetmap "tailscale.com/types/netmap"

	"selvage"
	"selvage/internal/control"
	"selvage/internal/control/controltest"
)

func TestFirstMessageHasEverything(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	peer := s.Joined("peer")
	peer.Report("192.0.2.1:1")
	n := s.Joined("viewer")
	m := n.Stream().Next()
	if m.Node == nil || m.Node.ID != tailcfg.NodeID(n.ID) || m.Node.Name != "viewer.home.selvage.internal." || m.Node.Key != n.Key.Public() {
		t.Errorf("node is %+v", m.Node)
	}
	if m.DERPMap == nil || m.DNSConfig == nil || m.PacketFilters == nil || m.Domain == "" || m.ControlTime == nil || m.CollectServices != "false" {
		t.Errorf("message lacks something: %s", asJSON(t, m))
	}
	if len(m.Peers) != 1 || m.Peers[0].ID != tailcfg.NodeID(peer.ID) || m.Peers[0].Online == nil || len(m.Peers[0].Endpoints) != 1 {
		t.Errorf("peers are %s", asJSON(t, m.Peers))
	}
	for _, p := range append(m.Peers, m.Node) {
		if !slices.ContainsFunc(m.UserProfiles, func(u tailcfg.UserProfile) bool { return u.ID == p.User }) {
			t.Errorf("the owner %d of %s is not among %v", p.User, p.Name, m.UserProfiles)
		}
	}
}

// A stream says nothing of the device: what is in its request is from another moment
// than the reports.
func TestStreamIsReadOnly(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	n := s.Joined("viewer")
	n.Report("192.0.2.1:1")
	before := s.Net.View().Node(n.ID).Soft
	req := n.MapRequest()
	req.DiscoKey = key.NewDisco().Public()
	req.Hostinfo.Hostname = "changed"
	if _, err := controltest.ReadFrame(rawStream(t, n, req)); err != nil {
		t.Fatal(err)
	}
	if after := s.Net.View().Node(n.ID).Soft; after.Disco != before.Disco || after.Hostinfo != before.Hostinfo || !slices.Equal(after.Endpoints, before.Endpoints) {
		t.Errorf("a stream has changed %+v to %+v", before, after)
	}
}

// What a stream says is taken in if the server has nothing else: it may have lost a
// report that the client does not repeat.
func TestStreamOfUnreportedNode(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	n := s.Joined("laptop")
	req := n.MapRequest()
	req.DiscoKey = key.NewDisco().Public()
	req.Endpoints = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.9:9")}
	if _, err := controltest.ReadFrame(rawStream(t, n, req)); err != nil {
		t.Fatal(err)
	}
	if soft := s.Net.View().Node(n.ID).Soft; soft.Disco != req.DiscoKey || !slices.Equal(soft.Endpoints, req.Endpoints) {
		t.Errorf("the server has %+v of the node", soft)
	}
}

func TestReport(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	n := s.Joined("laptop")
	n.Hostinfo.NetInfo = &tailcfg.NetInfo{PreferredDERP: 5}
	n.Hostinfo.Hostname = "desktop"
	req := n.MapRequest()
	req.Stream, req.OmitPeers = false, true
	if a := n.Ask("POST", "/machine/map", req); a.Status != http.StatusOK || a.Body != "" {
		t.Errorf("answer is %+v", a)
	}
	rec := s.Net.View().Node(n.ID)
	if rec.Soft.HomeDERP != 5 || rec.Soft.Disco != n.Disco || rec.Name != "desktop" || rec.Soft.Cap != tailcfg.CurrentCapabilityVersion {
		t.Errorf("node is %+v with %+v", rec.Node, rec.Soft)
	}
	if rec.Online {
		t.Error("a report alone made the node online")
	}
	// Without a measurement the last home stays.
	n.Hostinfo.NetInfo = &tailcfg.NetInfo{}
	n.Report()
	if got := s.Net.View().Node(n.ID).Soft.HomeDERP; got != 5 {
		t.Errorf("home relay is %d", got)
	}
}

func TestBadReports(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	n := s.Joined("laptop")
	watcher := s.Joined("watcher").Stream()
	watcher.Next()
	for name, change := range map[string]func(*tailcfg.MapRequest){
		"routes":    func(r *tailcfg.MapRequest) { r.Hostinfo.RoutableIPs = slices.Repeat(selvage.ExitRoutes(), 6000) },
		"host keys": func(r *tailcfg.MapRequest) { r.Hostinfo.SSH_HostKeys = []string{strings.Repeat("x", 100<<10)} },
		"name":      func(r *tailcfg.MapRequest) { r.Hostinfo.Hostname = strings.Repeat("x", 100<<10) },
		"package":   func(r *tailcfg.MapRequest) { r.Hostinfo.Package = strings.Repeat("x", 100<<10) },
		"tags":      func(r *tailcfg.MapRequest) { r.Hostinfo.RequestTags = slices.Repeat([]string{"tag:a"}, 1000) },
	} {
		req := n.MapRequest()
		req.Stream, req.OmitPeers = false, true
		change(req)
		if a := n.Ask("POST", "/machine/map", req); a.Status != http.StatusBadRequest || !strings.Contains(a.Body, "allowed") {
			t.Errorf("%s: got %+v", name, a)
		}
	}
	n.Report("192.0.2.1:1")
	if m := watcher.Next(); len(m.PeersChangedPatch) != 1 || len(m.PeersChanged) != 0 {
		t.Errorf("peers were told of bad reports: %s", asJSON(t, m))
	}
}

// A device that changes its name all the time must not fill the journal with it.
func TestTooManyReports(t *testing.T) {
	now := time.Now()
	s := controltest.New(t, controltest.Options{Control: control.Options{Now: func() time.Time { return now }}})
	n, other := s.Joined("flapping"), s.Joined("other")
	report := func(n *controltest.Node, stream bool, name string) controltest.Answer {
		req := n.MapRequest()
		req.Stream, req.OmitPeers, req.DiscoKey = stream, true, key.DiscoPublic{}
		req.Hostinfo.Hostname = name
		return n.Ask("POST", "/machine/map", req)
	}
	allowed := 0
	var last controltest.Answer
	for i := range 30 {
		if last = report(n, false, fmt.Sprint("name", i)); last.Status == http.StatusOK {
			allowed++
		}
	}
	if allowed != 20 || last.Status != http.StatusTooManyRequests || last.Header.Get("Retry-After") != "2" {
		t.Errorf("%d of 30 allowed, then %+v", allowed, last)
	}
	if got := s.Net.View().Node(n.ID).Name; got != "name19" {
		t.Errorf("the name is %q", got)
	}
	// The stream of a device without a disco key is a report as well.
	if a := report(n, true, "streamed"); a.Status != http.StatusTooManyRequests {
		t.Errorf("a stream gets %+v", a)
	}
	if a := report(other, false, "renamed"); a.Status != http.StatusOK {
		t.Errorf("another device gets %+v", a)
	}
	now = now.Add(time.Second)
	if a := report(n, false, "later"); a.Status != http.StatusOK || s.Net.View().Node(n.ID).Name != "later" {
		t.Errorf("a second later: %+v, name %q", a, s.Net.View().Node(n.ID).Name)
	}
	if a := report(n, false, "sooner"); a.Status != http.StatusTooManyRequests {
		t.Errorf("at once after that: %+v", a)
	}
}

// Reports without news must cost nobody a message.
func TestReportsWithoutNews(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	a, b := s.Joined("a"), s.Joined("b")
	a.Report("192.0.2.1:1")
	sa, sb := a.Stream(), b.Stream()
	sa.Next()
	sb.Next()
	sa.Next() // b came online
	for range 5 {
		a.Report("192.0.2.1:1")
	}
	a.Hostinfo.NetInfo = &tailcfg.NetInfo{LinkType: "wifi"} // is nobody else's business
	a.Report("192.0.2.1:1")
	a.Report("192.0.2.2:2") // the mark
	if m := sb.Next(); len(m.PeersChangedPatch) != 1 || m.PeersChangedPatch[0].Endpoints[0].String() != "192.0.2.2:2" {
		t.Errorf("b got %s", asJSON(t, m))
	}
	b.Report("192.0.2.3:3")
	if m := sa.Next(); len(m.PeersChangedPatch) != 1 || m.PeersChangedPatch[0].NodeID != tailcfg.NodeID(b.ID) {
		t.Errorf("a was told of its own report: %s", asJSON(t, m))
	}
}

func TestSingleMap(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	s.Joined("peer")
	n := s.Joined("viewer")
	for name, omit := range map[string]bool{"with peers": false, "without peers": true} {
		req := n.MapRequest()
		req.Stream, req.OmitPeers, req.Compress = false, omit, ""
		//lint:ignore SA1019 tools still set it
		req.ReadOnly = true
		body := rawStream(t, n, req)
		next := controltest.PlainMessages(body)
		m, err := next()
		if err != nil {
			t.Fatal(err)
		}
		if (len(m.Peers) == 0) != omit || m.DERPMap == nil {
			t.Errorf("%s: got %s", name, asJSON(t, m))
		}
		if _, err := next(); err != io.EOF {
			t.Errorf("%s: after the message comes %v", name, err)
		}
	}
	if s.Net.View().Node(n.ID).Online {
		t.Error("a single map made the node online")
	}
}

func TestStreamWithoutPeers(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	n := s.Joined("viewer")
	req := n.MapRequest()
	req.OmitPeers, req.Compress = true, ""
	next := controltest.PlainMessages(rawStream(t, n, req))
	if m, err := next(); err != nil || len(m.Peers) != 0 {
		t.Fatalf("got %+v, %v", m, err)
	}
	s.Joined("peer").Report("192.0.2.1:1")
	s.Settings(func(set *selvage.Settings) { set.DNS.SearchPaths = []string{"mark.example"} })
	for {
		m, err := next()
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Peers)+len(m.PeersChanged)+len(m.PeersChangedPatch)+len(m.PeersRemoved) != 0 {
			t.Errorf("told of peers: %s", asJSON(t, m))
		}
		if m.DNSConfig != nil {
			return
		}
	}
}

// The newest stream of a node is the one; the older ends cleanly.
func TestNewestStreamWins(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	watcher := s.Joined("watcher").Stream()
	watcher.Next()
	n := s.Joined("laptop")
	watcher.Next()
	old := n.Stream()
	old.Next()
	watcher.Next()
	newer := n.Stream()
	newer.Next()
	if err := old.Ended(); err != nil {
		t.Errorf("the older stream ended with %v", err)
	}
	n.Report("192.0.2.1:1")
	if m := watcher.Next(); len(m.PeersChangedPatch) != 1 || m.PeersChangedPatch[0].Online != nil {
		t.Errorf("a watcher was told %s", asJSON(t, m))
	}
	s.Settings(func(set *selvage.Settings) { set.DNS.SearchPaths = []string{"mark.example"} })
	newer.Until(func(m *tailcfg.MapResponse) bool { return m.DNSConfig != nil })
	if !s.HasSession(s.Net, n.ID) {
		t.Error("the newer session is not known")
	}
}

func TestPresence(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	watcher := s.Joined("watcher").Stream()
	watcher.Next()
	n := s.Joined("laptop")
	watcher.Next()
	stream := n.Stream()
	stream.Next()
	if m := watcher.Next(); len(m.PeersChangedPatch) != 1 || m.PeersChangedPatch[0].Online == nil || !*m.PeersChangedPatch[0].Online {
		t.Errorf("when it came: %s", asJSON(t, m))
	}
	stream.Close()
	if m := watcher.Next(); len(m.PeersChangedPatch) != 1 || m.PeersChangedPatch[0].Online == nil || *m.PeersChangedPatch[0].Online || m.PeersChangedPatch[0].LastSeen == nil {
		t.Errorf("when it went: %s", asJSON(t, m))
	}
}

// Messages without news of others must not put off signs of life.
func TestKeepalives(t *testing.T) {
	s := controltest.New(t, controltest.Options{Control: control.Options{Keepalive: 30 * time.Millisecond}})
	n := s.Joined("viewer")
	stream := n.Stream()
	stream.Next()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		// Each new policy wakes the session, which finds nothing to say.
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-tick.C:
				s.Net.SetPolicy(background, selvage.System(), fmt.Sprintf("// %d\n{\"grants\": [{\"src\": [\"*\"], \"dst\": [\"*\"], \"ip\": [\"*\"]}]}", i))
			}
		}
	}()
	for range 5 {
		stream.Until(func(m *tailcfg.MapResponse) bool { return m.KeepAlive })
	}
}

// The deadline of a write must not outlive the write: it would end silent sessions.
func TestSilentSessionOutlivesWriteLimit(t *testing.T) {
	s := controltest.New(t, controltest.Options{Control: control.Options{Keepalive: 400 * time.Millisecond}})
	s.SetWriteLimit(100 * time.Millisecond)
	stream := s.Joined("viewer").Stream()
	stream.Next()
	for range 2 {
		stream.Until(func(m *tailcfg.MapResponse) bool { return m.KeepAlive })
	}
}

func TestNoPeerIsRemovedAndChangedAtOnce(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	s.Policy(`{"tagOwners": {"tag:a": [], "tag:b": []}, "grants": [{"src": ["autogroup:member"], "dst": ["tag:a"], "ip": ["*"]}]}`)
	viewer := s.Joined("viewer")
	tagged := s.Node("server").Join(s.AuthKey(selvage.AuthKey{Tags: []string{"tag:a"}}))
	c := viewer.Client()
	c.Poll()
	c.Wait("the server", func(m *tsnetmap.NetworkMap) bool { return len(m.Peers) == 1 })
	for i := range 20 {
		// Many changes become one message: away and back, under another name.
		for _, tags := range [][]string{{"tag:b"}, {"tag:a"}} {
			if err := s.Net.SetNodeTags(background, selvage.System(), tagged.ID, tags); err != nil {
				t.Fatal(err)
			}
		}
		name := fmt.Sprint("name", i)
		if err := s.Net.RenameNode(background, selvage.System(), tagged.ID, name); err != nil {
			t.Fatal(err)
		}
		c.Wait(name, func(m *tsnetmap.NetworkMap) bool {
			return len(m.Peers) == 1 && strings.HasPrefix(m.Peers[0].Name(), name+".")
		})
	}
}

// An owner that a client has not heard of comes with the first of their devices.
func TestUsersComeWithTheirDevices(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	s.Policy(`{"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}]}`)
	c := s.Joined("viewer").Client()
	c.Poll()
	c.Wait("first map", func(*tsnetmap.NetworkMap) bool { return true })
	alice := s.User("alice", selvage.RoleMember)
	n := s.Node("phone").Join(s.AuthKey(selvage.AuthKey{User: alice.ID}))
	m := c.Wait("the phone", func(m *tsnetmap.NetworkMap) bool { return controltest.Sees(m, tailcfg.NodeID(n.ID)).Valid() })
	if u, ok := m.UserProfiles[tailcfg.UserID(alice.ID)]; !ok || u.LoginName() != "alice" {
		t.Errorf("the phone came without its owner: %v", m.UserProfiles)
	}
	if err := s.Net.UpdateUser(background, selvage.System(), alice.ID, func(u *selvage.User) { u.DisplayName = "Alice A." }); err != nil {
		t.Fatal(err)
	}
	c.Wait("her new name", func(m *tsnetmap.NetworkMap) bool {
		return m.UserProfiles[tailcfg.UserID(alice.ID)].DisplayName() == "Alice A."
	})
}

func TestRelaysReachOpenSessions(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	c := s.Joined("viewer").Client()
	c.Poll()
	c.Wait("first map", func(m *tsnetmap.NetworkMap) bool { return m.DERPMap != nil })
	s.SetDERPMap(controltest.DERPMap("other.test"))
	c.Wait("the new relay", func(m *tsnetmap.NetworkMap) bool { return m.DERPMap.Regions[1].Nodes[0].HostName == "other.test" })
	s.SetDERPMap(&tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{}})
	c.Wait("no relays", func(m *tsnetmap.NetworkMap) bool { return len(m.DERPMap.Regions) == 0 })
}

func TestDomainReachesOpenSessions(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	s.Joined("peer")
	c := s.Joined("viewer").Client()
	c.Poll()
	c.Wait("first map", func(m *tsnetmap.NetworkMap) bool { return len(m.Peers) == 1 })
	s.Settings(func(set *selvage.Settings) { set.Domain = "corp.example.com" })
	c.Wait("new names", func(m *tsnetmap.NetworkMap) bool {
		return m.Domain == "corp.example.com" && m.SelfName() == "viewer.corp.example.com." &&
			m.Peers[0].Name() == "peer.corp.example.com." && slices.Contains(m.DNS.Domains, "corp.example.com")
	})
}
