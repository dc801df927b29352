package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"
	"tailscale.com/tailcfg"

	"selvage"
)

// internetRanges is what autogroup:internet means in a filter: all of the public
// internet, that is without private, carrier-grade NAT and link-local networks.
var internetRanges = []string{
	"0.0.0.0-9.255.255.255", "11.0.0.0-100.63.255.255", "100.128.0.0-169.253.255.255",
	"169.255.0.0-172.15.255.255", "172.32.0.0-192.167.255.255", "192.169.0.0-255.255.255.255",
	"2000::-3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
}

// Filter returns the packet filter of a device of class dst: what others may open
// to it and to the routes that it serves. An empty filter, never nil, blocks
// everything. members returns the addresses of a class's devices, in any order; it
// is asked about the classes of Sources only. routes are the approved subnet routes
// of the tailnet, in any order, without exit routes; they matter if NeedsRoutes
// says so. Equal facts give equal filters.
//
// Entries of a rule's sources are sorted as strings, and rules of equal sources and
// protocols are one, as the service does both.
func (c *Compiled) Filter(d Device, dst Class, members func(Class) []netip.Addr, routes ...netip.Prefix) []tailcfg.FilterRule {
	b := c.filterBuilder(d, dst, members, routes)
	for i := range c.rules {
		b.rule(i)
	}
	return b.sorted()
}

func (c *Compiled) filterBuilder(d Device, dst Class, members func(Class) []netip.Addr, routes []netip.Prefix) *filterBuilder {
	b := &filterBuilder{
		c: c, d: d, class: c.class(dst), members: members,
		rules: []tailcfg.FilterRule{},
		texts: make(map[Class][]string),
		lists: make(map[listKey]*sourceList),
		same:  make(map[string]*sourceList),
		open:  make(map[string]int),
	}
	for _, r := range routes {
		if !selvage.IsExitRoute(r) {
			b.routes = append(b.routes, r.String())
		}
	}
	return b
}

// listKey is a set, or ownSet or reachedSet less a rule, and whether the devices
// that match it by identity are named by a capability.
type listKey struct {
	set   int
	named bool
}

// filterBuilder writes one filter.
type filterBuilder struct {
	c       *Compiled
	d       Device
	class   *class
	members func(Class) []netip.Addr
	routes  []string

	rules  []tailcfg.FilterRule
	place  []int              // for each of rules, the rule of the policy in whose place it is
	chunks []string           // for each of rules, its chunk
	texts  map[Class][]string // the addresses of classes
	lists  map[listKey]*sourceList
	same   map[string]*sourceList // by content
	open   map[string]int         // the rule for some sources and protocols

	// local is set while a compact filter is written: the device's addresses and
	// what it serves.
	local *netipx.IPSet
}

// order returns the indices of the rules in the order of the policy.
func (b *filterBuilder) order() []int {
	order := make([]int, len(b.rules))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int { return b.place[x] - b.place[y] })
	return order
}

// sorted returns the rules in the order of the policy.
func (b *filterBuilder) sorted() []tailcfg.FilterRule {
	out := make([]tailcfg.FilterRule, len(b.rules))
	for i, x := range b.order() {
		out[i] = b.rules[x]
	}
	return out
}

// sourceList is the sources of a rule, shared by all rules that have the same.
type sourceList struct {
	id    int
	ips   []string // sorted
	chunk string   // of a compact filter
}

// ownSet less the number of a rule stands for the devices of the device's owner that
// are sources of the rule, and reachedSet less it for those that it reaches.
const (
	ownSet     = -1
	reachedSet = -1 << 30
)

func (b *filterBuilder) rule(i int) {
	ru := &b.c.rules[i]
	if b.class.dst.has(i) && !ru.silent {
		b.opensTo(i, ru.srcSet, false)
	}
	if b.class.backSrc.has(i) {
		if back := b.sources(listKey{set: ru.dstSet}); len(back.ips) > 0 {
			b.companions(i, back)
		}
	}
	if b.class.self == nil {
		return
	}
	if b.class.self.has(i) {
		b.opensTo(i, ownSet-i, true)
	}
	if b.class.selfBack.has(i) {
		if back := b.sources(listKey{set: reachedSet - i}); len(back.ips) > 0 {
			b.companions(i, back)
		}
	}
}

// owned returns the classes of the device's owner that are the sources of a rule for
// autogroup:self, or those that it reaches.
func (b *filterBuilder) owned(i int, reached bool) []Class {
	var out []Class
	for _, id := range b.class.siblings.all() {
		rules := b.c.class(id).selfFrom
		if reached {
			rules = b.c.class(id).self
		}
		if rules != nil && rules.has(i) {
			out = append(out, id)
		}
	}
	return out
}

// opensTo writes what a rule opens to the sources: ports, with the sources named by
// a capability where that means the same, and capabilities.
func (b *filterBuilder) opensTo(i, set int, self bool) {
	ru := &b.c.rules[i]
	if len(ru.protc) > 0 {
		key := listKey{set, !self && b.nameable(ru)}
		if src := b.sources(key); len(src.ips) > 0 {
			b.ports(i, src, self)
		}
	}
	if len(ru.app) == 0 || len(ru.via) > 0 {
		return // capabilities are of devices, and what lies behind a router is none
	}
	src := b.sources(listKey{set: set})
	if len(src.ips) == 0 {
		return
	}
	var dsts []netip.Prefix
	for _, t := range ru.dst {
		dsts = append(dsts, b.targetPrefixes(ru, t.sel, self)...)
	}
	caps := make(tailcfg.PeerCapMap, len(ru.app))
	for _, app := range ru.app {
		caps[app.name] = app.values
	}
	b.grant(i, src, dsts, caps)
}

// sources returns what filters say for a set as the sources of a rule.
func (b *filterBuilder) sources(key listKey) *sourceList {
	if l := b.lists[key]; l != nil {
		return l
	}
	n := key.set
	var ips []string
	var classes []Class
	switch {
	case n <= reachedSet:
		classes = b.owned(reachedSet-n, true)
	case n <= ownSet:
		classes = b.owned(ownSet-n, false)
	default:
		s := b.c.sets[n]
		ips = append(ips, s.literals...)
		if s.any {
			ips = append(append(ips, b.c.ranges...), b.routes...)
		}
		if key.named && s.identity {
			ips = append(ips, "cap:"+string(s.capability()))
		} else {
			classes = b.c.classes.bySet[n].all()
		}
	}
	for _, k := range classes {
		ips = append(ips, b.addrs(k)...)
	}
	slices.Sort(ips)
	ips = slices.Compact(ips)
	text := strings.Join(ips, ",")
	l := b.same[text]
	if l == nil {
		l = &sourceList{len(b.same), ips, b.chunk(key)}
		b.same[text] = l
	}
	b.lists[key] = l
	return l
}

// addrs returns the addresses of a class's devices as text.
func (b *filterBuilder) addrs(k Class) []string {
	texts, ok := b.texts[k]
	if !ok {
		for _, a := range b.members(k) {
			texts = append(texts, a.String())
		}
		b.texts[k] = texts
	}
	return texts
}

// ports writes which ports a rule opens on the device, as autogroup:self or
// otherwise.
func (b *filterBuilder) ports(i int, src *sourceList, self bool) {
	ru := &b.c.rules[i]
	for k, protos := range ru.protc {
		var dsts []tailcfg.NetPortRange
		seen := make(map[destination]bool)
		for _, t := range ru.dst {
			for _, ip := range b.targetIPs(ru, t.sel, self) {
				for _, ports := range t.ports[k] {
					// The service repeats what several selectors name; so do we where it
					// is to be the same.
					if d := (destination{ip, ports}); b.local == nil || !seen[d] {
						seen[d] = true
						dsts = append(dsts, tailcfg.NetPortRange{IP: ip, Ports: ports})
					}
				}
			}
		}
		if len(dsts) == 0 {
			continue
		}
		key := fmt.Sprint(src.id, protos)
		at, ok := b.open[key]
		if !ok {
			at = len(b.rules)
			b.open[key] = at
			place := i
			if !self {
				place = ru.first[k]
			}
			b.place, b.chunks = append(b.place, place), append(b.chunks, src.chunk)
			b.rules = append(b.rules, tailcfg.FilterRule{SrcIPs: src.ips, IPProto: protos})
		}
		b.rules[at].DstPorts = append(b.rules[at].DstPorts, dsts...)
	}
}

// destination is a NetPortRange that can be compared.
type destination struct {
	ip    string
	ports tailcfg.PortRange
}

// targetIPs returns what filters say for a destination, if it is this device or
// something that it serves.
func (b *filterBuilder) targetIPs(ru *compiledRule, s selector, self bool) []string {
	if self || s.kind == selSelf {
		if !self || s.kind != selSelf {
			return nil
		}
	} else if !b.c.isTarget(ru.rule, s, b.d) {
		return nil
	}
	switch s.kind {
	case selAny:
		return []string{"*"}
	case selAddr:
		return []string{s.lit}
	case selInternet:
		return internetRanges
	}
	addrs := b.d.Addrs
	if s.kind == selService {
		addrs = b.d.serviceAddrs(s.name)
	}
	ips := make([]string, len(addrs))
	for i, a := range addrs {
		ips[i] = a.String()
	}
	return ips
}

// targetPrefixes is targetIPs for capabilities: the wildcard is the device itself.
func (b *filterBuilder) targetPrefixes(ru *compiledRule, s selector, self bool) []netip.Prefix {
	ips := b.targetIPs(ru, s, self)
	switch {
	case len(ips) == 0 || s.kind == selInternet:
		return nil
	case s.kind == selAddr:
		return s.rng.Prefixes()
	case s.kind == selService:
		return prefixes(b.d.serviceAddrs(s.name))
	}
	return prefixes(b.d.Addrs)
}

// prefixes returns addresses as networks of one address each.
func prefixes(addrs []netip.Addr) []netip.Prefix {
	out := make([]netip.Prefix, len(addrs))
	for i, a := range addrs {
		out[i] = netip.PrefixFrom(a, a.BitLen())
	}
	return out
}

// grant writes a rule of capabilities. They are never merged: a client adds up the
// values of all that match.
func (b *filterBuilder) grant(place int, src *sourceList, dsts []netip.Prefix, caps tailcfg.PeerCapMap) {
	if len(dsts) == 0 {
		return
	}
	slices.SortFunc(dsts, netip.Prefix.Compare)
	b.place, b.chunks = append(b.place, place), append(b.chunks, src.chunk)
	b.rules = append(b.rules, tailcfg.FilterRule{
		SrcIPs:   src.ips,
		CapGrant: []tailcfg.CapGrant{{Dsts: slices.Compact(dsts), CapMap: caps}},
	})
}

// companions tells the device, as a source of the rule, who offers it what.
func (b *filterBuilder) companions(i int, back *sourceList) {
	var names []tailcfg.PeerCapability
	for _, app := range b.c.rules[i].app {
		if name := companions[app.name]; name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		b.grant(i, back, prefixes(b.d.Addrs), tailcfg.PeerCapMap{name: nil})
	}
}

// routeBits are the rules that reach a route, or that start from it.
type routeBits struct {
	src, dst bitset
}

// maxRouteMemo bounds how many routes UsesRoute remembers.
const maxRouteMemo = 16384

// UsesRoute reports whether a device of the class may send anything into the route,
// or be sent anything from it. Exit routes are used by the sources of rules for
// autogroup:internet and for the wildcard. A router that stands by for a route is
// not asked about here: the service shows it the route of the router in charge if
// the two see each other, whatever the rules say of the route.
func (c *Compiled) UsesRoute(viewer Class, r netip.Prefix) bool {
	k := c.class(viewer)
	rb := c.routeBits(r)
	return k.src.meets(rb.dst) || k.dst.meets(rb.src)
}

func (c *Compiled) routeBits(r netip.Prefix) *routeBits {
	if v, ok := c.routes.Load(r); ok {
		return v.(*routeBits)
	}
	n := len(c.rules)
	rb := &routeBits{src: newBitset(n), dst: newBitset(n)}
	from, to := newBitset(len(c.sets)), newBitset(len(c.sets))
	to.or(c.always)
	if selvage.IsExitRoute(r) {
		to.or(c.internet)
	} else {
		rng := netipx.RangeOfPrefix(r)
		from.or(c.always)
		c.addNetworks(from, rng.From(), rng.To())
		c.addNetworks(to, rng.From(), rng.To())
		if c.postured != nil {
			from.without(c.postured)
		}
	}
	for i, ru := range c.rules {
		if from.has(ru.srcSet) {
			rb.src.set(i)
		}
		if to.has(ru.dstSet) {
			rb.dst.set(i)
		}
	}
	if c.routesKept.Add(1) <= maxRouteMemo {
		c.routes.Store(r, rb)
	}
	return rb
}
