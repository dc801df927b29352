package control

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
)

// sessionKey finds the newest session of a node.
type sessionKey struct {
	tailnet selvage.TailnetID
	node    selvage.NodeID
}

func (s *Server) addSession(m *session) {
	s.sessMu.Lock()
	defer s.sessMu.Unlock()
	s.sessions[sessionKey{m.net.ID(), m.id}] = m
	s.metrics.online.Set(float64(len(s.sessions)))
}

func (s *Server) removeSession(m *session) {
	s.sessMu.Lock()
	defer s.sessMu.Unlock()
	k := sessionKey{m.net.ID(), m.id}
	if s.sessions[k] == m {
		delete(s.sessions, k)
	}
	s.metrics.online.Set(float64(len(s.sessions)))
}

func (s *Server) sessionOf(tailnet selvage.TailnetID, node selvage.NodeID) *session {
	s.sessMu.Lock()
	defer s.sessMu.Unlock()
	return s.sessions[sessionKey{tailnet, node}]
}

// drainSpread is over how many seconds clients are asked to come back after the
// server has stopped.
const drainSpread = 15

func retryAfterDrain() int { return 1 + rand.N(drainSpread) }

// Drain ends all sessions, spread over half of the time that ctx leaves so that
// clients don't come back all at once, and returns when none is left or ctx ends.
func (s *Server) Drain(ctx context.Context) {
	s.drainOnce.Do(func() { close(s.drain) })
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s.sessMu.Lock()
		left := len(s.sessions)
		s.sessMu.Unlock()
		if left == 0 {
			break
		}
		select {
		case <-ctx.Done():
			s.closeConnections()
			return
		case <-tick.C:
		}
	}
	s.closeConnections()
}

func (s *Server) closeConnections() {
	s.sessMu.Lock()
	conns := make([]*connection, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.sessMu.Unlock()
	for _, c := range conns {
		c.noise.Close()
	}
}

// maxEndpoints bounds what a device may report; real ones have a dozen at most.
const maxEndpoints = 64

// boundedEndpoints returns the endpoints of a report, without repetitions.
func boundedEndpoints(req *tailcfg.MapRequest) []netip.AddrPort {
	eps := make([]netip.AddrPort, 0, min(len(req.Endpoints), maxEndpoints))
	for _, ep := range req.Endpoints {
		if len(eps) < maxEndpoints && ep.IsValid() && !slices.Contains(eps, ep) {
			eps = append(eps, ep)
		}
	}
	return eps
}

// Limits of registrations by one machine.
const (
	registerBurst    = 20
	registerInterval = 500 * time.Millisecond // one more each
	maxLimited       = 50_000
)

// limiter bounds how often one machine may register.
type limiter struct {
	mu sync.Mutex
	// guards the following field
	full map[key.MachinePublic]time.Time // when the machine's allowance is whole again
}

func newLimiter() *limiter { return &limiter{full: map[key.MachinePublic]time.Time{}} }

// allow reports whether the machine may register now, and if not, when.
func (l *limiter) allow(m key.MachinePublic, now time.Time) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.full) >= maxLimited {
		for k, t := range l.full {
			if !t.After(now) {
				delete(l.full, k)
			}
		}
		if len(l.full) >= maxLimited {
			clear(l.full)
		}
	}
	at := l.full[m]
	if at.Before(now) {
		at = now
	}
	if at.Sub(now) > registerBurst*registerInterval {
		return at.Sub(now) - registerBurst*registerInterval + registerInterval, false
	}
	l.full[m] = at.Add(registerInterval)
	return 0, true
}
