package controltest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tailscale.com/control/ts2021"
	"tailscale.com/control/tsp"
	"tailscale.com/net/tsdial"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"

	"selvage"
)

// Node is a device that makes single requests in the clients' protocol.
type Node struct {
	Machine key.MachinePrivate
	Key     key.NodePrivate
	Disco   key.DiscoPublic
	// Hostinfo goes with each request.
	Hostinfo *tailcfg.Hostinfo
	// ID is known once the node has registered.
	ID selvage.NodeID

	s     *Server
	t     testing.TB
	url   string // of the server, as the device knows it
	noise *ts2021.Client
	tsp   *tsp.Client
}

// Node returns a device that has not registered yet.
func (s *Server) Node(hostname string) *Node {
	s.t.Helper()
	return s.OldNode(hostname, tailcfg.CurrentCapabilityVersion)
}

// OldNode is Node for a client of the given capability version.
func (s *Server) OldNode(hostname string, version tailcfg.CapabilityVersion) *Node {
	s.t.Helper()
	return s.machine(s.URL(), key.NewMachine(), hostname, version)
}

// NodeAt is Node for a device that knows the server by another URL.
func (s *Server) NodeAt(url, hostname string) *Node {
	s.t.Helper()
	return s.machine(url, key.NewMachine(), hostname, tailcfg.CurrentCapabilityVersion)
}

// SameMachine returns another device on the machine of n, with a node key of its own.
func (n *Node) SameMachine() *Node {
	n.t.Helper()
	return n.s.machine(n.url, n.Machine, n.Hostinfo.Hostname, tailcfg.CurrentCapabilityVersion)
}

// On returns the same device as a client of another server.
func (n *Node) On(s *Server) *Node {
	n.t.Helper()
	m := s.machine(s.URL(), n.Machine, n.Hostinfo.Hostname, tailcfg.CurrentCapabilityVersion)
	m.Key, m.Disco, m.Hostinfo, m.ID = n.Key, n.Disco, n.Hostinfo, n.ID
	return m
}

func (s *Server) machine(url string, m key.MachinePrivate, hostname string, version tailcfg.CapabilityVersion) *Node {
	s.t.Helper()
	n := &Node{
		url: url, Machine: m, Key: key.NewNode(), Disco: key.NewDisco().Public(), s: s, t: s.t,
		Hostinfo: &tailcfg.Hostinfo{OS: "linux", Hostname: hostname, BackendLogID: "test", IPNVersion: "1.102.5"},
	}
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	server, err := tsp.DiscoverServerKey(ctx, url)
	s.check(err)
	n.noise, err = ts2021.NewClient(ts2021.ClientOpts{
		ServerURL: url, PrivKey: m, ServerPubKey: server,
		Dialer: tsdial.NewFromFuncForDebug(logger.Discard, (&net.Dialer{}).DialContext),
		Logf:   logger.Discard, ProtocolVersion: uint16(version),
	})
	s.check(err)
	n.tsp, err = tsp.NewClient(tsp.ClientOpts{ServerURL: url, MachineKey: m})
	s.check(err)
	n.tsp.SetControlPublicKey(server)
	s.t.Cleanup(n.Hangup)
	return n
}

// For returns the node for use by another test than the one that made it, such as one
// input of a fuzz test.
func (n *Node) For(t testing.TB) *Node {
	m := *n
	m.t = t
	return &m
}

func (n *Node) check(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// Hangup closes the node's connections.
func (n *Node) Hangup() {
	n.noise.Close()
	n.tsp.Close()
}

// Do makes a request over the node's Noise connection. The path may be a whole URL. A
// body that is not a string goes as JSON. The caller closes the response's body.
func (n *Node) Do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	text, ok := body.(string)
	if !ok && body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		text = string(b)
	}
	if !strings.HasPrefix(path, "https://") {
		path = "https://" + strings.TrimPrefix(n.url, "http://") + path
	}
	req, err := http.NewRequestWithContext(ctx, method, path, strings.NewReader(text))
	if err != nil {
		return nil, err
	}
	return n.noise.Do(req)
}

// Answer is what a server has answered.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Ask is Do that reads the whole answer.
func (n *Node) Ask(method, path string, body any) Answer {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	resp, err := n.Do(ctx, method, path, body)
	n.check(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	n.check(err)
	return Answer{resp.StatusCode, resp.Header, string(text)}
}

// RegisterRequest returns a request that a test may change.
func (n *Node) RegisterRequest() *tailcfg.RegisterRequest {
	return &tailcfg.RegisterRequest{
		Version: tailcfg.CurrentCapabilityVersion, NodeKey: n.Key.Public(), Hostinfo: n.Hostinfo.Clone(),
	}
}

// Register sends a request and returns the answer, which has to be one.
func (n *Node) Register(req *tailcfg.RegisterRequest) *tailcfg.RegisterResponse {
	n.t.Helper()
	a := n.Ask("POST", "/machine/register", req)
	if a.Status != http.StatusOK {
		n.t.Fatalf("register: status %d: %s", a.Status, a.Body)
	}
	resp := new(tailcfg.RegisterResponse)
	n.check(json.Unmarshal([]byte(a.Body), resp))
	return resp
}

// Login registers with an auth key and returns the answer.
func (n *Node) Login(authKey string) *tailcfg.RegisterResponse {
	n.t.Helper()
	req := n.RegisterRequest()
	req.Auth = &tailcfg.RegisterResponseAuth{AuthKey: authKey}
	return n.Register(req)
}

// Join registers with an auth key, which has to work, and returns the node.
func (n *Node) Join(authKey string) *Node {
	n.t.Helper()
	if resp := n.Login(authKey); resp.Error != "" || resp.AuthURL != "" {
		n.t.Fatalf("%s has not joined: %+v", n.Hostinfo.Hostname, resp)
	}
	_, rec := n.s.Hub.NodeByKey(n.Key.Public())
	if rec == nil {
		n.t.Fatalf("%s has joined but is not there", n.Hostinfo.Hostname)
	}
	n.ID = rec.ID
	return n
}

// Joined returns a device of the owner that has joined.
func (s *Server) Joined(hostname string) *Node {
	s.t.Helper()
	return s.Node(hostname).Join(s.AuthKey(selvage.AuthKey{Preapproved: true}))
}

// MapRequest returns a request for a stream that a test may change.
func (n *Node) MapRequest() *tailcfg.MapRequest {
	return &tailcfg.MapRequest{
		Version: tailcfg.CurrentCapabilityVersion, NodeKey: n.Key.Public(), DiscoKey: n.Disco,
		KeepAlive: true, Stream: true, Compress: "zstd", Hostinfo: n.Hostinfo.Clone(),
	}
}

// Report tells the server the node's endpoints, and what is in its Hostinfo.
func (n *Node) Report(endpoints ...string) {
	n.t.Helper()
	req := n.MapRequest()
	req.Stream, req.OmitPeers = false, true
	for _, ep := range endpoints {
		req.Endpoints = append(req.Endpoints, netip.MustParseAddrPort(ep))
	}
	if a := n.Ask("POST", "/machine/map", req); a.Status != http.StatusOK {
		n.t.Fatalf("report: status %d: %s", a.Status, a.Body)
	}
}

// OneMap asks for a single map.
func (n *Node) OneMap() *tailcfg.MapResponse {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	sess, err := n.tsp.Map(ctx, tsp.MapOpts{NodeKey: n.Key, Hostinfo: n.Hostinfo.Clone(), MaxMessageSize: 64 << 20})
	n.check(err)
	defer sess.Close()
	m, err := sess.Next()
	n.check(err)
	return m
}

// Stream is a map session, read by a goroutine of its own.
type Stream struct {
	t testing.TB
	*messages
}

type messages struct {
	msgs chan *tailcfg.MapResponse
	err  error // set before msgs is closed
	sess *tsp.MapSession
}

// Stream opens a map session. The caller reads its messages.
func (n *Node) Stream() *Stream {
	n.t.Helper()
	st, err := n.TryStream()
	n.check(err)
	return st
}

// TryStream is Stream for a session that may be refused.
func (n *Node) TryStream() (*Stream, error) {
	// The request lives as long as the stream.
	sess, err := n.tsp.Map(context.Background(), tsp.MapOpts{NodeKey: n.Key, Hostinfo: n.Hostinfo.Clone(), Stream: true, MaxMessageSize: 64 << 20})
	if err != nil {
		return nil, err
	}
	st := &Stream{t: n.t, messages: &messages{sess: sess, msgs: make(chan *tailcfg.MapResponse, 1000)}}
	n.t.Cleanup(st.Close)
	go func() {
		defer close(st.msgs)
		for {
			m, err := sess.Next()
			if err != nil {
				st.err = err
				return
			}
			st.msgs <- m
		}
	}()
	return st, nil
}

// For returns the stream for use by another test than the one that made it.
func (st *Stream) For(t testing.TB) *Stream {
	return &Stream{t: t, messages: st.messages}
}

// Close ends the stream from the client's side.
func (st *Stream) Close() { st.sess.Close() }

// Next returns the next message that is more than a sign of life.
func (st *Stream) Next() *tailcfg.MapResponse {
	st.t.Helper()
	return st.Until(func(m *tailcfg.MapResponse) bool { return !m.KeepAlive || m.PingRequest != nil })
}

// Until returns the first message that fits, and drops those before it.
func (st *Stream) Until(fits func(*tailcfg.MapResponse) bool) *tailcfg.MapResponse {
	st.t.Helper()
	timeout := time.After(Timeout)
	for {
		select {
		case m, ok := <-st.msgs:
			if !ok {
				st.t.Fatalf("stream ended: %v", st.err)
			}
			if fits(m) {
				return m
			}
		case <-timeout:
			st.t.Fatal("no such message in time")
		}
	}
}

// Saw reads to the end of the stream and reports whether some message fits.
func (st *Stream) Saw(fits func(*tailcfg.MapResponse) bool) bool {
	saw := false
	for m := range st.msgs {
		saw = saw || fits(m)
	}
	return saw
}

// Ended waits until the server has ended the stream, and returns nil if it did so
// cleanly. Messages are dropped.
func (st *Stream) Ended() error {
	st.t.Helper()
	timeout := time.After(Timeout)
	for {
		select {
		case _, ok := <-st.msgs:
			switch {
			case ok:
			case errors.Is(st.err, io.EOF):
				return nil
			default:
				return st.err
			}
		case <-timeout:
			st.t.Fatal("the stream does not end")
		}
	}
}

// PlainMessages returns a reader of the frames of an uncompressed map stream.
func PlainMessages(r io.Reader) func() (*tailcfg.MapResponse, error) {
	return func() (*tailcfg.MapResponse, error) {
		body, err := ReadFrame(r)
		if err != nil {
			return nil, err
		}
		m := new(tailcfg.MapResponse)
		return m, json.NewDecoder(bytes.NewReader(body)).Decode(m)
	}
}
