package control

import (
	"errors"
	"net/http"
	"strconv"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/control/mapresp"
	"selvage/internal/netmap"
)

// serveMap answers /machine/map: a stream, a report, or a single map.
func (s *Server) serveMap(w http.ResponseWriter, r *http.Request) {
	c := from(r.Context())
	var req tailcfg.MapRequest
	if !decode(w, r, &req) {
		return
	}
	if err := s.checkVersion(max(c.version, req.Version)); err != nil {
		http.Error(w, err.Error(), http.StatusUpgradeRequired)
		return
	}
	net, node := s.hub.NodeByKey(req.NodeKey)
	switch {
	case node == nil:
		s.sendUnknown(w, c, &req)
		return
	case node.Machine != c.machine:
		http.Error(w, "this node key belongs to another machine", http.StatusForbidden)
		return
	case req.Stream && s.draining():
		refuseDraining(w)
		return
	}
	c.admission.done()
	//lint:ignore SA1019 tools that ask for a single map still set ReadOnly
	update := !req.Stream && req.OmitPeers && !req.ReadOnly
	if update || req.Stream && unreported(node) {
		if wait, ok := s.reports.allow(req.NodeKey, s.now()); !ok {
			refuseBusy(w, "this device reports too often", wait)
			return
		}
		if err := s.report(r.Context(), c, net, node, &req); err != nil {
			s.mapError(w, r, node, err)
			return
		}
	}
	if update {
		return // the only request that is nothing but a report; clients ignore the body
	}
	m := s.newSession(w, r, net, node.ID, &req)
	if err := m.serve(r.Context(), req.Stream); err != nil && !errors.Is(err, errEnd) {
		if m.out.begun {
			// The status is out, and a text would be taken for a message.
			s.log.Info("map session cut off", "node", node.ID, "name", node.Name, "err", err)
			panic(http.ErrAbortHandler)
		}
		s.mapError(w, r, node, err)
	}
}

// mapError answers a map request that failed before anything was sent.
func (s *Server) mapError(w http.ResponseWriter, r *http.Request, node *netmap.Node, err error) {
	if r.Context().Err() != nil {
		return
	}
	switch selvage.KindOf(err) {
	case selvage.KindInvalid:
		s.log.Warn("report refused", "node", node.ID, "name", node.Name, "err", err)
		http.Error(w, err.Error(), http.StatusBadRequest)
	case selvage.KindNotFound:
		// It went while it was served; the next request is told so.
		http.Error(w, "this node is gone", http.StatusGone)
	default:
		s.log.Error("map request failed", "node", node.ID, "name", node.Name, "err", err)
		http.Error(w, "internal error; the server's log has the cause", http.StatusInternalServerError)
	}
}

// sendUnknown answers a node that isn't there (any more): its key has expired. An
// error would make it try again for ever.
func (s *Server) sendUnknown(w http.ResponseWriter, c *connection, req *tailcfg.MapRequest) {
	self := unknownNode(req.NodeKey, c.machine)
	out := newFrames(w, req.Compress, s.writeLimit)
	msg := mapresp.Gone(self, s.now())
	// Without relays the client drops the connection to its own, and after the next
	// login to the same relay it does not make it again (1.102: magicsock).
	msg.DERPMap = s.derpMap(c.host, max(c.version, req.Version))
	n, err := out.message(msg)
	s.metrics.sent("gone", n)
	if err != nil {
		s.log.Debug("unknown node not told", "err", err)
	}
}

// unknownNode is how a node looks to itself that the server doesn't know.
func unknownNode(k key.NodePublic, m key.MachinePublic) *tailcfg.Node {
	return &tailcfg.Node{ID: 1 << 50, StableID: "gone", Name: "gone.", Key: k, Machine: m}
}

// refuseDraining tells a client to come back when the server may be there again.
func refuseDraining(w http.ResponseWriter) {
	w.Header().Set("Retry-After", strconv.Itoa(retryAfterDrain()))
	http.Error(w, "the server is stopping; try again", http.StatusServiceUnavailable)
}
