package relay

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// LookUp returns the addresses of a host name.
type LookUp func(ctx context.Context, host string) ([]netip.Addr, error)

const (
	// bootstrapAge is how long an answer is given again. Failures are kept as long,
	// so that nobody can make the server ask its resolver often.
	bootstrapAge = time.Minute
	// bootstrapTimeout bounds one look-up.
	bootstrapTimeout = 5 * time.Second
)

// bootstrap answers clients whose own DNS fails with the addresses of the server's
// own names, and with nothing for any other name: it is no open resolver.
type bootstrap struct {
	own    func() []string
	lookUp LookUp
	flight singleflight.Group

	mu   sync.Mutex // guards the fields below
	seen map[string]lookedUp
}

type lookedUp struct {
	addrs []netip.Addr
	until time.Time
}

func newBootstrap(own func() []string, lookUp LookUp) *bootstrap {
	if own == nil {
		own = func() []string { return nil }
	}
	if lookUp == nil {
		lookUp = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	return &bootstrap{own: own, lookUp: lookUp, seen: make(map[string]lookedUp)}
}

// ServeHTTP answers GET ?q=name with a JSON object of name to addresses. It is
// empty for foreign names and for requests that name none.
func (b *bootstrap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "use GET", http.StatusMethodNotAllowed)
		return
	}
	answer := make(map[string][]netip.Addr)
	name := strings.ToLower(strings.TrimSuffix(r.URL.Query().Get("q"), "."))
	if name != "" && slices.ContainsFunc(b.own(), func(own string) bool { return strings.EqualFold(own, name) }) {
		if addrs := b.addrs(name); len(addrs) > 0 {
			answer[name] = addrs
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Connection", "close") // clients ask once, of many servers
	json.NewEncoder(w).Encode(answer)     // the client has gone if this fails
}

// addrs looks up an own name; there are only so many of them, so seen is bounded.
func (b *bootstrap) addrs(name string) []netip.Addr {
	b.mu.Lock()
	got, ok := b.seen[name]
	b.mu.Unlock()
	if ok && time.Now().Before(got.until) {
		return got.addrs
	}
	v, _, _ := b.flight.Do(name, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), bootstrapTimeout)
		defer cancel()
		addrs := got.addrs // an old answer is better than none
		if found, err := b.lookUp(ctx, name); err == nil {
			addrs = make([]netip.Addr, 0, len(found))
			for _, a := range found {
				addrs = append(addrs, a.Unmap())
			}
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		own := b.own()
		for old := range b.seen {
			if !slices.ContainsFunc(own, func(o string) bool { return strings.EqualFold(o, old) }) {
				delete(b.seen, old)
			}
		}
		b.seen[name] = lookedUp{addrs, time.Now().Add(bootstrapAge)}
		return addrs, nil
	})
	return v.([]netip.Addr)
}
