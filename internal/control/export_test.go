package control

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/netmap"
)

// Limits that tests shorten.

func (s *Server) SetWriteLimit(d time.Duration)   { s.writeLimit = d }
func (s *Server) SetDrainSpread(d time.Duration)  { s.drainSpread = d }
func (s *Server) SetFollowupWait(d time.Duration) { s.followupWait = d }

func (s *Server) SetShakeLimit(d time.Duration) { s.shakeLimit = d }

// SetUnprovenIdle sets how long connections of unknown machines may be idle.
func (s *Server) SetUnprovenIdle(d time.Duration) { s.unprovenIdle = d }

// Unproven returns how many connections of unknown machines are open from an address.
func (s *Server) Unproven(remote string) int {
	s.unproven.mu.Lock()
	defer s.unproven.mu.Unlock()
	return s.unproven.byRemote[remote]
}

// FillUnproven takes all connections that unknown machines have from an address.
func (s *Server) FillUnproven(remote string) {
	for s.unproven.add(remote, false) {
	}
}

// SetWriteStall sets how long a connection may take no byte.
func (s *Server) SetWriteStall(d time.Duration) { s.inside.server.HTTP2.WriteByteTimeout = d }

// Sessions returns how many nodes have a session.
func (s *Server) Sessions() int { return s.sessionCount() }

// Connections returns how many Noise connections are open.
func (s *Server) Connections() int { return int(s.conns.Load()) }

// ServeInside replaces what is served in Noise connections.
func (s *Server) ServeInside(h http.Handler) { s.inside = newInside(h, s.log) }

// CleanHost is cleanHost.
func CleanHost(host string) string { return cleanHost(host) }

// SameCode is sameCode.
func SameCode(followup, code string) bool { return sameCode(followup, code) }

// CheckHostinfo is checkHostinfo.
func CheckHostinfo(h *tailcfg.Hostinfo) (*tailcfg.Hostinfo, error) { return checkHostinfo(h) }

// BoundedEndpoints is boundedEndpoints.
func BoundedEndpoints(eps []netip.AddrPort) []netip.AddrPort { return boundedEndpoints(eps) }

// Alive is alive.
func (s *Server) Alive(ctx context.Context, n *netmap.Net, node *netmap.Node) error {
	return s.alive(ctx, n, node)
}

// Asked returns how many requests to nodes wait for an answer.
func (s *Server) Asked() int {
	s.asked.mu.Lock()
	defer s.asked.mu.Unlock()
	return len(s.asked.byToken)
}

// Polls returns how many requests wait for the registration with the code.
func (s *Server) Polls(code string) int {
	s.pending.mu.Lock()
	defer s.pending.mu.Unlock()
	if p := s.pending.byCode[code]; p != nil {
		return p.polls
	}
	return 0
}

// HasSession reports whether the node has a session.
func (s *Server) HasSession(n *netmap.Net, id selvage.NodeID) bool {
	return s.sessionOf(n.ID(), id) != nil
}

// KeepaliveJSON is keepaliveJSON.
const KeepaliveJSON = keepaliveJSON

// ProbeRound is probeRound.
func (s *Server) ProbeRound(ctx context.Context) { s.probeRound(ctx) }
