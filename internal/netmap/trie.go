package netmap

// pageBits is how many bits of an index one level of a trie takes.
const (
	pageBits = 6
	pageSize = 1 << pageBits
	pageMask = pageSize - 1
)

// trie is a persistent array with holes: set returns a new one that shares all but
// the pages on the way to the entry with the old one, so that what differs between
// two of them is found by following only the pages that they don't share. The zero
// value is empty, and the zero V in an entry is a hole.
type trie[V comparable] struct {
	root   *page[V]
	height int // levels above the leaves
}

// page is a leaf, with values, or has pages below it; never both. It is immutable
// once a trie that holds it has been returned.
type page[V comparable] struct {
	used  int // values or pages that are there
	vals  []V
	pages []*page[V]
}

func newLeaf[V comparable]() *page[V] {
	l := new(struct { // one allocation for both
		page[V]
		array [pageSize]V
	})
	l.vals = l.array[:]
	return &l.page
}

func newBranch[V comparable]() *page[V] {
	b := new(struct {
		page[V]
		array [pageSize]*page[V]
	})
	b.pages = b.array[:]
	return &b.page
}

// at returns the entry at index i, the zero V if there is none.
func (t trie[V]) at(i uint64) (v V) {
	if t.root == nil || i>>(pageBits*(t.height+1)) != 0 {
		return v
	}
	p := t.root
	for h := t.height; h > 0; h-- {
		if p = p.pages[i>>(pageBits*h)&pageMask]; p == nil {
			return v
		}
	}
	return p.vals[i&pageMask]
}

// set returns a trie with v at index i; the zero V takes the entry out.
func (t trie[V]) set(i uint64, v V) trie[V] {
	var none V
	if v == none && t.at(i) == none {
		return t
	}
	for t.root != nil && i>>(pageBits*(t.height+1)) != 0 {
		t = t.raised()
	}
	if t.root == nil {
		for t.height = 0; i>>(pageBits*(t.height+1)) != 0; t.height++ {
		}
	}
	t.root = t.root.set(t.height, i, v)
	return t
}

// raised returns the same array with one more level.
func (t trie[V]) raised() trie[V] {
	up := newBranch[V]()
	up.pages[0], up.used = t.root, 1
	return trie[V]{up, t.height + 1}
}

// set returns a copy of the page, which may be nil, with the entry changed; nil if
// nothing is left in it.
func (p *page[V]) set(height int, i uint64, v V) *page[V] {
	var none V
	if height == 0 {
		c := newLeaf[V]()
		if p != nil {
			copy(c.vals, p.vals)
			c.used = p.used
		}
		at := &c.vals[i&pageMask]
		c.used += one(v != none) - one(*at != none)
		*at = v
		return c.orNil()
	}
	c := newBranch[V]()
	if p != nil {
		copy(c.pages, p.pages)
		c.used = p.used
	}
	at := &c.pages[i>>(pageBits*height)&pageMask]
	was := *at
	*at = was.set(height-1, i, v)
	c.used += one(*at != nil) - one(was != nil)
	return c.orNil()
}

func (p *page[V]) orNil() *page[V] {
	if p.used == 0 {
		return nil
	}
	return p
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// all calls yield for each entry, in order.
func (t trie[V]) all(yield func(V) bool) { t.root.all(yield) }

func (p *page[V]) all(yield func(V) bool) bool {
	if p == nil {
		return true
	}
	var none V
	for _, v := range p.vals {
		if v != none && !yield(v) {
			return false
		}
	}
	for _, below := range p.pages {
		if !below.all(yield) {
			return false
		}
	}
	return true
}

// mapped returns a trie with each entry replaced by what change makes of it, which
// must not be the zero V.
func (t trie[V]) mapped(change func(V) V) trie[V] {
	return trie[V]{t.root.mapped(change), t.height}
}

func (p *page[V]) mapped(change func(V) V) *page[V] {
	if p == nil {
		return nil
	}
	var none V
	if p.vals != nil {
		c := newLeaf[V]()
		c.used = p.used
		for i, v := range p.vals {
			if v != none {
				c.vals[i] = change(v)
			}
		}
		return c
	}
	c := newBranch[V]()
	c.used = p.used
	for i, below := range p.pages {
		c.pages[i] = below.mapped(change)
	}
	return c
}

// differing calls visit for each index at which a and b differ, in order, with both
// entries, until it returns false. It costs what differs.
func differing[V comparable](a, b trie[V], visit func(i uint64, x, y V) bool) {
	walkBoth(a, b, true, visit)
}

// both calls visit for each index at which a or b has an entry, in order, until it
// returns false.
func both[V comparable](a, b trie[V], visit func(i uint64, x, y V) bool) {
	walkBoth(a, b, false, visit)
}

func walkBoth[V comparable](a, b trie[V], skipSame bool, visit func(i uint64, x, y V) bool) {
	for a.height < b.height {
		a = a.raised()
	}
	for b.height < a.height {
		b = b.raised()
	}
	w := walk[V]{skipSame, visit}
	w.pages(a.root, b.root, a.height, 0)
}

// walk goes through two tries of the same height.
type walk[V comparable] struct {
	skipSame bool
	visit    func(i uint64, x, y V) bool
}

func (w *walk[V]) pages(a, b *page[V], height int, base uint64) bool {
	if a == b && (w.skipSame || a == nil) {
		return true
	}
	if height == 0 {
		return w.leaves(a, b, base)
	}
	for k := range uint64(pageSize) {
		var pa, pb *page[V]
		if a != nil {
			pa = a.pages[k]
		}
		if b != nil {
			pb = b.pages[k]
		}
		if pa == pb && (w.skipSame || pa == nil) {
			continue
		}
		if !w.pages(pa, pb, height-1, base|k<<(pageBits*height)) {
			return false
		}
	}
	return true
}

func (w *walk[V]) leaves(a, b *page[V], base uint64) bool {
	var none V
	for k := range uint64(pageSize) {
		var x, y V
		if a != nil {
			x = a.vals[k]
		}
		if b != nil {
			y = b.vals[k]
		}
		if x == y && (w.skipSame || x == none) {
			continue
		}
		if !w.visit(base|k, x, y) {
			return false
		}
	}
	return true
}

// textBuckets is over how many buckets a textMap spreads its keys: at 100,000 keys a
// bucket has about 25.
const textBuckets = 4096

// textMap is a persistent map from texts. The zero value is empty.
type textMap[V comparable] struct {
	buckets trie[*bucket[V]]
}

// bucket holds the entries of the texts with the same hash.
type bucket[V comparable] struct {
	entries []textEntry[V]
}

type textEntry[V comparable] struct {
	key   string
	value V
}

// at returns the value of the key, the zero V if there is none.
func (m textMap[V]) at(key string) (v V) {
	if b := m.buckets.at(bucketOf(key)); b != nil {
		for _, e := range b.entries {
			if e.key == key {
				return e.value
			}
		}
	}
	return v
}

// set returns a map with the key's value changed; the zero V takes the key out.
func (m textMap[V]) set(key string, v V) textMap[V] {
	var none V
	i := bucketOf(key)
	next := new(bucket[V])
	if b := m.buckets.at(i); b != nil {
		for _, e := range b.entries {
			if e.key != key {
				next.entries = append(next.entries, e)
			}
		}
	}
	if v != none {
		next.entries = append(next.entries, textEntry[V]{key, v})
	}
	if len(next.entries) == 0 {
		next = nil
	}
	return textMap[V]{m.buckets.set(i, next)}
}

// all calls yield for each value, in no order.
func (m textMap[V]) all(yield func(V) bool) {
	m.buckets.all(func(b *bucket[V]) bool {
		for _, e := range b.entries {
			if !yield(e.value) {
				return false
			}
		}
		return true
	})
}

// bucketOf is FNV-1a, folded.
func bucketOf(key string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	return (h ^ h>>32) % textBuckets
}
