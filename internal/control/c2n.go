package control

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/journal"
	"selvage/internal/netmap"
)

// Limits of requests to nodes.
const (
	// AskTimeout is the longest that a request to a node is waited for.
	AskTimeout = 30 * time.Second
	// maxAsks bounds the requests under way, of all nodes together.
	maxAsks = 1_000
	// maxAnswer bounds a node's answer; a netmap or heap profile can be megabytes.
	maxAnswer     = 16 << 20
	maxPingAnswer = 64 << 10
)

// ask is a request to a node that waits for its answer.
type ask struct {
	machine key.MachinePublic // who may answer
	limit   int64             // of the answer, in bytes
	answer  chan answer       // capacity 1
}

// answer is what a node has sent, or why that is of no use.
type answer struct {
	body []byte
	err  error
}

// askTable holds the requests under way, by their random token.
type askTable struct {
	mu sync.Mutex
	// guards the following field
	byToken map[string]*ask
}

func newAskTable() *askTable { return &askTable{byToken: map[string]*ask{}} }

func (t *askTable) add(m key.MachinePublic, limit int64) (string, *ask, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.byToken) >= maxAsks {
		return "", nil, errManyAsks
	}
	token := selvage.RandomText(26)
	a := &ask{machine: m, limit: limit, answer: make(chan answer, 1)}
	t.byToken[token] = a
	return token, a, nil
}

func (t *askTable) drop(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byToken, token)
}

// take returns the request with the token if the machine may answer it, once.
func (t *askTable) take(token string, m key.MachinePublic) *ask {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.byToken[token]
	if a == nil || a.machine != m {
		return nil
	}
	delete(t.byToken, token)
	return a
}

// serveAnswer takes in what a node answers. Nothing in it is to be trusted.
func (s *Server) serveAnswer(w http.ResponseWriter, r *http.Request) {
	a := s.asked.take(r.PathValue("token"), from(r.Context()).machine)
	if a == nil {
		http.NotFound(w, r)
		return
	}
	body, err := readBody(w, r, a.limit)
	if err != nil {
		a.answer <- answer{err: err}
		http.Error(w, "answer too large or cut off", http.StatusRequestEntityTooLarge)
		return
	}
	a.answer <- answer{body: body}
}

// errManyAsks says nothing about the node that was to be asked.
var errManyAsks = selvage.Errorf(selvage.KindBusy, "%d requests to devices are under way; try again", maxAsks)

// ask puts a request on a node's session and waits for the answer.
func (s *Server) ask(ctx context.Context, n *netmap.Net, node *netmap.Node, path string, limit int64, fill func(*tailcfg.PingRequest)) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, AskTimeout)
	defer cancel()
	m := s.sessionOf(n.ID(), node.ID)
	if m == nil {
		return nil, selvage.Errorf(selvage.KindBusy, "device %s is not connected", node.Name)
	}
	token, a, err := s.asked.add(node.Machine, limit)
	if err != nil {
		return nil, err
	}
	defer s.asked.drop(token)
	// The client keeps one connection for each host name, so the host has to be the
	// one by which it calls the server already.
	ping := &tailcfg.PingRequest{URL: "https://" + m.host + path + token, URLIsNoise: true}
	fill(ping)
	select {
	case m.push <- &tailcfg.MapResponse{KeepAlive: true, PingRequest: ping}:
	default:
		return nil, selvage.Errorf(selvage.KindBusy, "device %s has %d requests waiting already", node.Name, pushQueue)
	}
	select {
	case got := <-a.answer:
		if got.err != nil {
			return nil, selvage.Errorf(selvage.KindInvalid, "the answer of device %s is of no use: %w", node.Name, got.err)
		}
		return got.body, nil
	case <-m.done:
		return nil, selvage.Errorf(selvage.KindBusy, "device %s has gone before it answered", node.Name)
	case <-ctx.Done():
		return nil, selvage.Errorf(selvage.KindBusy, "device %s did not answer in time", node.Name)
	}
}

// C2N sends an HTTP request to the handlers that a client has for its coordination
// server, such as GET /debug/metrics. It is written to the journal, since it can read
// from a person's device.
func (s *Server) C2N(ctx context.Context, actor selvage.Actor, n *netmap.Net, node *netmap.Node, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequest(method, path, bytes.NewReader(body))
	if err != nil {
		return nil, selvage.Errorf(selvage.KindInvalid, "bad request to a device: %w", err)
	}
	var payload bytes.Buffer
	req.Host = cmp.Or(req.Host, "control")
	if err := req.Write(&payload); err != nil {
		return nil, fmt.Errorf("encode request to node %d: %w", node.ID, err)
	}
	if err := writeDown(ctx, actor, n, node, map[string]string{"method": method, "path": path}); err != nil {
		return nil, err
	}
	answer, err := s.ask(ctx, n, node, "/machine/c2n/", maxAnswer, func(p *tailcfg.PingRequest) {
		p.Types, p.Payload = "c2n", payload.Bytes()
	})
	if err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), req)
	if err != nil {
		return nil, selvage.Errorf(selvage.KindInvalid, "device %s sent an answer that is no HTTP response: %w", node.Name, err)
	}
	return resp, nil
}

// writeDown puts a request to a node into the journal before it is made.
func writeDown(ctx context.Context, actor selvage.Actor, n *netmap.Net, node *netmap.Node, what map[string]string) error {
	err := n.Update(ctx, actor, func(tx *netmap.Tx) error {
		tx.Log(journal.NodeRequest, "node:"+node.ID.String(), nil, what)
		return nil
	})
	if err != nil {
		return fmt.Errorf("write down request to node %d: %w", node.ID, err)
	}
	return nil
}

// PingAs makes a node ping an address of the tailnet, by disco, TSMP, ICMP or peerapi.
// It is written to the journal, since it tells who is where.
func (s *Server) PingAs(ctx context.Context, actor selvage.Actor, n *netmap.Net, node *netmap.Node, to netip.Addr, kind tailcfg.PingType) (*tailcfg.PingResponse, error) {
	if err := writeDown(ctx, actor, n, node, map[string]string{"ping": string(kind), "to": to.String()}); err != nil {
		return nil, err
	}
	answer, err := s.ask(ctx, n, node, "/machine/ping/", maxPingAnswer, func(p *tailcfg.PingRequest) {
		p.Types, p.IP = string(kind), to
	})
	if err != nil {
		return nil, err
	}
	resp := new(tailcfg.PingResponse)
	if err := json.Unmarshal(answer, resp); err != nil {
		return nil, selvage.Errorf(selvage.KindInvalid, "device %s sent a ping result that is no JSON: %w", node.Name, err)
	}
	return resp, nil
}

// alive asks a node for a sign of life over its session.
func (s *Server) alive(ctx context.Context, n *netmap.Net, node *netmap.Node) error {
	_, err := s.ask(ctx, n, node, "/machine/alive/", 0, func(*tailcfg.PingRequest) {})
	return err
}
