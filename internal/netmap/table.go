package netmap

// pageSize is how many entries one page of a table has. A change copies one page
// and the list of pages: at 10,000 nodes that is about 64 + 157 pointers.
const pageSize = 64

// table is a persistent array of pointers: set returns a new table that shares all
// other pages with the old one. The zero value is empty.
type table struct {
	pages []*[pageSize]*Node
}

// len returns the number of slots, used or not.
func (t table) len() int { return len(t.pages) * pageSize }

// at returns the node in slot i, or nil.
func (t table) at(i int) *Node {
	if i < 0 || i >= t.len() {
		return nil
	}
	if p := t.pages[i/pageSize]; p != nil {
		return p[i%pageSize]
	}
	return nil
}

// set returns a table with n in slot i.
func (t table) set(i int, n *Node) table {
	size := max(len(t.pages), i/pageSize+1)
	pages := make([]*[pageSize]*Node, size)
	copy(pages, t.pages)
	page := new([pageSize]*Node)
	if old := pages[i/pageSize]; old != nil {
		*page = *old
	}
	page[i%pageSize] = n
	pages[i/pageSize] = page
	return table{pages}
}

// all calls yield for each node in slot order.
func (t table) all(yield func(*Node) bool) {
	for _, p := range t.pages {
		if p == nil {
			continue
		}
		for _, n := range p {
			if n != nil && !yield(n) {
				return
			}
		}
	}
}

// differing calls visit for each slot whose node is not the same one in a and b,
// skipping the pages that they share.
func differing(a, b table, visit func(slot int)) {
	for i := range max(len(a.pages), len(b.pages)) {
		var pa, pb *[pageSize]*Node
		if i < len(a.pages) {
			pa = a.pages[i]
		}
		if i < len(b.pages) {
			pb = b.pages[i]
		}
		if pa == pb {
			continue
		}
		for j := range pageSize {
			slot := i*pageSize + j
			if a.at(slot) != b.at(slot) {
				visit(slot)
			}
		}
	}
}
