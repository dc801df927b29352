package control

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/control/mapresp"
	"selvage/internal/netmap"
)

// Timing of map sessions.
const (
	// DefaultKeepalive is how long a session may be silent. Clients give up after
	// 120 s.
	DefaultKeepalive = 50 * time.Second
	// keepaliveJitter is the part of that time by which it may be longer, which
	// keeps 10,000 of them from being due at once.
	keepaliveJitter = 6
	// pushQueue bounds what waits to be put on a session: requests to the node.
	pushQueue = 8
)

// errEnd ends a session without anything being wrong.
var errEnd = errors.New("session ended")

// session is one map stream, or the answer to a request for a single map. It has one
// goroutine, which alone writes.
type session struct {
	s    *Server
	c    *connection
	net  *netmap.Net
	id   selvage.NodeID
	key  key.NodePublic // of the request
	out  *frames
	cap  tailcfg.CapabilityVersion
	host string // host[:port] by which the client calls the server in here
	lean bool   // the client wants no peers

	push chan *tailcfg.MapResponse
	done chan struct{} // closed when the stream has ended

	// What was sent last, to send only what differs.
	view *netmap.View
	node *netmap.Node
	sent sent
}

// sent is the JSON of those things that a message has only if they changed: most of
// them make a client rebuild everything.
type sent struct {
	self, dns, ssh, derp []byte
	filter               map[string][]byte // by chunk
	domain               string
	debug                bool
}

func (s *Server) newSession(w http.ResponseWriter, r *http.Request, net *netmap.Net, id selvage.NodeID, req *tailcfg.MapRequest) *session {
	c := from(r.Context())
	return &session{
		s: s, c: c, net: net, id: id, key: req.NodeKey,
		out:  newFrames(w, req.Compress, s.writeLimit),
		cap:  max(c.version, req.Version),
		host: cleanHost(cmp.Or(r.Host, c.host)),
		lean: req.OmitPeers,
		push: make(chan *tailcfg.MapResponse, pushQueue),
		done: make(chan struct{}),
	}
}

func (m *session) serve(ctx context.Context, stream bool) error {
	if stream {
		return m.stream(ctx)
	}
	return m.sendFull()
}

// stream sends the full map and then what changes, until one side ends it.
func (m *session) stream(ctx context.Context) error {
	watch, err := m.net.Watch(m.id)
	if err != nil {
		return err
	}
	defer watch.Close()
	m.s.addSession(m)
	defer m.s.removeSession(m)
	drain, derp := m.s.drain, m.s.derpWait()
	var leave <-chan time.Time
	if err := m.sendFull(); err != nil {
		return err
	}
	silence := time.NewTimer(m.nextKeepalive())
	defer silence.Stop()
	for {
		var sent bool
		var err error
		select {
		case <-ctx.Done():
			return errEnd
		case <-watch.Replaced():
			return errEnd
		case <-leave:
			return errEnd
		case <-drain:
			drain, leave = nil, time.After(rand.N(m.s.drainSpread))
		case <-watch.Wake():
			sent, err = m.sendDelta()
		case msg := <-m.push:
			sent, err = true, m.send("request", msg)
		case <-derp:
			derp = m.s.derpWait()
			sent, err = m.sendRelays()
		case <-silence.C:
			sent, err = true, m.keepalive()
		}
		if err != nil {
			return err
		}
		if sent {
			silence.Reset(m.nextKeepalive())
		}
	}
}

func (m *session) nextKeepalive() time.Duration {
	return m.s.keepalive + rand.N(m.s.keepalive/keepaliveJitter+1)
}

// sendFull sends everything.
func (m *session) sendFull() error {
	v := m.net.View()
	self := v.Node(m.id)
	if self == nil {
		return m.sendGone()
	}
	msg, peers := mapresp.Head(v, self)
	msg.SSHPolicy = mapresp.SSH(v, self, m.host)
	msg.DERPMap = m.relays(v)
	now := m.s.now().UTC()
	msg.ControlTime = &now
	m.view, m.node = v, self
	m.sent = sent{
		self: selfJSON(msg.Node), dns: jsonOf(msg.DNSConfig), filter: chunksJSON(msg.PacketFilters),
		derp: jsonOf(msg.DERPMap), domain: msg.Domain, debug: msg.Debug != nil,
	}
	if msg.SSHPolicy != nil {
		m.sent.ssh = jsonOf(msg.SSHPolicy)
	}
	if m.lean {
		peers = nil
	}
	if m.out.zstd && len(peers) >= 2*groupSize {
		n, err := m.out.spliced(msg, m.s.groups.frames(v, self, peers))
		return m.note("full", n, err)
	}
	for _, p := range peers {
		msg.Peers = append(msg.Peers, mapresp.Peer(v, self, p))
	}
	return m.send("full", msg)
}

// sendGone tells a node that it has just been removed, and ends the session.
func (m *session) sendGone() error {
	self := unknownNode(m.key, m.c.machine)
	if m.node != nil {
		self = mapresp.Self(m.view, m.node)
	}
	if err := m.send("gone", mapresp.Gone(self, m.s.now())); err != nil {
		return err
	}
	return errEnd
}

// sendDelta sends what differs from what was sent last, if anything does.
func (m *session) sendDelta() (sent bool, err error) {
	v := m.net.View()
	if v == m.view {
		return false, nil
	}
	d := v.Since(m.view, m.node)
	self := v.Node(m.id)
	if d.Gone || self == nil {
		return true, m.sendGone()
	}
	msg := mapresp.Delta(v, self, d)
	if msg == nil {
		msg = &tailcfg.MapResponse{}
	}
	if m.lean {
		msg = &tailcfg.MapResponse{UserProfiles: msg.UserProfiles}
	}
	kind := m.addOwn(v, self, d, msg)
	m.view, m.node = v, self
	if kind == "" {
		kind = peersKind(msg)
	}
	if kind == "" {
		return false, nil
	}
	if err := m.send(kind, msg); err != nil {
		return true, err
	}
	m.s.metrics.propagation.Observe(m.s.now().Sub(v.Published).Seconds())
	return true, nil
}

// addOwn puts the node's own things into a delta if they differ from what was sent.
// It returns a name for the metrics, or "" if there was nothing to add.
func (m *session) addOwn(v *netmap.View, self *netmap.Node, d netmap.Delta, msg *tailcfg.MapResponse) (kind string) {
	if d.Filter {
		if chunks := m.filterChunks(mapresp.Filter(v, self)); len(chunks) > 0 {
			msg.PacketFilters, kind = chunks, "filter"
		}
	}
	if d.SSH {
		if p := m.sshRules(v, self); p != nil && replace(&m.sent.ssh, jsonOf(p)) {
			msg.SSHPolicy, kind = p, "ssh"
		}
	}
	if d.Self != nil {
		n := mapresp.Self(v, self)
		if replace(&m.sent.self, selfJSON(n)) {
			msg.Node, kind = n, "self"
		}
	}
	if d.Policy {
		if derp := m.relays(v); replace(&m.sent.derp, jsonOf(derp)) {
			msg.DERPMap, kind = derp, "relays"
		}
	}
	if d.Settings || d.Self != nil {
		cfg := mapresp.DNS(v, self)
		if replace(&m.sent.dns, jsonOf(cfg)) {
			msg.DNSConfig, kind = cfg, "settings"
		}
		if v.Domain() != m.sent.domain {
			msg.Domain, m.sent.domain, kind = v.Domain(), v.Domain(), "settings"
		}
		if debug := mapresp.Debug(v); debug != nil && !m.sent.debug {
			msg.Debug, m.sent.debug, kind = debug, true, "settings"
		}
	}
	return kind
}

// filterChunks returns those chunks of a packet filter that differ from what was sent; nil
// takes a chunk away.
func (m *session) filterChunks(filter map[string][]tailcfg.FilterRule) map[string][]tailcfg.FilterRule {
	now, differing := chunksJSON(filter), map[string][]tailcfg.FilterRule{}
	for name, text := range now {
		if !bytes.Equal(text, m.sent.filter[name]) {
			differing[name] = filter[name]
		}
	}
	for name := range m.sent.filter {
		if _, still := now[name]; !still {
			differing[name] = nil
		}
	}
	m.sent.filter = now
	return differing
}

// chunksJSON is the JSON of each chunk of a filter.
func chunksJSON(filter map[string][]tailcfg.FilterRule) map[string][]byte {
	out := make(map[string][]byte, len(filter))
	for name, rules := range filter {
		out[name] = jsonOf(rules)
	}
	return out
}

// sshRules returns the SSH rules to compare with those that were sent: none at all
// must be said with an empty list if there were some.
func (m *session) sshRules(v *netmap.View, self *netmap.Node) *tailcfg.SSHPolicy {
	p := mapresp.SSH(v, self, m.host)
	if p == nil && m.sent.ssh != nil {
		return &tailcfg.SSHPolicy{Rules: []*tailcfg.SSHRule{}}
	}
	return p
}

// relays returns the relays for the client under the policy of a view.
func (m *session) relays(v *netmap.View) *tailcfg.DERPMap {
	return mapresp.Relays(v, m.s.derpMap(m.c.host, m.cap))
}

// sendRelays sends the relays if they are not those that the client has.
func (m *session) sendRelays() (sent bool, err error) {
	derp := m.relays(m.view)
	if !replace(&m.sent.derp, jsonOf(derp)) {
		return false, nil
	}
	return true, m.send("relays", &tailcfg.MapResponse{DERPMap: derp})
}

// replace sets *old to now and reports whether they differed.
func replace(old *[]byte, now []byte) bool {
	same := bytes.Equal(*old, now)
	*old = now
	return !same
}

// selfJSON is what to compare of a self node: without what the client itself has
// reported, which it need not be told.
func selfJSON(n *tailcfg.Node) []byte {
	c := *n
	c.Endpoints, c.HomeDERP, c.Cap = nil, 0, 0
	c.DiscoKey = key.DiscoPublic{}
	c.Hostinfo = tailcfg.HostinfoView{}
	return jsonOf(&c)
}

// peersKind names a message about peers for the metrics, or "" if it has nothing.
func peersKind(msg *tailcfg.MapResponse) string {
	switch {
	case len(msg.PeersChanged)+len(msg.PeersRemoved)+len(msg.UserProfiles) > 0:
		return "peers"
	case len(msg.PeersChangedPatch) > 0:
		return "patch"
	}
	return ""
}

func (m *session) send(kind string, msg *tailcfg.MapResponse) error {
	n, err := m.out.message(msg)
	return m.note(kind, n, err)
}

func (m *session) keepalive() error {
	n, err := m.out.keepalive()
	return m.note("keepalive", n, err)
}

// note counts a message that was sent, or says which one was not.
func (m *session) note(kind string, bytes int, err error) error {
	if err != nil {
		return fmt.Errorf("send %s message to node %d: %w", kind, m.id, err)
	}
	m.s.metrics.sent(kind, bytes)
	return nil
}

// jsonOf encodes what is known to be encodable.
func jsonOf(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("control: " + err.Error()) // a programmer's mistake: these types always encode
	}
	return b
}
