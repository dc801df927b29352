package control_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/control/controltest"
	"selvage/internal/journal"
	"selvage/internal/store"
	"selvage/internal/store/storetest"
)

// request is a c2n request under way.
type request struct {
	resp *http.Response
	body string
	err  error
}

func c2n(ctx context.Context, s *controltest.Server, id selvage.NodeID, method, path, body string) <-chan request {
	got := make(chan request, 1)
	node := s.Net.View().Node(id)
	go func() {
		resp, err := s.C2N(ctx, selvage.Local(), s.Net, node, method, path, []byte(body))
		if err != nil {
			got <- request{err: err}
			return
		}
		text, err := io.ReadAll(resp.Body)
		got <- request{resp, string(text), err}
	}()
	return got
}

// asked returns the next request that comes on a stream.
func asked(t *testing.T, st *controltest.Stream) *tailcfg.PingRequest {
	t.Helper()
	m := st.Until(func(m *tailcfg.MapResponse) bool { return m.PingRequest != nil })
	if want := (&tailcfg.MapResponse{KeepAlive: true, PingRequest: m.PingRequest}); asJSON(t, m) != asJSON(t, want) {
		t.Errorf("the request comes with other things: %s", asJSON(t, m))
	}
	return m.PingRequest
}

const reply = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"

// lastEntry returns the newest entry of the journal.
func lastEntry(t *testing.T, s *controltest.Server, db *store.DB) *selvage.Entry {
	t.Helper()
	var entries []*selvage.Entry
	err := db.Read(background, func(tx *store.Tx) (err error) {
		entries, err = tx.Entries(s.Net.ID(), store.Query{})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries[len(entries)-1]
}

func TestC2N(t *testing.T) {
	db := storetest.New(t)
	s := controltest.New(t, controltest.Options{DB: db})
	n := s.Joined("laptop")
	st := n.Stream()
	st.Next()
	got := c2n(t.Context(), s, n.ID, "POST", "/echo?x=1", "ping")
	ping := asked(t, st)
	if ping.Types != "c2n" || !ping.URLIsNoise || ping.Log || !strings.Contains(ping.URL, "/machine/c2n/") {
		t.Errorf("request is %+v", ping)
	}
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(ping.Payload)))
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(req.Body); req.Method != "POST" || req.URL.String() != "/echo?x=1" || string(body) != "ping" {
		t.Errorf("the node is asked %v with %q", req, body)
	}
	if a := n.Ask("POST", ping.URL, reply); a.Status != http.StatusOK {
		t.Errorf("the answer was taken with %+v", a)
	}
	r := wait(t, "answer", got)
	if r.err != nil || r.resp.StatusCode != 200 || r.body != "hello" || r.resp.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("got %+v", r)
	}
	if a := n.Ask("POST", ping.URL, reply); a.Status != http.StatusNotFound {
		t.Errorf("a second answer was taken with %+v", a)
	}
	if s.Asked() != 0 {
		t.Errorf("%d requests are still there", s.Asked())
	}
	if last := lastEntry(t, s, db); last.Action != journal.NodeRequest || last.Kind != selvage.ActorLocal || !strings.Contains(string(last.New), "/echo") {
		t.Errorf("last entry of the journal is %+v", last)
	}
}

func TestRealClientAnswersSignsOfLife(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	n := s.Joined("laptop")
	n.Client().Poll()
	until(t, "session", func() bool { return s.HasSession(s.Net, n.ID) })
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), controltest.Timeout)
		if err := s.Alive(ctx, s.Net, s.Net.View().Node(n.ID)); err != nil {
			t.Error(err)
		}
		cancel()
	}
}

func TestC2NEachURLOnce(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	n := s.Joined("laptop")
	st := n.Stream()
	st.Next()
	seen := map[string]bool{}
	for range 5 {
		got := c2n(t.Context(), s, n.ID, "GET", "/echo", "")
		ping := asked(t, st)
		if seen[ping.URL] {
			t.Errorf("URL %s comes twice", ping.URL)
		}
		seen[ping.URL] = true
		n.Ask("POST", ping.URL, reply)
		if r := wait(t, "answer", got); r.err != nil {
			t.Error(r.err)
		}
	}
}

// Only the machine that was asked may answer; the question stays open for it.
func TestC2NAnswerOfAnotherMachine(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	n, thief := s.Joined("laptop"), s.Joined("thief")
	st := n.Stream()
	st.Next()
	got := c2n(t.Context(), s, n.ID, "GET", "/echo", "")
	ping := asked(t, st)
	if a := thief.Ask("POST", ping.URL, "HTTP/1.1 200 OK\r\n\r\nlies"); a.Status != http.StatusNotFound {
		t.Errorf("the thief got %+v", a)
	}
	n.Ask("POST", ping.URL, reply)
	if r := wait(t, "answer", got); r.body != "hello" {
		t.Errorf("got %+v", r)
	}
}

func TestC2NBadAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		status int
		says   string
	}{
		"no HTTP":   {"nonsense", 200, "no HTTP response"},
		"empty":     {"", 200, "no HTTP response"},
		"oversized": {strings.Repeat("x", 17<<20), 413, "of no use"},
	} {
		t.Run(name, func(t *testing.T) {
			s := controltest.New(t, controltest.Options{})
			n := s.Joined("laptop")
			st := n.Stream()
			st.Next()
			got := c2n(t.Context(), s, n.ID, "GET", "/echo", "")
			if a := n.Ask("POST", asked(t, st).URL, test.answer); a.Status != test.status {
				t.Errorf("the node got %+v", a)
			}
			if r := wait(t, "answer", got); !selvage.Is(r.err, selvage.KindInvalid) || !strings.Contains(r.err.Error(), test.says) {
				t.Errorf("got %+v", r)
			}
		})
	}
}

func TestC2NWithoutAnswer(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	n := s.Joined("laptop")
	if r := wait(t, "answer", c2n(t.Context(), s, n.ID, "GET", "/echo", "")); !selvage.Is(r.err, selvage.KindBusy) || !strings.Contains(r.err.Error(), "not connected") {
		t.Errorf("without a session: %+v", r)
	}
	st := n.Stream()
	st.Next()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if r := wait(t, "answer", c2n(ctx, s, n.ID, "GET", "/echo", "")); !selvage.Is(r.err, selvage.KindBusy) || !strings.Contains(r.err.Error(), "in time") {
		t.Errorf("without an answer: %+v", r)
	}
	asked(t, st)
	// When the node goes, nobody need wait any longer.
	got := c2n(t.Context(), s, n.ID, "GET", "/echo", "")
	asked(t, st)
	st.Close()
	if r := wait(t, "answer", got); !selvage.Is(r.err, selvage.KindBusy) || !strings.Contains(r.err.Error(), "has gone") {
		t.Errorf("when the node has gone: %+v", r)
	}
	if r := wait(t, "answer", c2n(t.Context(), s, n.ID, "GE T", "/echo", "")); !selvage.Is(r.err, selvage.KindInvalid) {
		t.Errorf("a bad method: %+v", r)
	}
	if s.Asked() != 0 {
		t.Errorf("%d requests are still there", s.Asked())
	}
}

func TestPingByDisco(t *testing.T) {
	db := storetest.New(t)
	s := controltest.New(t, controltest.Options{DB: db})
	n := s.Joined("laptop")
	st := n.Stream()
	st.Next()
	to := netip.MustParseAddr("100.64.0.9")
	type result struct {
		resp *tailcfg.PingResponse
		err  error
	}
	got := make(chan result, 1)
	go func() {
		resp, err := s.PingAs(t.Context(), selvage.Local(), s.Net, s.Net.View().Node(n.ID), to, tailcfg.PingDisco)
		got <- result{resp, err}
	}()
	ping := asked(t, st)
	if ping.Types != "disco" || ping.IP != to {
		t.Errorf("request is %+v", ping)
	}
	n.Ask("POST", ping.URL, &tailcfg.PingResponse{Type: tailcfg.PingDisco, IP: to.String(), LatencySeconds: 0.25})
	if r := wait(t, "result", got); r.err != nil || r.resp.LatencySeconds != 0.25 {
		t.Errorf("got %+v, %v", r.resp, r.err)
	}
	wantAsked := `{"ping":"disco","to":"100.64.0.9"}`
	if last := lastEntry(t, s, db); last.Action != journal.NodeRequest || last.Kind != selvage.ActorLocal || string(last.New) != wantAsked {
		t.Errorf("last entry of the journal is %+v", last)
	}
}

func TestUnknownTokens(t *testing.T) {
	s := controltest.New(t, controltest.Options{})
	n := s.Joined("laptop")
	for _, path := range []string{"/machine/c2n/abc", "/machine/ping/abc", "/machine/c2n/", "/machine/c2n/a/b"} {
		if a := n.Ask("POST", path, reply); a.Status != http.StatusNotFound {
			t.Errorf("%s: got %+v", path, a)
		}
	}
	if a := n.Ask("HEAD", "/machine/alive/abc", nil); a.Status != http.StatusNotFound {
		t.Errorf("got %+v", a)
	}
}
