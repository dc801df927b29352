package netmap

import (
	"slices"
	"sync"
)

// ringSize is how many views the ring remembers. A session that is further behind
// compares the tables of nodes instead.
const ringSize = 1024

// ring remembers which slots the last views changed.
type ring struct {
	mu sync.RWMutex
	// guards the following fields
	entries [ringSize][]int32 // by seq % ringSize
	head    uint64            // seq of the newest entry
	size    int               // entries in use
}

// push records that the view with the given seq changed the slots.
func (r *ring) push(seq uint64, slots []int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries[seq%ringSize] = slots
	r.head = seq
	r.size = min(r.size+1, ringSize)
}

// between returns the slots that the views after from, up to and with to, changed,
// each once; ok is false if the ring no longer has them all.
func (r *ring) between(from, to uint64) (slots []int32, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if to > r.head || from > to || r.head-from > uint64(r.size) {
		return nil, false
	}
	if to == from+1 {
		return r.entries[to%ringSize], true
	}
	for seq := from + 1; seq <= to; seq++ {
		slots = append(slots, r.entries[seq%ringSize]...)
	}
	slices.Sort(slots)
	return slices.Compact(slots), true
}

// oldest returns the seq of the oldest view that between still serves.
func (r *ring) oldest() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.head - uint64(r.size)
}
