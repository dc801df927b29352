package control

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/control/mapresp"
	"selvage/internal/netmap"
)

// Timing of map sessions.
const (
	// DefaultKeepalive is how long a session may be silent. Clients give up after
	// 120 s; the jitter keeps 10,000 of them from being due at once.
	DefaultKeepalive  = 50 * time.Second
	keepaliveJitter   = 8 * time.Second
	messageWriteLimit = 30 * time.Second
	// pushQueue bounds what waits to be put on a session: requests to the node.
	pushQueue = 8
)

// serveMap answers /machine/map: a stream, a report, or a single map.
func (s *Server) serveMap(w http.ResponseWriter, r *http.Request) {
	c := from(r.Context())
	var req tailcfg.MapRequest
	if !decode(w, r, &req) {
		return
	}
	if err := checkVersion(max(c.version, req.Version)); err != nil {
		http.Error(w, err.Error(), http.StatusUpgradeRequired)
		return
	}
	net, node := s.hub.NodeByKey(req.NodeKey)
	switch {
	case node == nil:
		s.sendUnknown(w, r, &req)
		return
	case node.Machine != c.machine:
		http.Error(w, "this node key belongs to another machine", http.StatusForbidden)
		return
	}
	if !req.Stream && !req.ReadOnly {
		if err := s.report(r.Context(), c, net, node, &req); err != nil {
			s.mapError(w, r, node, err)
			return
		}
	}
	if !req.Stream && req.OmitPeers {
		return // a report alone; clients ignore the body
	}
	sess := &session{s: s, c: c, net: net, id: node.ID, out: newFrames(w, req.Compress), cap: max(c.version, req.Version)}
	var err error
	if req.Stream {
		err = sess.stream(r.Context())
	} else {
		_, err = sess.sendFull()
	}
	if err != nil {
		s.mapError(w, r, node, err)
	}
}

// mapError ends a request; when the stream has begun, the status is out already.
func (s *Server) mapError(w http.ResponseWriter, r *http.Request, node *netmap.Node, err error) {
	if r.Context().Err() != nil {
		return
	}
	s.log.Warn("map request failed", "node", node.ID, "name", node.Name, "err", err)
	http.Error(w, "internal error; the server's log has the cause", http.StatusInternalServerError)
}

// sendUnknown answers a node that isn't there (any more): its key has expired. An
// error would make it try again for ever.
func (s *Server) sendUnknown(w http.ResponseWriter, r *http.Request, req *tailcfg.MapRequest) {
	if !req.Stream {
		http.Error(w, "this node is not known here", http.StatusNotFound)
		return
	}
	c := from(r.Context())
	self := &tailcfg.Node{ID: 1 << 50, StableID: "gone", Name: "gone.", Key: req.NodeKey, Machine: c.machine}
	out := newFrames(w, req.Compress)
	if _, err := out.message(mapresp.Gone(self, s.now())); err != nil {
		s.log.Debug("unknown node not told", "err", err)
	}
}

// report takes in what a device says of itself.
func (s *Server) report(ctx context.Context, c *connection, net *netmap.Net, node *netmap.Node, req *tailcfg.MapRequest) error {
	changed, err := net.Report(node.ID, func(soft *selvage.Soft) {
		soft.Cap = max(c.version, req.Version)
		if !req.DiscoKey.IsZero() {
			soft.Disco = req.DiscoKey
		}
		soft.Endpoints = boundedEndpoints(req)
		if req.Hostinfo == nil {
			return
		}
		soft.Hostinfo = req.Hostinfo
		if ni := req.Hostinfo.NetInfo; ni != nil && ni.PreferredDERP != 0 {
			soft.HomeDERP = ni.PreferredDERP
		}
	})
	if err != nil || !changed {
		return err
	}
	s.metrics.reports.Inc()
	if err := net.Settle(ctx, nodeActor(c, node), node.ID); err != nil {
		return fmt.Errorf("settle report of node %d: %w", node.ID, err)
	}
	return nil
}

// session is one map stream.
type session struct {
	s   *Server
	c   *connection
	net *netmap.Net
	id  selvage.NodeID
	out *frames
	cap tailcfg.CapabilityVersion

	push chan *tailcfg.MapResponse

	// What was sent last, to send only what differs.
	view   *netmap.View
	node   *netmap.Node
	self   []byte // JSON of the self node
	dns    []byte
	filter [sha256.Size]byte
}

// stream sends the full map and then what changes, until one side ends it.
func (m *session) stream(ctx context.Context) error {
	watch, err := m.net.Watch(m.id)
	if err != nil {
		return err
	}
	defer watch.Close()
	m.push = make(chan *tailcfg.MapResponse, pushQueue)
	m.s.addSession(m)
	defer m.s.removeSession(m)
	derp := m.s.derpWait()
	if ok, err := m.sendFull(); err != nil || !ok {
		return err
	}
	timer := time.NewTimer(m.nextKeepalive())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.s.drain:
			return nil
		case <-watch.Replaced():
			return nil
		case <-watch.Wake():
			ok, err := m.sendDelta()
			if err != nil || !ok {
				return err
			}
		case msg := <-m.push:
			if err := m.send("request", msg); err != nil {
				return err
			}
		case <-derp:
			derp = m.s.derpWait()
			if err := m.send("relays", &tailcfg.MapResponse{DERPMap: m.s.derpMap(m.c.host, m.cap)}); err != nil {
				return err
			}
		case <-timer.C:
			if err := m.keepalive(); err != nil {
				return err
			}
		}
		timer.Reset(m.nextKeepalive())
	}
}

func (m *session) nextKeepalive() time.Duration {
	return m.s.keepalive + rand.N(keepaliveJitter)
}

// sendFull sends everything; ok is false if the node is gone.
func (m *session) sendFull() (ok bool, err error) {
	v := m.net.View()
	self := v.Node(m.id)
	if self == nil {
		return false, nil
	}
	msg := mapresp.Full(v, self)
	msg.DERPMap = m.s.derpMap(m.c.host, m.cap)
	now := m.s.now().UTC()
	msg.ControlTime = &now
	m.view, m.node = v, self
	m.self, m.dns, m.filter = jsonOf(msg.Node), jsonOf(msg.DNSConfig), sha256.Sum256(jsonOf(msg.PacketFilters))
	return true, m.send("full", msg)
}

// sendDelta sends what differs from what was sent last; ok is false if the node is
// gone and has been told so.
func (m *session) sendDelta() (ok bool, err error) {
	v := m.net.View()
	if v == m.view {
		return true, nil
	}
	d := v.Since(m.view, m.node)
	if d.Gone {
		return false, m.send("gone", mapresp.Gone(mapresp.Self(m.view, m.node), m.s.now()))
	}
	self := v.Node(m.id)
	if self == nil {
		return false, nil
	}
	msg := mapresp.Delta(v, self, d)
	if msg == nil {
		msg = &tailcfg.MapResponse{}
	}
	kind := m.addOwn(v, self, d, msg)
	m.view, m.node = v, self
	if kind == "" && len(msg.PeersChanged)+len(msg.PeersChangedPatch)+len(msg.PeersRemoved)+len(msg.UserProfiles) == 0 {
		return true, nil
	}
	if kind == "" {
		kind = deltaKind(msg)
	}
	if err := m.send(kind, msg); err != nil {
		return false, err
	}
	m.s.metrics.propagation.Observe(m.s.now().Sub(v.Published).Seconds())
	return true, nil
}

// addOwn puts the node's own things into a delta if they differ from what was sent;
// most of them make a client rebuild everything, so equal ones are left out.
func (m *session) addOwn(v *netmap.View, self *netmap.Node, d netmap.Delta, msg *tailcfg.MapResponse) (kind string) {
	if d.Filter {
		chunks := mapresp.Filter(v, self)
		if sum := sha256.Sum256(jsonOf(chunks)); sum != m.filter {
			msg.PacketFilters, m.filter, kind = chunks, sum, "filter"
		}
	}
	if d.Self != nil {
		n := mapresp.Self(v, self)
		if b := jsonOf(n); !bytes.Equal(b, m.self) {
			msg.Node, m.self, kind = n, b, "self"
		}
	}
	if d.Settings || d.Self != nil {
		cfg := mapresp.DNS(v, self)
		if b := jsonOf(cfg); !bytes.Equal(b, m.dns) {
			msg.DNSConfig, msg.Domain, m.dns, kind = cfg, v.Domain(), b, "settings"
		}
	}
	return kind
}

// deltaKind names a message for the metrics.
func deltaKind(msg *tailcfg.MapResponse) string {
	if len(msg.PeersChanged)+len(msg.PeersRemoved)+len(msg.UserProfiles) == 0 {
		return "patch"
	}
	return "peers"
}

func (m *session) send(kind string, msg *tailcfg.MapResponse) error {
	n, err := m.out.message(msg)
	m.s.metrics.sent(kind, n)
	if err != nil {
		return fmt.Errorf("send %s message to node %d: %w", kind, m.id, err)
	}
	return nil
}

func (m *session) keepalive() error {
	n, err := m.out.keepalive()
	m.s.metrics.sent("keepalive", n)
	return err
}

// jsonOf encodes what is known to be encodable.
func jsonOf(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("control: " + err.Error()) // a programmer's mistake: these types always encode
	}
	return b
}
