package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"go4.org/netipx"

	"selvage"
)

// Person is a user as policies see one.
type Person struct {
	ID    selvage.UserID
	Login string
	Role  selvage.Role
}

// Device is a device as policies see one.
type Device struct {
	Node selvage.NodeID
	User selvage.UserID // who owns it; 0 if it has tags
	Tags []string       // each with "tag:"
	// Addrs are its own addresses.
	Addrs []netip.Addr
	// Routes are those that it advertises and that are approved, exit routes
	// included.
	Routes []netip.Prefix
	// Services are those that it hosts and may host.
	Services []Service
	// Attrs are its posture attributes by name, such as "node:os": strings, bools
	// and float64s. Nil means that nothing is known, and then no posture holds.
	Attrs map[string]any
	// Shared devices are other tailnets'; User is 0.
	Shared bool
}

func (d Device) untagged() bool { return d.User != 0 && len(d.Tags) == 0 && !d.Shared }

// Compiled is a policy with the people of its tailnet. It is safe for concurrent
// use. It learns classes as devices are shown to it (Class) and forgets none, so
// it is replaced, not kept, when the policy or the people change.
type Compiled struct {
	pol    *Policy
	people map[selvage.UserID]*person
	users  map[string]selvage.UserID // by login
	inside map[string]map[selvage.UserID]bool
	ranges []string // the wildcard as a source

	sets  []*set
	rules []compiledRule
	back  bitset // rules that have a capability with a companion
	// selfRules are the rules that have autogroup:self as a destination.
	selfRules []int
	ssh       []*compiledSSH // those with checks first

	member, tagged bitset           // sets matched by every untagged, every tagged device
	shared         bitset           // sets matched by every shared device
	services       map[string][]int // sets matched by devices that host the service
	postured       bitset           // sets that ask for a posture; nil if none does
	postureLists   [][]*postureDef  // what they ask for
	tags           map[string][]int // sets matched by devices with the tag
	always         bitset           // sets that hold the wildcard
	routed         bitset           // sets of networks that only routers of them match
	internet       bitset           // sets that hold autogroup:internet
	networks       []network        // sorted by the first address
	furthest       []netip.Addr     // for each network, the last address of it and those before it

	routes     sync.Map // netip.Prefix to *routeBits
	routesKept atomic.Int64

	classes *classTable
}

// person is a user and the sets that their untagged devices match.
type person struct {
	login string
	role  selvage.Role
	bits  bitset
}

// set is a list of selectors that some rule has as its sources or destinations.
type set struct {
	sels     []selector
	literals []string // what filters say for the selectors that are not by identity
	name     string   // equal for equal sets of all policies
	kind     setKind
	posture  int  // of setPostured: which of postureLists
	any      bool // has the wildcard
	danger   bool // has autogroup:danger-all
	identity bool // has selectors by identity
}

// setKind says which devices a set is asked about.
type setKind uint8

const (
	setPlain    setKind = iota
	setRouted           // networks, matched by routes and not by addresses
	setPostured         // devices for which a posture holds, each by identity
)

// network is a range that sets name, and those sets.
type network struct {
	rng  netipx.IPRange
	sets []int
}

// compiledRule is a rule with its sources and destinations as numbers of sets.
type compiledRule struct {
	*rule
	srcSet int
	anySrc int // the sources whatever their posture
	dstSet int // without autogroup:self
	viaSet int // the tags of routers that carry it; -1 if any may
	self   bool
	// silent rules make devices see one another and open nothing: grants of
	// capabilities alone by way of routers.
	silent bool
	// first has, for each of protc, the first rule that has the same sources and
	// protocols; filters write them in its place.
	first []int
}

// noPerson is who is not known: the zero values match nothing.
var noPerson = &person{}

// Compile prepares the policy for the people of a tailnet. Logins of the policy
// that nobody has select nothing. ranges are the networks that node addresses come
// from; by default those of Tailscale.
func (pol *Policy) Compile(people []Person, ranges ...netip.Prefix) *Compiled {
	c := &Compiled{
		pol:    pol,
		people: make(map[selvage.UserID]*person, len(people)),
		users:  make(map[string]selvage.UserID, len(people)),
		inside: make(map[string]map[selvage.UserID]bool, len(pol.groups)),
		tags:   make(map[string][]int),

		services: make(map[string][]int),
		ranges:   wildcardRanges(ranges),
	}
	for _, p := range people {
		login := strings.ToLower(p.Login)
		c.people[p.ID] = &person{login: login, role: p.Role}
		c.users[login] = p.ID
	}
	for name, g := range pol.groups {
		in := make(map[selvage.UserID]bool, len(g.logins))
		for _, login := range g.logins {
			if id, ok := c.users[login]; ok {
				in[id] = true
			}
		}
		c.inside[name] = in
	}
	c.collectSets()
	c.indexSets()
	c.classes = newClassTable(len(c.sets))
	return c
}

// numberer gives each distinct list of selectors a number, that of a set.
type numberer struct {
	c       *Compiled
	numbers map[string]int
	lists   map[string]int // of postures
}

func (n *numberer) number(kind setKind, sels []selector) int {
	return n.keyed(kind, sels, nil)
}

// sources numbers the sources of a rule that asks for one of the postures.
func (n *numberer) sources(sels []selector, defs []*postureDef) int {
	if len(defs) == 0 {
		return n.number(setPlain, sels)
	}
	return n.keyed(setPostured, sels, defs)
}

func (n *numberer) keyed(kind setKind, sels []selector, defs []*postureDef) int {
	var key strings.Builder
	fmt.Fprintln(&key, kind, postureNames(defs))
	for _, s := range sels {
		fmt.Fprintf(&key, "%d %s %s\n", s.kind, s.name, s.lit)
	}
	i, ok := n.numbers[key.String()]
	if ok {
		return i
	}
	i = len(n.c.sets)
	n.numbers[key.String()] = i
	s := newSet(kind, sels)
	s.name = nameOf(key.String())
	if kind == setPostured {
		s.posture = n.list(defs)
	}
	n.c.sets = append(n.c.sets, s)
	return i
}

func (n *numberer) list(defs []*postureDef) int {
	key := strings.Join(postureNames(defs), "\n")
	i, ok := n.lists[key]
	if !ok {
		i = len(n.c.postureLists)
		n.lists[key] = i
		n.c.postureLists = append(n.c.postureLists, defs)
	}
	return i
}

// collectSets gives the rules their sets.
func (c *Compiled) collectSets() {
	n := &numberer{c: c, numbers: make(map[string]int), lists: make(map[string]int)}
	c.rules = make([]compiledRule, len(c.pol.rules))
	c.back = newBitset(len(c.rules))
	first := make(map[string]int)
	for i := range c.pol.rules {
		ru := &c.pol.rules[i]
		var sels []selector
		for _, t := range ru.dst {
			sels = append(sels, t.sel)
		}
		dst, self := withoutSelf(sels)
		cr := compiledRule{rule: ru, srcSet: n.sources(ru.src, ru.posture), viaSet: -1, self: self}
		if cr.anySrc = cr.srcSet; self && len(ru.posture) > 0 {
			cr.anySrc = n.number(setPlain, ru.src)
		}
		if len(ru.via) > 0 {
			cr.silent = len(ru.protc) == 0
			cr.viaSet, cr.dstSet = n.number(setPlain, ru.via), n.number(setRouted, routedOnly(dst))
		} else {
			cr.dstSet = n.number(setPlain, dst)
		}
		for _, protos := range ru.protc {
			key := fmt.Sprint(cr.srcSet, protos)
			if _, ok := first[key]; !ok {
				first[key] = i
			}
			cr.first = append(cr.first, first[key])
		}
		if self {
			c.selfRules = append(c.selfRules, i)
		}
		for _, app := range ru.app {
			if companions[app.name] != "" && len(ru.via) == 0 {
				c.back.set(i)
			}
		}
		c.rules[i] = cr
	}
	c.collectSSH(n)
}

// withoutSelf returns the destinations but autogroup:self, and whether it is one.
func withoutSelf(sels []selector) (others []selector, self bool) {
	for _, s := range sels {
		if s.kind == selSelf {
			self = true
		} else {
			others = append(others, s)
		}
	}
	return others, self
}

func newSet(kind setKind, sels []selector) *set {
	s := &set{sels: sels, kind: kind}
	if kind == setPostured {
		s.identity = true
		return s
	}
	for _, sel := range sels {
		switch {
		case sel.kind == selAny:
			s.any = true
		case sel.kind == selDanger:
			s.danger = true
			s.literals = append(s.literals, "*")
		case sel.kind == selAddr:
			s.literals = append(s.literals, sel.lit)
		case sel.byIdentity():
			s.identity = true
		}
	}
	return s
}

// indexSets records, for each fact about a device, the sets that it matches.
func (c *Compiled) indexSets() {
	n := len(c.sets)
	c.shared = newBitset(n)
	c.member, c.tagged, c.always, c.internet, c.routed = newBitset(n), newBitset(n), newBitset(n), newBitset(n), newBitset(n)
	domains := make(map[string]bitset)
	roles := make(map[string]bitset)
	nets := make(map[netipx.IPRange][]int)
	add := func(m map[string]bitset, key string, i int) {
		if m[key] == nil {
			m[key] = newBitset(n)
		}
		m[key].set(i)
	}
	for i, s := range c.sets {
		switch s.kind {
		case setRouted:
			c.routed.set(i)
		case setPostured:
			if c.postured == nil {
				c.postured = newBitset(n)
			}
			c.postured.set(i)
		}
		for _, sel := range s.sels {
			switch sel.kind {
			case selAny, selDanger:
				c.always.set(i)
			case selMember:
				c.member.set(i)
			case selTagged:
				c.tagged.set(i)
			case selInternet:
				c.internet.set(i)
			case selShared:
				c.shared.set(i)
			case selService:
				c.services[sel.name] = append(c.services[sel.name], i)
			case selTag:
				c.tags[sel.name] = append(c.tags[sel.name], i)
			case selDomain:
				add(domains, sel.name, i)
			case selRole:
				add(roles, sel.name, i)
			case selUser:
				c.personSet(c.users[sel.name], i)
			case selGroup:
				for id := range c.inside[sel.name] {
					c.personSet(id, i)
				}
			case selAddr:
				nets[sel.rng] = append(nets[sel.rng], i)
			}
		}
	}
	c.indexPeople(domains, roles)
	c.indexNetworks(nets)
}

func (c *Compiled) indexNetworks(nets map[netipx.IPRange][]int) {
	for rng, sets := range nets {
		c.networks = append(c.networks, network{rng, sets})
	}
	slices.SortFunc(c.networks, func(a, b network) int {
		return cmp.Or(a.rng.From().Compare(b.rng.From()), a.rng.To().Compare(b.rng.To()))
	})
	var last netip.Addr
	for _, n := range c.networks {
		if last.Less(n.rng.To()) {
			last = n.rng.To()
		}
		c.furthest = append(c.furthest, last)
	}
}

func (c *Compiled) personSet(id selvage.UserID, i int) {
	p := c.people[id]
	if p == nil {
		return
	}
	if p.bits == nil {
		p.bits = newBitset(len(c.sets))
	}
	p.bits.set(i)
}

func (c *Compiled) indexPeople(domains, roles map[string]bitset) {
	for _, p := range c.people {
		_, domain, _ := strings.Cut(p.login, "@")
		for _, b := range []bitset{domains[domain], roles[string(p.role)], c.adminBits(p, roles)} {
			if b == nil {
				continue
			}
			if p.bits == nil {
				p.bits = newBitset(len(c.sets))
			}
			p.bits.or(b)
		}
	}
}

// adminBits are the sets of autogroup:admin, which has the owner in it.
func (c *Compiled) adminBits(p *person, roles map[string]bitset) bitset {
	if p.role == selvage.RoleOwner {
		return roles[string(selvage.RoleAdmin)]
	}
	return nil
}

// person returns who has the ID; never nil.
func (c *Compiled) person(id selvage.UserID) *person {
	if p := c.people[id]; p != nil {
		return p
	}
	return noPerson
}

// wildcardRanges returns what "*" means as a source: the networks that node
// addresses come from, without the part that ChromeOS uses for its own machines.
func wildcardRanges(prefixes []netip.Prefix) []string {
	if len(prefixes) == 0 {
		s := selvage.DefaultSettings("")
		prefixes = []netip.Prefix{s.IPv4, s.IPv6}
	}
	var b netipx.IPSetBuilder
	for _, p := range prefixes {
		b.AddPrefix(p)
	}
	b.RemovePrefix(netip.MustParsePrefix("100.115.92.0/23"))
	set, err := b.IPSet()
	if err != nil {
		return nil // only an invalid prefix: then "*" selects nothing
	}
	var out []string
	for _, r := range set.Ranges() {
		out = append(out, rangeText(r))
	}
	return out
}
