package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"selvage"
	"selvage/internal/authz"
	"selvage/internal/identity"
	"selvage/internal/netmap"
	"selvage/internal/policy"
	"selvage/internal/store"
)

// Limits of requests.
const (
	maxBody   = 1 << 20 // bytes of a body
	maxPolicy = 3 << 20 // bytes of a body with a policy
	// timeout bounds a request that is not a stream.
	timeout = 45 * time.Second
)

// Options are what the API needs from outside. Functions that are nil make their
// requests fail with an explanation.
type Options struct {
	Hub    *netmap.Hub
	DB     *store.DB
	Logger *slog.Logger
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// Version says what program this is.
	Version Version
	// URL returns where people's browsers find the server, for links, without a
	// slash at the end.
	URL func() string
	// Status returns what the server knows of itself; Version, URL and Database are
	// filled in if empty.
	Status func(ctx context.Context) ServerStatus
	// Config returns the configuration in force without secrets.
	Config func() map[string]any
	// Register connects the device that waits with the code, as a device of the user
	// or with tags. preapproved is whether the actor may approve devices.
	Register func(ctx context.Context, actor selvage.Actor, n *netmap.Net, code string, user selvage.UserID, tags []string, preapproved bool) (*netmap.Node, error)
	// Ping makes a node ping an address; kind is that of NodePing.
	Ping func(ctx context.Context, actor selvage.Actor, n *netmap.Net, node *netmap.Node, to netip.Addr, kind string) (Pong, error)
	// RelaysChanged is called after a relay was added or removed.
	RelaysChanged func(ctx context.Context, relays []*selvage.Relay)
}

// Server serves the API. It is safe for concurrent use.
type Server struct {
	opts Options
	log  *slog.Logger
	now  func() time.Time

	// routeMu keeps two changes of approved routes from each beginning with what was
	// there before the other.
	routeMu sync.Mutex
}

// New returns a server of the API.
func New(o Options) *Server {
	s := &Server{opts: o, log: o.Logger, now: o.Now}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// Local returns the handler for the server's own socket: whoever reaches it is an
// operator of the server. Paths begin with Prefix.
func (s *Server) Local() http.Handler {
	return s.routes(func(*http.Request) (selvage.Actor, *netmap.Net, error) { return selvage.Local(), nil, nil })
}

// Remote returns the handler for requests over TCP, which must carry an API token.
// Paths begin with Prefix.
func (s *Server) Remote() http.Handler { return s.routes(s.bearer) }

// bearer finds out who has the token of a request.
func (s *Server) bearer(r *http.Request) (selvage.Actor, *netmap.Net, error) {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || text == "" {
		return selvage.Actor{}, nil, selvage.Errorf(selvage.KindUnauthenticated, "no API token; send it as Authorization: Bearer, or set SELVAGE_TOKEN for the command line")
	}
	t, err := identity.CheckToken(r.Context(), s.opts.DB, strings.TrimSpace(text), s.now())
	if err != nil {
		return selvage.Actor{}, nil, err
	}
	n := s.opts.Hub.Net(t.Tailnet)
	if n == nil {
		return selvage.Actor{}, nil, selvage.Errorf(selvage.KindUnauthenticated, "the tailnet of this API token is no longer there")
	}
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = r.RemoteAddr
	}
	actor, err := identity.TokenActor(t, n.View().User(t.User), address)
	return actor, n, err
}

// request is one request and who makes it.
type request struct {
	*http.Request
	s     *Server
	w     http.ResponseWriter
	actor selvage.Actor
	// home is the tailnet of the actor; nil on the server's own socket.
	home *netmap.Net
}

// handler answers a request with a value to be written as JSON, or nil if it has
// written the answer itself.
type handler func(r *request) (any, error)

// authenticate finds out who makes a request.
type authenticate func(r *http.Request) (selvage.Actor, *netmap.Net, error)

// serve makes an http.Handler of a handler.
func (s *Server) serve(who authenticate, stream bool, h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !stream {
			ctx, cancel := context.WithTimeout(r.Context(), timeout)
			defer cancel()
			r = r.WithContext(ctx)
		}
		w.Header().Set("Cache-Control", "no-store")
		actor, home, err := who(r)
		var answer any
		if err == nil {
			answer, err = h(&request{Request: r, s: s, w: w, actor: actor, home: home})
		}
		if err != nil {
			s.refuse(w, r, actor, err)
			return
		}
		if answer != nil {
			writeJSON(w, http.StatusOK, answer)
		}
	})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.Encode(v) // the other side has gone if this fails
}

// statusOf maps kinds of error to statuses.
func statusOf(kind selvage.Kind) int {
	switch kind {
	case selvage.KindInvalid:
		return http.StatusBadRequest
	case selvage.KindUnauthenticated:
		return http.StatusUnauthorized
	case selvage.KindDenied:
		return http.StatusForbidden
	case selvage.KindNotFound:
		return http.StatusNotFound
	case selvage.KindConflict:
		return http.StatusConflict
	case selvage.KindBusy:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// refuse answers with an error. Of an internal one the client gets an ID and the log
// the rest.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, actor selvage.Actor, err error) {
	kind := selvage.KindOf(err)
	body := Error{Kind: kind.String()}
	var known *selvage.Error
	switch {
	case errors.As(err, &known) && kind != selvage.KindInternal:
		body.Message = known.Msg
	default:
		body.ID = selvage.RandomText(8)
		body.Message = "internal error " + body.ID + "; the server's log has the cause under this ID"
		if r.Context().Err() == nil {
			s.log.Error("admin request failed", "id", body.ID, "method", r.Method, "path", r.URL.Path, "actor", string(actor.Kind)+" "+actor.ID, "err", err)
		}
	}
	var refused *policy.Error
	if errors.As(err, &refused) {
		body.Problems = problems(refused.Diagnostics)
	}
	if kind == selvage.KindUnauthenticated {
		w.Header().Set("WWW-Authenticate", `Bearer realm="selvage"`)
	}
	writeJSON(w, statusOf(kind), ErrorBody{body})
}

// net returns the tailnet that a request is about, if the actor may do the action in
// it: the one that the query names, the actor's own, or the first.
func (r *request) net(a authz.Action) (*netmap.Net, error) {
	if err := authz.Allow(r.actor, a); err != nil {
		return nil, err
	}
	return r.tailnet()
}

// tailnet is net without a question of permission.
func (r *request) tailnet() (*netmap.Net, error) {
	name := r.URL.Query().Get("tailnet")
	if r.home == nil {
		return r.s.opts.Hub.ByName(name)
	}
	if own := r.home.View().Tailnet.Name; name != "" && name != own {
		return nil, selvage.Errorf(selvage.KindDenied, "this API token is for tailnet %s; use one of tailnet %s, or the server's own socket", own, name)
	}
	return r.home, nil
}

// server returns nil if the actor may do something that concerns the whole server:
// whoever is on its socket, and those of its first tailnet whose role allows it.
func (r *request) server(a authz.Action) error {
	if err := authz.Allow(r.actor, a); err != nil {
		return err
	}
	if r.home != nil && r.home != r.s.opts.Hub.Nets()[0] {
		return selvage.Errorf(selvage.KindDenied, "this concerns the whole server; it takes access to the server's own socket, or an API token of its first tailnet, %s", r.s.opts.Hub.Nets()[0].View().Tailnet.Name)
	}
	return nil
}

// read takes in the body: one JSON value without unknown fields.
func (r *request) read(v any, limit int64) error {
	dec := json.NewDecoder(http.MaxBytesReader(r.w, r.Body, limit))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		if _, err = dec.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = selvage.Errorf(selvage.KindInvalid, "there is more after the JSON value")
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return selvage.Errorf(selvage.KindInvalid, "the body has more than %d bytes", limit)
	case errors.Is(err, io.EOF):
		return selvage.Errorf(selvage.KindInvalid, "the body is empty: want a JSON object")
	}
	return selvage.Errorf(selvage.KindInvalid, "bad body: %s", strings.TrimPrefix(err.Error(), "json: "))
}

// body reads the body of a request into a new value.
func body[T any](r *request) (T, error) {
	var v T
	err := r.read(&v, maxBody)
	return v, err
}

// done is the answer to a change that has nothing to tell.
func done() any { return struct{}{} }

// missing is the error for a request that this server was not given a function for.
func missing(what string) error {
	return selvage.Errorf(selvage.KindNotFound, "this server cannot %s", what)
}
