package mapresp

import (
	"time"

	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/netmap"
	"selvage/internal/policy"
)

// Self returns how a node looks to itself.
func Self(v *netmap.View, n *netmap.Node) *tailcfg.Node {
	t := base(v, n)
	t.Hostinfo = (&tailcfg.Hostinfo{Hostname: n.Soft.Hostinfo.Hostname, OS: n.Soft.Hostinfo.OS}).View()
	t.AllowedIPs = append(n.AddressPrefixes(), n.Routes...)
	t.PrimaryRoutes = n.Primary
	t.CapMap = selfCaps(v, n)
	t.Online, t.LastSeen = nil, nil // a session tells its own node nothing it doesn't know
	return t
}

// Peer returns how peer looks to viewer.
func Peer(v *netmap.View, viewer, peer *netmap.Node) *tailcfg.Node {
	t := base(v, peer)
	t.Hostinfo = netmap.PeerHostinfo(peer.Soft.Hostinfo).View()
	for _, c := range v.PeerCaps(viewer, peer) {
		if t.CapMap == nil {
			t.CapMap = tailcfg.NodeCapMap{}
		}
		t.CapMap[c] = nil
	}
	routes := v.RoutesFor(viewer, peer)
	t.AllowedIPs = append(peer.AddressPrefixes(), routes...)
	for _, r := range routes {
		if !selvage.IsExitRoute(r) {
			t.PrimaryRoutes = append(t.PrimaryRoutes, r)
		}
	}
	online := peer.Online
	t.Online = &online
	if !online {
		t.LastSeen = lastSeen(peer)
	}
	return t
}

// base returns what a node and its peers see alike.
func base(v *netmap.View, n *netmap.Node) *tailcfg.Node {
	return &tailcfg.Node{
		ID:                tailcfg.NodeID(n.ID),
		StableID:          tailcfg.StableNodeID(n.StableID),
		Name:              n.Name + "." + v.Domain() + ".",
		User:              userID(n),
		Key:               n.Key,
		KeyExpiry:         n.KeyExpiry,
		Machine:           n.Machine,
		DiscoKey:          n.Soft.Disco,
		Addresses:         n.AddressPrefixes(),
		Endpoints:         n.Soft.Endpoints,
		HomeDERP:          n.Soft.HomeDERP,
		Created:           n.Created,
		Cap:               n.Soft.Cap,
		Tags:              n.Tags,
		MachineAuthorized: n.Approved,
	}
}

func lastSeen(n *netmap.Node) *time.Time {
	if n.Soft.LastSeen.IsZero() {
		return nil
	}
	at := n.Soft.LastSeen.UTC().Truncate(time.Second)
	return &at
}

func userID(n *netmap.Node) tailcfg.UserID {
	if n.Tagged() {
		return tailcfg.UserID(selvage.TaggedDevices)
	}
	return tailcfg.UserID(n.User)
}

// Capabilities of the node itself, beside those that the policy gives.
const (
	capFileSharing = "https://tailscale.com/cap/file-sharing"
	capAdmin       = "https://tailscale.com/cap/is-admin"
	capOwner       = "https://tailscale.com/cap/is-owner"
	capCacheMaps   = "cache-network-maps"
	capAAAA        = "magicdns-aaaa" // without it clients answer no AAAA for peers
	// capFlowLogs makes a client stop when its logs are switched off, and it has
	// nowhere to send flow logs to but its maker.
	capFlowLogs = "https://tailscale.com/cap/data-plane-audit-logs"
)

func selfCaps(v *netmap.View, n *netmap.Node) tailcfg.NodeCapMap {
	caps := tailcfg.NodeCapMap{}
	for name, values := range v.Policy.CapMap(n.Device()) {
		caps[name] = values
	}
	delete(caps, capFlowLogs)
	caps[capFileSharing], caps[capAAAA] = nil, nil
	if n.Approved && v.Policy.HasSSH(n.Class) {
		caps[tailcfg.CapabilitySSH], caps[tailcfg.CapabilitySSHRuleIn] = nil, nil
	}
	if v.Tailnet.Settings.NetworkMapCaching {
		caps[capCacheMaps] = nil
	}
	policyCaps(v.Policy.Parsed, caps)
	if u := v.User(n.User); u != nil && !n.Tagged() {
		switch u.Role {
		case selvage.RoleOwner:
			caps[capOwner], caps[capAdmin] = nil, nil
		case selvage.RoleAdmin:
			caps[capAdmin] = nil
		}
	}
	return caps
}

// policyCaps adds those capabilities that are settings of the whole policy.
func policyCaps(p *policy.Policy, caps tailcfg.NodeCapMap) {
	if p.RandomizeClientPort() {
		caps["randomize-client-port"] = nil
	}
	switch p.OneCGNATRoute() {
	case policy.OneCGNATAlways:
		caps["one-cgnat?v=true"] = nil
	case policy.OneCGNATNever:
		caps["one-cgnat?v=false"] = nil
	}
}

// User returns how clients see a user.
func User(u *selvage.User) tailcfg.UserProfile {
	return tailcfg.UserProfile{
		ID: tailcfg.UserID(u.ID), LoginName: u.Login, DisplayName: u.Name(), ProfilePicURL: u.PictureURL,
	}
}

// taggedUser is the owner that clients see for tagged nodes.
func taggedUser() tailcfg.UserProfile {
	return tailcfg.UserProfile{
		ID: tailcfg.UserID(selvage.TaggedDevices), LoginName: "tagged-devices", DisplayName: "Tagged Devices",
	}
}
