package control

import (
	"net/http"
	"sync"
	"time"

	"tailscale.com/types/key"
)

// Limits of connections of machines that have not shown that they belong here. Anybody
// can make a machine key.
const (
	// unprovenIdle ends their connections when nothing is asked on them.
	unprovenIdle = 30 * time.Second
	// maxUnproven bounds their connections from one address. Many devices can share
	// one, so machines that have a node are let in beyond it.
	maxUnproven = 256
)

// unproven counts the connections of machines that have not shown that they belong
// here, by address.
type unproven struct {
	mu sync.Mutex
	// guards the following field
	byRemote map[string]int
}

func newUnproven() *unproven { return &unproven{byRemote: map[string]int{}} }

// add counts a connection, unless there are enough from the address and force isn't set.
func (u *unproven) add(remote string, force bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byRemote[remote] >= maxUnproven && !force {
		return false
	}
	u.byRemote[remote]++
	return true
}

func (u *unproven) remove(remote string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byRemote[remote]--; u.byRemote[remote] <= 0 {
		delete(u.byRemote, remote)
	}
}

// knows reports whether the machine has a node. It looks at all of them.
func (s *Server) knows(m key.MachinePublic) bool {
	for _, n := range s.hub.Nets() {
		for node := range n.View().Nodes() {
			if node.Machine == m {
				return true
			}
		}
	}
	return false
}

// admission is how far a connection has come in showing that it belongs here.
type admission struct {
	limit time.Duration // how long it may be idle before
	end   func() error  // ends the connection
	prove func()        // is called once, when it has been shown or the connection ends

	mu sync.Mutex
	// guards the following fields
	requests int
	proven   bool
	timer    *time.Timer
}

func newAdmission(limit time.Duration, end func() error, prove func()) *admission {
	return &admission{limit: limit, end: end, prove: sync.OnceFunc(prove)}
}

// start begins to count the time.
func (a *admission) start() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.timer = time.AfterFunc(a.limit, a.expire)
}

// expire ends the connection if it is idle still.
func (a *admission) expire() {
	a.mu.Lock()
	idle := a.requests == 0 && !a.proven
	a.mu.Unlock()
	if idle {
		a.end()
	}
}

// request counts a request that begins or ends.
func (a *admission) request(change int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests += change
	a.timer.Stop()
	if a.requests == 0 && !a.proven {
		a.timer.Reset(a.limit)
	}
}

// done says that the connection belongs here, or has ended.
func (a *admission) done() {
	a.mu.Lock()
	a.proven = true
	a.timer.Stop()
	a.mu.Unlock()
	a.prove()
}

// attended keeps the time of requests out of what is idle.
func attended(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := from(r.Context()).admission
		a.request(1)
		defer a.request(-1)
		h.ServeHTTP(w, r)
	})
}
