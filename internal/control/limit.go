package control

import (
	"sync"
	"time"

	"tailscale.com/types/key"
)

// Limits of registrations by one machine.
const (
	registerBurst    = 20
	registerInterval = 500 * time.Millisecond // one more each
	// maxLimited bounds the machines that are remembered. Each is forgotten as soon
	// as its allowance is whole again, at most 10 s after its last request.
	maxLimited = 50_000
)

// limiter bounds how often one machine may register.
type limiter struct {
	mu sync.Mutex
	// guards the following fields
	full    map[key.MachinePublic]time.Time // when the machine's allowance is whole again
	cleaned time.Time
}

func newLimiter() *limiter { return &limiter{full: map[key.MachinePublic]time.Time{}} }

// allow reports whether the machine may register now, and if not, how long to wait.
func (l *limiter) allow(m key.MachinePublic, now time.Time) (wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clean(now)
	at := l.full[m]
	if at.Before(now) {
		at = now
	}
	if used := at.Sub(now); used > (registerBurst-1)*registerInterval {
		return used - (registerBurst-1)*registerInterval, false
	}
	l.full[m] = at.Add(registerInterval)
	return 0, true
}

// clean forgets machines with a whole allowance, now and then. If there are still too
// many, all are forgotten: who can make so many keys is not held back by this anyway.
func (l *limiter) clean(now time.Time) {
	if now.Sub(l.cleaned) < registerBurst*registerInterval && len(l.full) < maxLimited {
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
