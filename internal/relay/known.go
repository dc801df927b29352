package relay

import (
	"sync"
	"time"

	"tailscale.com/types/key"
)

const (
	// knownLife is how long a client is known after the control server admitted it.
	knownLife = 24 * time.Hour
	// maxKnown is how many clients are known at most. When there are more, any of
	// them is forgotten: that matters only while the control server is away.
	maxKnown = 100_000
)

// known are the clients that the control server admitted not long ago.
type known struct {
	mu    sync.Mutex // guards the fields below
	until map[key.NodePublic]time.Time
}

func newKnown() *known { return &known{until: make(map[key.NodePublic]time.Time)} }

func (k *known) add(node key.NodePublic, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.until[node]; !ok && len(k.until) >= maxKnown {
		for old := range k.until {
			delete(k.until, old)
			break
		}
	}
	k.until[node] = now.Add(knownLife)
}

func (k *known) remove(node key.NodePublic) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.until, node)
}

func (k *known) has(node key.NodePublic, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	until, ok := k.until[node]
	if ok && !now.Before(until) {
		delete(k.until, node)
		return false
	}
	return ok
}
