package relay

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"tailscale.com/tailcfg"

	"selvage"
)

// Numbers of regions.
const (
	DefaultRegion = 900 // of the embedded relay
	FirstRelay    = 901 // of registered relays
	LastRelay     = 999
)

const (
	// DefaultRefresh is how often URLs are loaded again.
	DefaultRefresh = 3 * time.Hour
	// sourceEvery is how often files are read again, and sources that failed.
	sourceEvery = time.Minute
	// relayLife is how long a relay that is silent stays in the map; relays announce
	// themselves every announceEvery.
	relayLife = 5 * time.Minute
	// expiryEvery is how often silent relays are looked for.
	expiryEvery = 30 * time.Second
	// coalesce is the least time between two changes of the map, because each makes
	// every client rebuild its configuration. The first change after a quiet time
	// is published at once.
	coalesce = 10 * time.Second
	// maxLoading is how many sources are loaded at a time.
	maxLoading = 8
)

// Embedded is the relay in the server itself. Two clients of one region must be at
// the same relay, so it is for a server with one replica; several use relays on
// hosts of their own.
type Embedded struct {
	Region int    // zero: DefaultRegion
	Code   string // empty: "selvage"
	Name   string // empty: Code
	// Host is where clients reach the relay. Empty: the host and port at which
	// they dialled the control server.
	Host string
	// Port is that of DERP with TLS if Host is set; zero: 443.
	Port int
	// STUNPort is the UDP port of STUN; zero: 3478, -1: none.
	STUNPort int
	// Pinned has the relay's certificates. Nil: they are publicly trusted.
	Pinned *Pinned
	// HTTP80 is set if Host answers plain HTTP on port 80, which clients use to
	// find out whether a network wants them to log in.
	HTTP80 bool
}

// RegionConfig says where regions come from.
type RegionConfig struct {
	// Embedded is nil if the server has no relay of its own.
	Embedded *Embedded
	// Sources are files and URLs of region maps. A later one wins over an earlier
	// one, registered relays and the embedded one win over all.
	Sources []string
	Refresh time.Duration // of URLs; files are read every minute; zero: DefaultRefresh
	HTTP    *http.Client  // zero: http.DefaultClient
	Log     *slog.Logger
}

// Regions is the map of relays. Its methods may be called at any time from any
// goroutine; Map doesn't wait for a source.
type Regions struct {
	c       RegionConfig
	changed chan struct{} // one wake-up at most
	kick    chan struct{} // Run has something to publish; one at most

	mu        sync.Mutex // guards the fields below
	sources   []*source
	relays    []selvage.Relay
	skipped   map[string]string // relay to the reason why it isn't shown
	published time.Time         // when the map last changed
	view      *view
}

// NewRegions returns a map that has the embedded relay and nothing else until
// Refresh or Run loads the sources.
func NewRegions(c RegionConfig) (*Regions, error) {
	if c.Refresh <= 0 {
		c.Refresh = DefaultRefresh
	}
	if c.HTTP == nil {
		c.HTTP = http.DefaultClient
	}
	r := &Regions{c: c, changed: make(chan struct{}, 1), kick: make(chan struct{}, 1), skipped: make(map[string]string)}
	if e := c.Embedded; e != nil {
		own := *e
		if err := own.fill(); err != nil {
			return nil, err
		}
		r.c.Embedded = &own
	}
	for _, at := range c.Sources {
		if err := checkSource(at); err != nil {
			return nil, err
		}
		r.sources = append(r.sources, &source{at: at})
	}
	r.view = r.render(time.Now())
	return r, nil
}

// fill checks the settings and replaces those that are left out.
func (e *Embedded) fill() error {
	if e.Region == 0 {
		e.Region = DefaultRegion
	}
	if e.Code == "" {
		e.Code = "selvage"
	}
	if e.Name == "" {
		e.Name = e.Code
	}
	switch {
	case e.Region < 1 || e.Region > maxRegionID || e.Region >= FirstRelay && e.Region <= LastRelay:
		return selvage.Errorf(selvage.KindInvalid, "region %d of the embedded relay: use a number that is not from %d to %d, %d by custom", e.Region, FirstRelay, LastRelay, DefaultRegion)
	case len(e.Code) > maxText || len(e.Name) > maxText:
		return selvage.Errorf(selvage.KindInvalid, "code or name of the embedded relay is longer than %d bytes", maxText)
	case e.Host == "" && e.Pinned == nil:
		return selvage.Errorf(selvage.KindInvalid, "the embedded relay has no host name; set one, since a certificate is for a name")
	}
	return checkEndpoint(e.Host, e.Port, e.STUNPort)
}

// checkEndpoint checks what clients are told about a relay of ours. An empty host
// is not known yet.
func checkEndpoint(host string, port, stunPort int) error {
	if host != "" {
		if err := checkHost(host); err != nil {
			return err
		}
	}
	if port < 0 || port > maxPort {
		return selvage.Errorf(selvage.KindInvalid, "port %d of the relay is not a port", port)
	}
	if stunPort < -1 || stunPort > maxPort {
		return selvage.Errorf(selvage.KindInvalid, "STUN port %d of the relay: use a port, or -1 for no STUN", stunPort)
	}
	return nil
}

// Changed wakes one reader after the map has changed. Several changes may make one
// wake-up.
func (r *Regions) Changed() <-chan struct{} { return r.changed }

// Refresh loads all sources now. A source that fails keeps its last good map; the
// errors of all are joined.
func (r *Regions) Refresh(ctx context.Context) error {
	return r.refresh(ctx, func(*source) bool { return true })
}

// refresh loads the sources that are due.
func (r *Regions) refresh(ctx context.Context, due func(*source) bool) error {
	type result struct {
		s   *source
		m   *tailcfg.DERPMap
		err error
	}
	var results []*result
	r.mu.Lock()
	for _, s := range r.sources {
		if due(s) {
			results = append(results, &result{s: s})
		}
	}
	r.mu.Unlock()
	var g errgroup.Group
	g.SetLimit(maxLoading)
	for _, res := range results {
		g.Go(func() error {
			res.m, res.err = load(ctx, r.c.HTTP, res.s.at)
			return nil
		})
	}
	g.Wait()
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, res := range results {
		if res.s.err = res.err; res.err == nil {
			res.s.m, res.s.loaded = res.m, now
		}
		errs = append(errs, res.err)
	}
	r.touch(now)
	return errors.Join(errs...)
}

// Status tells how it stands with the sources, in their order.
func (r *Regions) Status() []SourceStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]SourceStatus, 0, len(r.sources))
	for _, s := range r.sources {
		st := SourceStatus{Source: s.at, Loaded: s.loaded, Err: s.err}
		if s.m != nil {
			st.Regions = len(s.m.Regions)
		}
		list = append(list, st)
	}
	return list
}

// SetRelays replaces the registered relays. Call it whenever one was added, was
// taken away or has announced itself; clients hear of it only if it makes a
// difference to them.
func (r *Regions) SetRelays(relays []selvage.Relay) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.relays = slices.Clone(relays)
	r.touch(time.Now())
}

// Run keeps the map up to date until ctx is done, and then returns nil. It begins
// with the sources that were not loaded yet.
func (r *Regions) Run(ctx context.Context) error {
	var g errgroup.Group
	if len(r.c.Sources) > 0 {
		g.Go(func() error { r.refreshLoop(ctx); return nil })
	}
	g.Go(func() error { r.publishLoop(ctx); return nil })
	return g.Wait()
}

func (r *Regions) refreshLoop(ctx context.Context) {
	t := time.NewTicker(sourceEvery)
	defer t.Stop()
	var logged string // the error that the log has already
	for {
		now := time.Now()
		err := r.refresh(ctx, func(s *source) bool {
			return !isURL(s.at) || s.err != nil || now.Sub(s.loaded) >= r.c.Refresh
		})
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			logged = ""
		case err.Error() != logged:
			logged = err.Error()
			r.c.Log.Warn("keep old relay regions", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// publishLoop publishes what touch left to it, and takes out relays that fell silent.
func (r *Regions) publishLoop(ctx context.Context) {
	expiry := time.NewTicker(expiryEvery)
	defer expiry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-expiry.C:
		case <-r.kick:
			r.mu.Lock()
			wait := time.Until(r.published.Add(coalesce))
			r.mu.Unlock()
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
		}
		r.mu.Lock()
		r.publish(time.Now())
		r.mu.Unlock()
	}
}

// touch publishes now, or leaves it to Run if the map has just changed. The caller
// holds mu.
func (r *Regions) touch(now time.Time) {
	if now.Sub(r.published) >= coalesce {
		r.publish(now)
		return
	}
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// publish shows clients the map of now if it differs from what they have. The
// caller holds mu.
func (r *Regions) publish(now time.Time) {
	v := r.render(now)
	if reflect.DeepEqual(v.regions, r.view.regions) {
		return
	}
	r.view, r.published = v, now
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// Map returns the map for a client that dialled the control server at host, a name
// or address with or without a port. The value is shared by clients that get the
// same and must not be changed.
func (r *Regions) Map(host string, version tailcfg.CapabilityVersion) *tailcfg.DERPMap {
	r.mu.Lock()
	v := r.view
	r.mu.Unlock()
	return v.forClient(host, version >= capPins)
}
