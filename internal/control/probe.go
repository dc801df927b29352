package control

import (
	"context"
	"errors"
	"sync"
	"time"

	"selvage"
	"selvage/internal/netmap"
)

// Timing of probes. A router that stops answering loses its routes after at most
// probeInterval + probeTimeout, which is under the 15 s that a connection may hang.
const (
	probeInterval = 5 * time.Second
	probeTimeout  = 5 * time.Second
	probeParallel = 50
)

// Probe asks those routers that share a route with another one for a sign of life,
// until ctx ends. A connection whose other end is gone can look alive for minutes.
func (s *Server) Probe(ctx context.Context) error {
	tick := time.NewTicker(probeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.probeRound(ctx)
		}
	}
}

func (s *Server) probeRound(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, probeParallel)
	for _, n := range s.hub.Nets() {
		for _, id := range n.Contested() {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				s.probe(ctx, n, id)
			})
		}
	}
}

func (s *Server) probe(ctx context.Context, n *netmap.Net, id selvage.NodeID) {
	node := n.View().Node(id)
	if node == nil || !node.Online {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	m := s.sessionOf(n.ID(), id)
	err := s.alive(ctx, n, node)
	if errors.Is(err, errManyAsks) || ctx.Err() != nil && context.Cause(ctx) == context.Canceled {
		return // the server was busy or is stopping, which says nothing of the node
	}
	if s.sessionOf(n.ID(), id) != m || m == nil {
		return // it has just come back, or gone: presence says more than the probe
	}
	if (err != nil) != node.Unreachable {
		s.log.Info("router probed", "node", id, "name", node.Name, "answers", err == nil)
	}
	n.SetReachable(id, err == nil)
}
