package mapresp

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/dns"
	"selvage/internal/netmap"
)

// Full returns the first message of a session: everything. The message has no DERP
// map and no times; the session adds them.
func Full(v *netmap.View, self *netmap.Node) *tailcfg.MapResponse {
	m, peers := Head(v, self)
	for _, p := range peers {
		m.Peers = append(m.Peers, Peer(v, self, p))
	}
	return m
}

// Head returns the first message of a session but for its peers, and those, sorted
// by ID.
func Head(v *netmap.View, self *netmap.Node) (*tailcfg.MapResponse, []*netmap.Node) {
	m := &tailcfg.MapResponse{
		Node:            Self(v, self),
		Domain:          v.Domain(),
		DNSConfig:       DNS(v, self),
		CollectServices: "false",
		PacketFilters:   Filter(v, self),
		Debug:           Debug(v),
	}
	seen := map[selvage.UserID]bool{}
	addUser := func(n *netmap.Node) {
		if n.Tagged() || seen[n.User] {
			return
		}
		seen[n.User] = true
		if u := v.User(n.User); u != nil {
			m.UserProfiles = append(m.UserProfiles, User(u))
		}
	}
	addUser(self)
	var peers []*netmap.Node
	for peer := range v.Peers(self) {
		peers = append(peers, peer)
		addUser(peer)
	}
	m.UserProfiles = append(m.UserProfiles, taggedUser())
	slices.SortFunc(peers, func(a, b *netmap.Node) int { return cmp.Compare(a.ID, b.ID) })
	return m, peers
}

// Debug returns the process-wide switches of a client.
func Debug(v *netmap.View) *tailcfg.Debug {
	if v.Tailnet.Settings.ClientLogs {
		return nil
	}
	// Without this every client sends its logs to its maker. It must never go
	// together with the flow log capability, which turns such a client off.
	return &tailcfg.Debug{DisableLogTail: true}
}

// DNS returns the name settings for a node; a node that takes no part has none.
func DNS(v *netmap.View, self *netmap.Node) *tailcfg.DNSConfig {
	if !self.Approved {
		return &tailcfg.DNSConfig{}
	}
	return dns.Config(v.Tailnet.Settings)
}

// Relays returns the relays of a tailnet: those of the server, with what the policy adds
// and takes out.
func Relays(v *netmap.View, server *tailcfg.DERPMap) *tailcfg.DERPMap {
	own := v.Policy.Parsed.DERPMap()
	if own == nil || server == nil {
		return server
	}
	m := *server
	m.OmitDefaultRegions = m.OmitDefaultRegions || own.OmitDefaultRegions
	m.Regions = map[int]*tailcfg.DERPRegion{}
	if !own.OmitDefaultRegions {
		maps.Copy(m.Regions, server.Regions)
	}
	for id, r := range own.Regions {
		if r == nil {
			delete(m.Regions, id)
		} else {
			m.Regions[id] = r
		}
	}
	return &m
}

// Filter returns a node's packet filter. An empty list admits nothing; it is not
// the same as no list, which would leave the old filter in place.
func Filter(v *netmap.View, self *netmap.Node) map[string][]tailcfg.FilterRule {
	return v.PacketFilter(self)
}

// Delta returns what tells a node of the difference d between two views, without
// the fields Node, Domain, DNSConfig, PacketFilters, SSHPolicy and Debug: those the
// session compares with what it has sent. The result is nil if there is nothing to tell.
func Delta(v *netmap.View, self *netmap.Node, d netmap.Delta) *tailcfg.MapResponse {
	m := &tailcfg.MapResponse{}
	for _, peer := range d.Whole {
		m.PeersChanged = append(m.PeersChanged, Peer(v, self, peer))
	}
	for _, p := range d.Patched {
		if patch := patch(p); patch != nil {
			m.PeersChangedPatch = append(m.PeersChangedPatch, patch)
		} else {
			m.PeersChanged = append(m.PeersChanged, Peer(v, self, p.Node))
		}
	}
	for _, id := range d.Removed {
		m.PeersRemoved = append(m.PeersRemoved, tailcfg.NodeID(id))
	}
	for _, u := range d.Users {
		m.UserProfiles = append(m.UserProfiles, User(u))
	}
	sortNodes(m.PeersChanged)
	slices.Sort(m.PeersRemoved)
	if len(m.PeersChanged) == 0 && len(m.PeersChangedPatch) == 0 && len(m.PeersRemoved) == 0 && len(m.UserProfiles) == 0 {
		return nil
	}
	return m
}

// patch returns the parts of a peer that changed, or nil if a patch can't say it.
// Endpoints are not nil if they changed, even if there are none now; see Encode.
func patch(p netmap.Patch) *tailcfg.PeerChange {
	c := &tailcfg.PeerChange{NodeID: tailcfg.NodeID(p.ID)}
	has := func(part netmap.Part) bool { return p.Parts&part != 0 }
	if has(netmap.PartEndpoints) {
		c.Endpoints = append([]netip.AddrPort{}, p.Soft.Endpoints...)
	}
	if has(netmap.PartHomeDERP) {
		if p.Soft.HomeDERP == 0 {
			return nil
		}
		c.DERPRegion = p.Soft.HomeDERP
	}
	if has(netmap.PartDisco) {
		disco := p.Soft.Disco
		c.DiscoKey = &disco
	}
	if has(netmap.PartKey) {
		k := p.Key
		c.Key = &k
	}
	if has(netmap.PartKeyExpiry) {
		expiry := p.KeyExpiry
		c.KeyExpiry = &expiry
	}
	if has(netmap.PartCap) {
		c.Cap = p.Soft.Cap
	}
	if has(netmap.PartOnline | netmap.PartLastSeen) {
		online := p.Online
		c.Online = &online
		if !online {
			c.LastSeen = lastSeen(p.Node)
		}
	}
	return c
}

// Gone returns what a node is told that is not, or no longer, in the tailnet: its
// own key has expired. It then asks its user to log in, instead of trying for ever.
func Gone(last *tailcfg.Node, now time.Time) *tailcfg.MapResponse {
	n := *last
	n.KeyExpiry = now.Add(-time.Hour).UTC().Truncate(time.Second)
	n.MachineAuthorized = true
	return &tailcfg.MapResponse{Node: &n}
}

func sortNodes(nodes []*tailcfg.Node) {
	slices.SortFunc(nodes, func(a, b *tailcfg.Node) int { return cmp.Compare(a.ID, b.ID) })
}
