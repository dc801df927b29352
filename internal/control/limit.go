package control

import (
	"sync"
	"time"
)

// Limits of registrations by one machine.
const (
	registerBurst    = 20
	registerInterval = 500 * time.Millisecond // one more each
)

// Limits of reports of one node. Each that has news goes to its peers, and a new host
// name into the journal.
const (
	reportBurst    = 20
	reportInterval = time.Second // one more each
)

// maxLimited bounds what a limiter remembers. Each is forgotten as soon as its
// allowance is whole again, at most 20 s after its last request.
const maxLimited = 50_000

// limiter bounds how often each machine or node may do something.
type limiter[K comparable] struct {
	burst    int
	interval time.Duration

	mu sync.Mutex
	// guards the following fields
	full    map[K]time.Time // when the allowance is whole again
	cleaned time.Time
}

func newLimiter[K comparable](burst int, interval time.Duration) *limiter[K] {
	return &limiter[K]{burst: burst, interval: interval, full: map[K]time.Time{}}
}

// spare is how far ahead of now an allowance may be used up for one more.
func (l *limiter[K]) spare() time.Duration { return time.Duration(l.burst-1) * l.interval }

// allow reports whether k may go on now, and if not, how long to wait.
func (l *limiter[K]) allow(k K, now time.Time) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clean(now)
	at := l.full[k]
	if at.Before(now) {
		at = now
	}
	if used := at.Sub(now); used > l.spare() {
		return used - l.spare(), false
	}
	l.full[k] = at.Add(l.interval)
	return 0, true
}

// clean forgets those with a whole allowance, now and then. If there are still too
// many, all are forgotten: who can make so many keys is not held back by this anyway.
func (l *limiter[K]) clean(now time.Time) {
	if now.Sub(l.cleaned) < time.Duration(l.burst)*l.interval && len(l.full) < maxLimited {
		return
	}
	l.cleaned = now
	for k, t := range l.full {
		if !t.After(now) {
			delete(l.full, k)
		}
	}
	if len(l.full) >= maxLimited {
		clear(l.full)
	}
}
