package control

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/netmap"
)

// Limits of what a device says of itself.
const (
	maxEndpoints = 64 // real devices have a dozen
	// maxHostinfo bounds a Hostinfo as a whole, in bytes of JSON: anybody can send one
	// to wait with, and part of it goes to peers. Real ones have a few KiB, those of
	// app connectors with thousands of routes the most.
	maxHostinfo = 64 << 10
	maxRoutes   = 10_000
	maxTags     = 100
	// maxRegion is the highest ID of a relay region.
	maxRegion = 1 << 16
)

// report takes in what a device says of itself.
func (s *Server) report(ctx context.Context, c *connection, net *netmap.Net, node *netmap.Node, req *tailcfg.MapRequest) error {
	info, err := checkHostinfo(req.Hostinfo)
	if err != nil {
		return err
	}
	changed, err := net.Report(node.ID, func(soft *selvage.Soft) {
		soft.Cap = max(c.version, req.Version)
		if !req.DiscoKey.IsZero() {
			soft.Disco = req.DiscoKey
		}
		soft.Endpoints = boundedEndpoints(req.Endpoints)
		if info == nil {
			return
		}
		soft.Hostinfo = info
		if ni := info.NetInfo; ni != nil && ni.PreferredDERP > 0 && ni.PreferredDERP <= maxRegion {
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

// unreported reports whether the server has no report of the device at all. Streams
// are read-only otherwise, since a client that has anything new to say sends a report.
// But it does not repeat one, so if the server has lost it (a crash before it was
// saved, a restored backup), what the stream says is all there will be for long.
func unreported(node *netmap.Node) bool { return node.Soft.Disco.IsZero() }

// boundedEndpoints returns the endpoints of a report, without repetitions.
func boundedEndpoints(all []netip.AddrPort) []netip.AddrPort {
	eps := make([]netip.AddrPort, 0, min(len(all), maxEndpoints))
	for _, ep := range all {
		if len(eps) < maxEndpoints && ep.IsValid() && !slices.Contains(eps, ep) {
			eps = append(eps, ep)
		}
	}
	return eps
}

// checkHostinfo returns a report without what makes no sense in it, or says what is
// wrong with it. The server keeps it and all peers get a part of it, so a bad device must
// not be able to make it big.
func checkHostinfo(h *tailcfg.Hostinfo) (*tailcfg.Hostinfo, error) {
	if h == nil {
		return nil, nil
	}
	if len(h.RoutableIPs) > maxRoutes {
		return nil, selvage.Errorf(selvage.KindInvalid, "%d routes are advertised; at most %d are allowed", len(h.RoutableIPs), maxRoutes)
	}
	if len(h.RequestTags) > maxTags {
		return nil, selvage.Errorf(selvage.KindInvalid, "%d tags are asked for; at most %d are allowed", len(h.RequestTags), maxTags)
	}
	if n := len(jsonOf(h)); n > maxHostinfo {
		return nil, selvage.Errorf(selvage.KindInvalid, "what the device says of itself takes %d bytes; at most %d are allowed: let it advertise fewer routes or services", n, maxHostinfo)
	}
	bad := func(p netip.Prefix) bool { return !p.IsValid() || p != p.Masked() }
	if slices.ContainsFunc(h.RoutableIPs, bad) {
		c := *h
		c.RoutableIPs = slices.DeleteFunc(slices.Clone(h.RoutableIPs), bad)
		return &c, nil
	}
	return h, nil
}
