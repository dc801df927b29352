package control

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

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
	close(m.done)
	s.sessMu.Lock()
	defer s.sessMu.Unlock()
	k := sessionKey{m.net.ID(), m.id}
	if s.sessions[k] == m {
		delete(s.sessions, k)
	}
	s.metrics.online.Set(float64(len(s.sessions)))
	select {
	case s.left <- struct{}{}:
	default:
	}
}

func (s *Server) sessionOf(tailnet selvage.TailnetID, node selvage.NodeID) *session {
	s.sessMu.Lock()
	defer s.sessMu.Unlock()
	return s.sessions[sessionKey{tailnet, node}]
}

const (
	// drainSpread is over how long the ends of sessions are spread, so that clients
	// don't come back all at once to whatever serves them next.
	drainSpread = 3 * time.Second
	// drainReturn is over how long clients are asked to come back that come while
	// the server stops.
	drainReturn = 15 // seconds
)

func retryAfterDrain() int { return 1 + rand.N(drainReturn) }

// draining reports whether the server is about to stop.
func (s *Server) draining() bool {
	select {
	case <-s.drain:
		return true
	default:
		return false
	}
}

// Drain refuses new connections and sessions from now on, ends the sessions one by one
// over drainSpread, and then all connections. It returns when that is done or ctx
// ends, which cuts the rest off.
func (s *Server) Drain(ctx context.Context) {
	s.drainOnce.Do(func() { close(s.drain) })
	defer s.inside.stop(ctx)
	for s.sessionCount() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-s.left:
		}
	}
}

func (s *Server) sessionCount() int {
	s.sessMu.Lock()
	defer s.sessMu.Unlock()
	return len(s.sessions)
}

// count keeps the number of open connections.
func (s *Server) count(change int64) {
	s.metrics.connections.Set(float64(s.conns.Add(change)))
}

// DialledHosts returns the hosts at which the connected nodes have dialled the server,
// each once, in order.
func (s *Server) DialledHosts() []string {
	s.sessMu.Lock()
	defer s.sessMu.Unlock()
	hosts := map[string]struct{}{}
	for _, m := range s.sessions {
		hosts[m.c.host] = struct{}{}
	}
	return slices.Sorted(maps.Keys(hosts))
}
