package policy

import (
	"net/netip"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"go4.org/netipx"

	"selvage"
)

// Class numbers devices that the policy cannot tell apart, from 0. A class belongs
// to the Compiled that gave it.
type Class int32

// class is what is known of a Class; immutable but for what it remembers.
type class struct {
	// user is the devices' owner, or 0 if no rule makes a difference between owners.
	user selvage.UserID

	ident    bitset // sets that the devices match by identity
	src, dst bitset // rules with a set that the devices match, as source or destination
	self     bitset // rules by which the owner reaches the devices as autogroup:self; nil if none
	selfFrom bitset // rules by which the devices reach others of the owner as autogroup:self
	selfBack bitset // those of selfFrom that have a companion

	feedsSrc bitset // rules whose sources the devices' addresses are written for
	feedsDst bitset // rules with a companion whose destinations they are written for
	backSrc  bitset // rules of src that have a companion: their destinations are written here

	ssh      bitset // ssh rules with destinations that the devices match
	sshSelf  bitset // ssh rules by which the owner logs in as autogroup:self; nil if none
	sshFrom  bitset // ssh rules by which the devices' user logs in as autogroup:self; nil if none
	sshFeeds bitset // ssh rules whose sources the devices' addresses are written for
	// sshRecords are the ssh rules whose sessions the devices record.
	sshRecords bitset

	siblings *growing // the classes of the same owner; nil if user is 0

	sources atomic.Pointer[sources] // what Sources found last
}

// sources is what Sources found when so many classes were known.
type sources struct {
	classes int
	list    []Class
	depends bool
}

// classTable holds the classes seen so far. Reading takes no lock.
type classTable struct {
	list growingOf[*class]
	// bySet has, for each set, the classes that match it by identity.
	bySet []growing

	mu sync.Mutex // guards the fields below
	// byKey finds a class by what it matches.
	byKey  map[string]Class
	byUser map[selvage.UserID]*growing
}

type growing = growingOf[Class]

// growingOf is a list that one writer at a time appends to while others read.
type growingOf[T any] struct {
	p atomic.Pointer[[]T]
}

func (g *growingOf[T]) all() []T {
	if p := g.p.Load(); p != nil {
		return *p
	}
	return nil
}

// add appends in place: readers hold a shorter slice and do not look further.
func (g *growingOf[T]) add(v T) {
	next := append(g.all(), v)
	g.p.Store(&next)
}

func newClassTable(sets int) *classTable {
	return &classTable{
		bySet:  make([]growing, sets),
		byKey:  make(map[string]Class),
		byUser: make(map[selvage.UserID]*growing),
	}
}

// Class returns the class of a device. Devices that match the same sources and
// destinations share one; if rules with autogroup:self reach them, their owner must
// be the same as well. It is safe for concurrent use, and costs microseconds.
func (c *Compiled) Class(d Device) Class {
	ident := newBitset(len(c.sets))
	switch {
	case d.Shared:
		ident.or(c.shared)
	case len(d.Tags) > 0:
		ident.or(c.tagged)
		for _, t := range d.Tags {
			ident.setAll(c.tags[t])
		}
	case d.User != 0:
		ident.or(c.member)
		ident.or(c.person(d.User).bits)
	}
	matched := slices.Clone(ident)
	matched.or(c.always)
	for _, a := range d.Addrs {
		c.addNetworks(matched, a, a)
	}
	matched.without(c.routed)
	passed := c.passing(d, ident, matched)
	for _, s := range d.Services {
		matched.setAll(c.services[s.Name])
	}
	for _, r := range d.Routes {
		if selvage.IsExitRoute(r) {
			matched.or(c.internet)
			continue
		}
		rng := netipx.RangeOfPrefix(r)
		c.addNetworks(matched, rng.From(), rng.To())
	}
	if passed != nil {
		matched.without(c.postured)
		matched.or(passed)
		ident.or(passed)
	}
	key := matched.appendKey(ident.appendKey(make([]byte, 0, 16*len(ident)+8)))
	user := selvage.UserID(0)
	if d.untagged() && c.ownerMatters(matched) {
		user = d.User
		key = append(key, user.String()...)
	}
	t := c.classes
	t.mu.Lock()
	defer t.mu.Unlock()
	if id, ok := t.byKey[string(key)]; ok {
		return id
	}
	return c.addClass(string(key), ident, matched, user)
}

// addNetworks adds the sets that name a network overlapping first to last.
func (c *Compiled) addNetworks(b bitset, first, last netip.Addr) {
	// The networks that begin after last cannot overlap; of the others, going
	// back, none can once all before end too early.
	i := sort.Search(len(c.networks), func(i int) bool { return last.Less(c.networks[i].rng.From()) })
	for i--; i >= 0 && !c.furthest[i].Less(first); i-- {
		if !c.networks[i].rng.To().Less(first) {
			b.setAll(c.networks[i].sets)
		}
	}
}

// ownerMatters reports whether devices that match these sets are told apart by
// their owner: whether they are the sources of a rule for autogroup:self, or of one
// whose local user follows from the login.
func (c *Compiled) ownerMatters(matched bitset) bool {
	return slices.ContainsFunc(c.selfRules, func(i int) bool { return matched.has(c.rules[i].anySrc) }) ||
		slices.ContainsFunc(c.ssh, func(ru *compiledSSH) bool {
			return ru.self && matched.has(ru.anySrc) || len(ru.domains) > 0 && matched.has(ru.srcSet)
		})
}

// addClass is called with the table locked.
func (c *Compiled) addClass(key string, ident, matched bitset, user selvage.UserID) Class {
	n := len(c.rules)
	k := &class{
		user: user, ident: ident,
		src: newBitset(n), dst: newBitset(n),
		feedsSrc: newBitset(n), feedsDst: newBitset(n), backSrc: newBitset(n),
	}
	for i, ru := range c.rules {
		back := c.back.has(i)
		if matched.has(ru.srcSet) {
			k.src.set(i)
			if back {
				k.backSrc.set(i)
			}
		}
		if ru.self && user != 0 && matched.has(ru.anySrc) {
			k.addSelf(i, n, matched.has(ru.srcSet), back)
		}
		if matched.has(ru.dstSet) && (ru.viaSet < 0 || ident.has(ru.viaSet)) {
			k.dst.set(i)
		}
		if ident.has(ru.srcSet) && !ru.silent {
			k.feedsSrc.set(i)
		}
		if back && ident.has(ru.dstSet) {
			k.feedsDst.set(i)
		}
	}
	c.addSSH(k, ident, matched, user)
	t := c.classes
	id := Class(len(t.list.all()))
	if user != 0 {
		if t.byUser[user] == nil {
			t.byUser[user] = new(growing)
		}
		k.siblings = t.byUser[user]
	}
	t.byKey[key] = id
	t.list.add(k) // before the lists that name it
	for s := range ident.all() {
		t.bySet[s].add(id)
	}
	if k.siblings != nil {
		k.siblings.add(id)
	}
	return id
}

// addSelf records a rule for autogroup:self that reaches the devices, and whether
// they are its sources as well.
func (k *class) addSelf(i, rules int, from, back bool) {
	if k.self == nil {
		k.self, k.selfFrom, k.selfBack = newBitset(rules), newBitset(rules), newBitset(rules)
	}
	k.self.set(i)
	if from {
		k.selfFrom.set(i)
		if back {
			k.selfBack.set(i)
		}
	}
}

// Classes returns how many classes are known: they are 0 to Classes()-1.
func (c *Compiled) Classes() int { return len(c.classes.list.all()) }

func (c *Compiled) class(id Class) *class { return c.classes.list.all()[id] }

// Sees reports whether a device of class a may know of one of class b: whether
// either may open anything to the other, capabilities included. It is symmetric,
// takes no lock and allocates nothing.
func (c *Compiled) Sees(a, b Class) bool { return sees(c.class(a), c.class(b)) }

func sees(a, b *class) bool {
	return a.src.meets(b.dst) || b.src.meets(a.dst) || sameOwner(a, b)
}

// sameOwner reports whether a rule for autogroup:self lets the devices of one reach
// those of the other.
func sameOwner(a, b *class) bool {
	return a.self != nil && b.self != nil && a.user == b.user && (a.selfFrom.meets(b.self) || b.selfFrom.meets(a.self))
}

// feedsSelf reports whether a rule for autogroup:self has the addresses of k's
// devices in the filters of d's.
func (k *class) feedsSelf(d *class) bool {
	return k.self != nil && d.self != nil && k.user == d.user && (k.selfFrom.meets(d.self) || k.self.meets(d.selfBack))
}

// Viewers returns the classes known so far that see b, in order; b may be among
// them, since its devices may see one another.
func (c *Compiled) Viewers(b Class) []Class {
	list := c.classes.list.all()
	var out []Class
	for i, k := range list {
		if sees(k, list[b]) {
			out = append(out, Class(i))
		}
	}
	return out
}

// Feeds reports whether the addresses of src's devices are written into the filters
// of dst's: whether those filters change when a device joins or leaves src.
func (c *Compiled) Feeds(src, dst Class) bool {
	s, d := c.class(src), c.class(dst)
	return s.feedsSrc.meets(d.dst) || s.feedsDst.meets(d.backSrc) || s.feedsSelf(d)
}

// Sources returns the classes known so far whose devices' addresses are written
// into the filters of dst's devices, in order, and whether there can be any: it is
// false if the filters depend on nobody's membership. Feeds answers the same for
// one class. The list is shared; it must not be changed.
func (c *Compiled) Sources(dst Class) (list []Class, depends bool) {
	k, n := c.class(dst), c.Classes()
	if s := k.sources.Load(); s != nil && s.classes == n {
		return s.list, s.depends
	}
	s := c.findSources(k)
	s.classes = n
	k.sources.Store(s)
	return s.list, s.depends
}

func (c *Compiled) findSources(k *class) *sources {
	s := new(sources)
	seen := newBitset(len(c.sets))
	add := func(set int) {
		if c.sets[set].identity && !seen.has(set) {
			seen.set(set)
			s.depends = true
			s.list = append(s.list, c.classes.bySet[set].all()...)
		}
	}
	for i := range k.dst.all() {
		if !c.rules[i].silent {
			add(c.rules[i].srcSet)
		}
	}
	for i := range k.backSrc.all() {
		add(c.rules[i].dstSet)
	}
	if k.self != nil {
		s.depends = true
		for _, id := range k.siblings.all() {
			if c.class(id).feedsSelf(k) {
				s.list = append(s.list, id)
			}
		}
	}
	slices.Sort(s.list)
	s.list = slices.Compact(s.list)
	return s
}

// NeedsRoutes reports whether the filters of dst's devices say which subnet routes
// the tailnet has: whether some rule gives them the wildcard as a source.
func (c *Compiled) NeedsRoutes(dst Class) bool {
	k := c.class(dst)
	for i := range k.dst.all() {
		if !c.rules[i].silent && c.sets[c.rules[i].srcSet].any {
			return true
		}
	}
	for i := range k.backSrc.all() {
		if c.sets[c.rules[i].dstSet].any {
			return true
		}
	}
	return false
}
