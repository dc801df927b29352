package policy

import (
	"encoding/binary"
	"iter"
	"math/bits"
)

// bitset is a set of small numbers, of a length fixed when it is made. Sets that
// are combined have the same length.
type bitset []uint64

func newBitset(n int) bitset { return make(bitset, (n+63)/64) }

func (b bitset) set(i int)      { b[i>>6] |= 1 << (i & 63) }
func (b bitset) has(i int) bool { return b[i>>6]&(1<<(i&63)) != 0 }

// setAll adds the numbers.
func (b bitset) setAll(numbers []int) {
	for _, i := range numbers {
		b.set(i)
	}
}

// or adds the members of o, which may be nil.
func (b bitset) or(o bitset) {
	for i, w := range o {
		b[i] |= w
	}
}

// without removes the members of o.
func (b bitset) without(o bitset) {
	for i, w := range o {
		b[i] &^= w
	}
}

// meets reports whether b and o have a member in common; either may be nil.
func (b bitset) meets(o bitset) bool {
	if len(o) < len(b) {
		b = b[:len(o)]
	}
	for i, w := range b {
		if w&o[i] != 0 {
			return true
		}
	}
	return false
}

// all returns the members in order.
func (b bitset) all() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i, w := range b {
			for ; w != 0; w &= w - 1 {
				if !yield(i<<6 + bits.TrailingZeros64(w)) {
					return
				}
			}
		}
	}
}

// appendKey appends a form that is equal for equal sets.
func (b bitset) appendKey(key []byte) []byte {
	for _, w := range b {
		key = binary.LittleEndian.AppendUint64(key, w)
	}
	return key
}
