package policy

import (
	"crypto/sha256"
	"encoding/base32"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"
	"tailscale.com/tailcfg"

	"selvage/internal/policy/transport"
)

// CompactCap is the capability version from which clients understand a filter in
// named chunks with sources that are capabilities of peers.
const CompactCap tailcfg.CapabilityVersion = 109

// capabilityPrefix begins the capabilities that stand for the sources of rules.
const capabilityPrefix = "selvage/src/"

// The chunks of a compact filter. Others are named after a set of sources and change
// with its members.
const (
	chunkFixed = "fixed" // depends on no members
	chunkOwn   = "own"   // autogroup:self
)

func nameOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
}

// capability returns what peers have that match the set by identity.
func (s *set) capability() tailcfg.NodeCapability {
	return tailcfg.NodeCapability(capabilityPrefix + s.name)
}

// CompactFilter returns the packet filter of a device in chunks by name, never nil:
// the same packets as with Filter are let through, but sources that are matched by
// identity are named by a capability, which peers carry (PeerCaps), instead of being
// listed. So a device that joins a group changes no filter but where that is not
// possible, and there one chunk (CompactFeeds). It is for clients from CompactCap on.
//
// A client asks no destination when it lets ICMP in by a capability, so that the
// form is used only where a rule opens all addresses of the device and all that it
// serves. A device that advertises routes which are not approved needs Filter.
func (c *Compiled) CompactFilter(d Device, dst Class, members func(Class) []netip.Addr, routes ...netip.Prefix) map[string][]tailcfg.FilterRule {
	b := c.filterBuilder(d, dst, members, routes)
	b.local = d.local()
	for i := range c.rules {
		b.rule(i)
	}
	out := make(map[string][]tailcfg.FilterRule)
	for _, x := range b.order() {
		out[b.chunks[x]] = append(out[b.chunks[x]], b.rules[x])
	}
	return out
}

// local returns the addresses of the device and what it serves.
func (d Device) local() *netipx.IPSet {
	var b netipx.IPSetBuilder
	for _, a := range d.Addrs {
		b.Add(a)
	}
	for _, r := range d.Routes {
		b.AddPrefix(r)
	}
	for _, s := range d.Services {
		for _, a := range s.Addrs {
			b.Add(a)
		}
	}
	set, err := b.IPSet()
	if err != nil {
		return new(netipx.IPSet) // only of invalid addresses
	}
	return set
}

// chunk returns the name of the chunk for rules with the sources.
func (b *filterBuilder) chunk(key listKey) string {
	switch {
	case b.local == nil:
		return ""
	case key.set < 0:
		return chunkOwn
	case key.named || !b.c.sets[key.set].identity:
		return chunkFixed
	}
	return b.c.sets[key.set].name
}

// nameable reports whether the sources of a rule may be named by a capability: by
// the client's rules that admits the same packets if the rule opens, of each address
// family, all that is local or nothing, and no protocols without ports but ICMP.
func (b *filterBuilder) nameable(ru *compiledRule) bool {
	if b.local == nil {
		return false
	}
	for _, protos := range ru.protc {
		for _, p := range protos {
			if !transport.HasPorts([]int{p}) && p != 1 && p != 58 {
				return false
			}
		}
	}
	var opened netipx.IPSetBuilder
	for _, t := range ru.dst {
		for _, ip := range b.targetIPs(ru, t.sel, false) {
			if ip == "*" {
				return true
			}
			if rng, err := parseRange(ip); err == nil {
				opened.AddRange(rng)
			}
		}
	}
	set, err := opened.IPSet()
	if err != nil {
		return false
	}
	for _, is := range []func(netip.Addr) bool{netip.Addr.Is4, netip.Addr.Is6} {
		inFamily := func(r netipx.IPRange) bool { return is(r.From()) }
		if slices.ContainsFunc(set.Ranges(), inFamily) && slices.ContainsFunc(b.local.Ranges(), func(r netipx.IPRange) bool {
			return inFamily(r) && !set.ContainsRange(r)
		}) {
			return false
		}
	}
	return true
}

// PeerCaps returns the capabilities that a device of class peer has to carry, as a
// device of class viewer sees it, for the viewer's compact filter; sorted.
func (c *Compiled) PeerCaps(viewer, peer Class) []tailcfg.NodeCapability {
	v, p := c.class(viewer), c.class(peer)
	var out []tailcfg.NodeCapability
	for i := range v.dst.all() {
		if p.feedsSrc.has(i) && len(c.rules[i].protc) > 0 {
			out = append(out, c.sets[c.rules[i].srcSet].capability())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// CompactFeeds reports whether the compact filter of a device of class dst changes
// when a device joins or leaves src.
func (c *Compiled) CompactFeeds(src Class, d Device, dst Class) bool {
	s, k := c.class(src), c.class(dst)
	if s.feedsDst.meets(k.backSrc) || s.feedsSelf(k) {
		return true
	}
	b := c.filterBuilder(d, dst, nil, nil)
	b.local = d.local()
	for i := range s.feedsSrc.all() {
		ru := &c.rules[i]
		if k.dst.has(i) && (len(ru.app) > 0 && len(ru.via) == 0 || len(ru.protc) > 0 && !b.nameable(ru)) {
			return true
		}
	}
	return false
}
