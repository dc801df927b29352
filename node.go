package selvage

import (
	"net/netip"
	"slices"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// Node is a device of a tailnet: what was decided about it. What the device says
// of itself is in Soft.
type Node struct {
	ID       NodeID            `json:"id"`
	Tailnet  TailnetID         `json:"tailnet"`
	StableID string            `json:"stableID"`
	Machine  key.MachinePublic `json:"machineKey"`
	Key      key.NodePublic    `json:"nodeKey"`
	// LockKey is the device's Tailnet Lock key, if it sent one.
	LockKey key.NLPublic `json:"lockKey,omitzero"`
	// Name is the device's DNS label, unique in the tailnet.
	Name string `json:"name"`
	// NameFixed is set when a person chose the name, so that it no longer follows
	// the host name that the device reports.
	NameFixed bool `json:"nameFixed,omitempty"`
	// User owns the device; zero if it has tags.
	User UserID   `json:"user,omitempty"`
	Tags []string `json:"tags,omitempty"` // sorted, each with "tag:"
	// IPv4 and IPv6 stay the same over the node's life.
	IPv4    netip.Addr `json:"ipv4"`
	IPv6    netip.Addr `json:"ipv6"`
	Created time.Time  `json:"created"`
	// KeyExpiry is when the node key stops working; zero is never.
	KeyExpiry time.Time `json:"keyExpiry,omitzero"`
	// NoKeyExpiry keeps the key from expiring at the next login as well.
	NoKeyExpiry bool `json:"noKeyExpiry,omitempty"`
	// Approved devices take part; others wait and see nobody.
	Approved  bool `json:"approved"`
	Ephemeral bool `json:"ephemeral,omitempty"`
	// AuthKey is the key that the device last joined with, if any.
	AuthKey KeyID `json:"authKey,omitempty"`
	// ApprovedRoutes may be served when the device advertises them; sorted.
	ApprovedRoutes []netip.Prefix `json:"approvedRoutes,omitempty"`
}

// Tagged reports whether the node belongs to tags and not to a user.
func (n *Node) Tagged() bool { return len(n.Tags) > 0 }

// Expired reports whether the node key no longer works at now.
func (n *Node) Expired(now time.Time) bool {
	return !n.KeyExpiry.IsZero() && !now.Before(n.KeyExpiry)
}

// Addresses returns the node's own addresses, IPv4 first.
func (n *Node) Addresses() []netip.Addr { return []netip.Addr{n.IPv4, n.IPv6} }

// Clone returns a copy that shares nothing with n.
func (n *Node) Clone() *Node {
	c := *n
	c.Tags = slices.Clone(n.Tags)
	c.ApprovedRoutes = slices.Clone(n.ApprovedRoutes)
	return &c
}

// Soft is what a device reports of itself and will report again, and its presence.
// It changes often, is no history, and is saved behind. Values are replaced, never
// changed in place.
type Soft struct {
	// Cap is the capability version of the client.
	Cap tailcfg.CapabilityVersion `json:"cap"`
	// Hostinfo is the last report; not nil.
	Hostinfo  *tailcfg.Hostinfo `json:"hostinfo"`
	Endpoints []netip.AddrPort  `json:"endpoints,omitempty"`
	Disco     key.DiscoPublic   `json:"disco,omitzero"`
	HomeDERP  int               `json:"homeDERP,omitempty"`
	// LastSeen is when the device's last map session ended, or the last report if
	// it has none; zero if there was no session yet.
	LastSeen time.Time `json:"lastSeen,omitzero"`
}

// Advertised returns the routes that the device offers, sorted.
func (s *Soft) Advertised() []netip.Prefix {
	if s.Hostinfo == nil {
		return nil
	}
	routes := slices.Clone(s.Hostinfo.RoutableIPs)
	slices.SortFunc(routes, netip.Prefix.Compare)
	return slices.Compact(routes)
}

// ExitRoutes returns the two default routes that make a node an exit node.
func ExitRoutes() []netip.Prefix {
	return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
}

// IsExitRoute reports whether p is one of the two default routes.
func IsExitRoute(p netip.Prefix) bool { return p.Bits() == 0 }
