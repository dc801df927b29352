package relay

import (
	"maps"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"tailscale.com/tailcfg"

	"selvage"
)

// maxRendered is how many maps of one view are kept: one for each host at which
// clients dialled the server. Hosts are what clients say, so there may be more.
const maxRendered = 1024

// view is the map at one moment. It never changes, but for what is kept of it.
type view struct {
	embedded *Embedded                   // nil if there is none
	regions  map[int]*tailcfg.DERPRegion // all others, with pins

	mu       sync.Mutex // guards the fields below
	rendered map[viewKey]*tailcfg.DERPMap
}

type viewKey struct {
	host string
	pins bool
}

// render puts the sources and relays of now together. The caller holds mu.
func (r *Regions) render(now time.Time) *view {
	v := &view{
		embedded: r.c.Embedded,
		regions:  make(map[int]*tailcfg.DERPRegion),
		rendered: make(map[viewKey]*tailcfg.DERPMap),
	}
	for _, s := range r.sources {
		if s.m == nil {
			continue
		}
		for id, region := range s.m.Regions {
			if region == nil {
				delete(v.regions, id)
			} else {
				v.regions[id] = region
			}
		}
	}
	for _, relay := range r.relays {
		if now.Sub(relay.Seen) >= relayLife {
			continue
		}
		if err := checkRelay(relay); err != nil {
			r.skip(relay.Name, err)
			continue
		}
		delete(r.skipped, relay.Name)
		v.regions[relay.Region] = &tailcfg.DERPRegion{
			RegionID:   relay.Region,
			RegionCode: relay.Name,
			RegionName: relay.Name,
			Nodes:      []*tailcfg.DERPNode{node(relay.Region, relay.Host, relay.Port, relay.STUNPort, relay.CertHash)},
		}
	}
	if v.embedded != nil {
		delete(v.regions, v.embedded.Region)
	}
	return v
}

// skip logs why a relay isn't shown, once for each reason.
func (r *Regions) skip(name string, err error) {
	if r.skipped[name] != err.Error() {
		r.skipped[name] = err.Error()
		r.c.Log.Warn("leave relay out of the map", "relay", name, "err", err)
	}
}

func checkRelay(relay selvage.Relay) error {
	if relay.Region < FirstRelay || relay.Region > LastRelay {
		return selvage.Errorf(selvage.KindInvalid, "relay %q has region %d; use one from %d to %d", relay.Name, relay.Region, FirstRelay, LastRelay)
	}
	return announcementOf(relay).Check()
}

// node describes a relay of ours: DERP with TLS on the port, pinned if hash is not
// empty.
func node(region int, host string, port, stunPort int, hash string) *tailcfg.DERPNode {
	n := &tailcfg.DERPNode{
		Name:     nodeName(region, 0),
		RegionID: region,
		HostName: host,
		DERPPort: port,
		STUNPort: stunPort,
	}
	if port == httpsPort {
		n.DERPPort = 0
	}
	if stunPort == DefaultSTUNPort {
		n.STUNPort = 0
	}
	// With an address given, clients ask no DNS and try no other family.
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip = ip.Unmap(); ip.Is4() {
			n.HostName, n.IPv4, n.IPv6 = ip.String(), ip.String(), familyOff
		} else {
			n.HostName, n.IPv4, n.IPv6 = addressName, familyOff, ip.String()
		}
	}
	if hash != "" {
		n.CertName = pinPrefix + hash
	}
	return n
}

const (
	httpPort  = 80
	httpsPort = 443
)

// forClient returns the map for clients that dialled host.
func (v *view) forClient(host string, pins bool) *tailcfg.DERPMap {
	k := viewKey{strings.ToLower(host), pins}
	if v.embedded == nil || v.embedded.Host != "" {
		k.host = "" // all get the same
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if m, ok := v.rendered[k]; ok {
		return m
	}
	m := &tailcfg.DERPMap{Regions: maps.Clone(v.regions)}
	if v.embedded != nil {
		if region := v.embedded.region(k.host); region != nil {
			m.Regions[region.RegionID] = region
		}
	}
	if !pins {
		for id, region := range m.Regions {
			m.Regions[id] = withoutPins(region)
		}
	}
	if len(v.rendered) >= maxRendered {
		clear(v.rendered)
	}
	v.rendered[k] = m
	return m
}

// withoutPins returns the region for clients that take a pin for a name. They are
// told not to verify the relay's certificate: what passes is encrypted from client
// to client all the same.
func withoutPins(region *tailcfg.DERPRegion) *tailcfg.DERPRegion {
	c := region.Clone()
	for _, n := range c.Nodes {
		if strings.HasPrefix(n.CertName, pinPrefix) {
			n.CertName, n.InsecureForTests = "", true
		}
	}
	return c
}

// region returns the embedded relay for clients that dialled the host, or nil if
// that is no host.
func (e *Embedded) region(dialled string) *tailcfg.DERPRegion {
	host, port, http80 := e.Host, e.Port, e.HTTP80
	if port == 0 {
		port = httpsPort
	}
	if host == "" {
		var ok bool
		if host, port, ok = splitHost(dialled); !ok {
			return nil
		}
		http80 = port == httpPort
	}
	var hash string
	if e.Pinned != nil {
		var err error
		if hash, err = e.Pinned.Hash(host); err != nil {
			return nil
		}
	}
	n := node(e.Region, host, port, e.STUNPort, hash)
	n.CanPort80 = http80
	return &tailcfg.DERPRegion{RegionID: e.Region, RegionCode: e.Code, RegionName: e.Name, Nodes: []*tailcfg.DERPNode{n}}
}

// splitHost takes apart what a client sent as Host; without a port it is that of
// plain HTTP.
func splitHost(hostPort string) (host string, port int, ok bool) {
	host, port = strings.Trim(hostPort, "[]"), httpPort
	if h, p, err := net.SplitHostPort(hostPort); err == nil {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > maxPort {
			return "", 0, false
		}
		host, port = h, n
	}
	host = strings.TrimSuffix(host, ".")
	return host, port, checkHost(host) == nil
}
