package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"selvage/test/natlab"
)

// storyTime bounds one story.
const storyTime = 3 * time.Minute

// shortStory is what must be left of the run's time limit for a story to begin.
const shortStory = time.Minute

// tellTime bounds each question about a story that failed: what is asked may hang.
const tellTime = 3 * time.Second

// pause is the time between two looks at something that is waited for.
const pause = 50 * time.Millisecond

// The public segment of the lab. Addresses are from the documentation ranges.
const (
	inetNet   = "203.0.113.0/24"
	coreAddr  = "203.0.113.1"
	dnsAddr   = "203.0.113.53" // where a story may put a name server
	firstAddr = 100            // last byte of the first host's address
)

// The server's segment. Clients that lost a server with an http address dial port
// 443 of it for minutes, with TLS, unless the address is private.
const (
	serverNet  = "10.99.0.0/24"
	serverCore = "10.99.0.1"
	serverAddr = "10.99.0.10"
	serverPort = "8080"
)

// world is a lab with a server in public. Its methods end the story when they fail.
type world struct {
	*testing.T
	ctx     context.Context // ends when the story must be over
	lab     *natlab.Lab
	inet    *natlab.Switch
	server  *server
	clients []*client
	sites   int // hosts with a public address so far
	key     string
}

// newWorld builds a lab and starts the server in it, or skips the story.
func newWorld(t *testing.T) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("a story with real clients: not with -short")
	}
	natlab.SkipUnlessAvailable(t, commands...)
	if err := stage(); err != nil {
		t.Fatal(err)
	}
	// Building the clients for the first time can use up the run's limit.
	if end, ok := t.Deadline(); ok && time.Until(end) < shortStory {
		t.Skip("too little time is left of the run's limit: run again, now that the clients are built, or with -timeout 30m")
	}
	if _, err := program(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), storyTime)
	t.Cleanup(cancel)
	lab, err := natlab.New("slvstory")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, ctx: ctx, lab: lab}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.tell)
	w.inet = w.segment("inet", inetNet, coreAddr)
	w.server = newServer(w)
	w.server.start()
	return w
}

// tell shows what is known of a story that failed.
func (w *world) tell() {
	if !w.Failed() {
		return
	}
	look := func(f func(ctx context.Context)) {
		ctx, cancel := context.WithTimeout(context.Background(), tellTime)
		defer cancel()
		f(ctx)
	}
	w.Logf("end of the server's log:\n%s", w.server.log)
	for _, what := range []string{"node", "route"} {
		look(func(ctx context.Context) {
			if out, err := w.server.try(ctx, what, "list", "--json"); err == nil {
				w.Logf("%s list:\n%s", what, out)
			}
		})
	}
	for _, c := range w.clients {
		look(func(ctx context.Context) {
			status, err := c.Tailscale(ctx, "status")
			w.Logf("status of %s: %v\n%s\nend of its log:\n%s", c.Name, err, status, c.log)
		})
	}
}

// ok ends the story if err is not nil.
func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// await waits until f returns nil, and ends the story if that takes longer than
// limit. It returns how long it took, for the log.
func (w *world) await(what string, limit time.Duration, f func() error) time.Duration {
	w.Helper()
	start := time.Now()
	ctx, cancel := context.WithTimeout(w.ctx, limit)
	defer cancel()
	if err := natlab.Poll(ctx, pause, f); err != nil {
		w.Fatalf("%s: not within %v: %v", what, limit, err)
	}
	took := time.Since(start)
	w.Logf("%s: after %v", what, took.Round(time.Millisecond))
	return took
}

// segment makes a switch that the core routes to.
func (w *world) segment(name, subnet, core string) *natlab.Switch {
	w.Helper()
	s, err := w.lab.Switch(name, subnet)
	w.ok(err)
	w.ok(s.Core(core))
	return s
}

// host makes a host with the given address on the public segment.
func (w *world) host(name, addr string) (*natlab.Host, *natlab.Port) {
	w.Helper()
	h, err := w.lab.Host(name)
	w.ok(err)
	p, err := w.inet.Plug(h, "eth0", addr, coreAddr)
	w.ok(err)
	return h, p
}

// address returns the next free public address.
func (w *world) address() string {
	w.sites++
	return fmt.Sprintf("203.0.113.%d", firstAddr+w.sites)
}

// public makes a host with a public address.
func (w *world) public(name string) *natlab.Host {
	w.Helper()
	h, _ := w.host(name, w.address())
	return h
}

// behind makes a host behind a router of its own.
func (w *world) behind(name string, nat natlab.NAT) (*natlab.Host, *natlab.Router) {
	w.Helper()
	wan := w.address()
	subnet := fmt.Sprintf("10.70.%d.0/24", w.sites)
	r, err := w.lab.Router("r"+name, w.inet, wan, coreAddr, subnet, nat)
	w.ok(err)
	h, _, err := r.Client(name, 2)
	w.ok(err)
	return h, r
}

// file writes a file that all hosts can read and returns its path.
func (w *world) file(name, content string) string {
	w.Helper()
	path := w.server.dir + "/" + name
	w.ok(os.WriteFile(path, []byte(content), 0o600))
	return path
}

// missing returns an error that lists the words that text lacks.
func missing(text string, words ...string) error {
	var lacks []string
	for _, word := range words {
		if !strings.Contains(text, word) {
			lacks = append(lacks, fmt.Sprintf("%q", word))
		}
	}
	if len(lacks) > 0 {
		return errors.New("missing " + strings.Join(lacks, ", ") + " in:\n" + text)
	}
	return nil
}
