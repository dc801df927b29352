package netmap

import (
	"iter"
	"math/bits"
	"sync"

	"selvage/internal/policy"
)

// maxRowClasses bounds how many classes rows are kept for: their memory grows with
// the square, to 32 MB.
const maxRowClasses = 1 << 14

// rows remembers which classes see which, so that a session that looks at all nodes
// asks the policy once for each class and not for each node. It is safe for
// concurrent use.
type rows struct {
	byClass sync.Map // policy.Class to *row
}

// row says which classes see a class: seeing is mutual. It is immutable.
type row struct {
	classes int // those below this one are known here
	seen    []uint64
}

// row returns what the class sees, of the classes known so far.
func (p *Policy) row(c policy.Class) *row {
	n := p.Classes()
	if r, ok := p.rows.byClass.Load(c); ok && r.(*row).classes >= n {
		return r.(*row)
	}
	r := &row{classes: n, seen: make([]uint64, (n+63)/64)}
	for i := range n {
		if p.Sees(c, policy.Class(i)) {
			r.seen[i/64] |= 1 << (i % 64)
		}
	}
	if n <= maxRowClasses {
		p.rows.byClass.Store(c, r)
	}
	return r
}

// has reports whether the class is seen. The row must be younger than the class.
func (r *row) has(c policy.Class) bool { return r.seen[c/64]&(1<<(c%64)) != 0 }

// all returns the classes that are seen, in order.
func (r *row) all() iter.Seq[policy.Class] {
	return func(yield func(policy.Class) bool) {
		for i, w := range r.seen {
			for ; w != 0; w &= w - 1 {
				if !yield(policy.Class(i*64 + bits.TrailingZeros64(w))) {
					return
				}
			}
		}
	}
}
