package server_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"selvage"
	"selvage/internal/config"
	"selvage/internal/journal"
	"selvage/internal/server"
	"selvage/internal/store"
)

// running is a server that runs until the test ends.
type running struct {
	*server.Server
	cfg  *config.Config
	stop func() error
}

func run(t *testing.T, environ ...string) *running {
	t.Helper()
	dir := t.TempDir()
	l, err := config.Load(config.Source{Environ: append([]string{
		"SELVAGE_DATA_DIR=" + dir, "SELVAGE_LISTEN=127.0.0.1:0", "SELVAGE_RELAY_STUN_LISTEN=127.0.0.1:0",
		"SELVAGE_SOCKET=" + filepath.Join(shortDir(t), "s"),
	}, environ...)})
	if err != nil {
		t.Fatal(err)
	}
	r := &running{cfg: &l.Config}
	if r.Server, err = server.Open(t.Context(), r.cfg, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended, ready := make(chan error, 1), make(chan struct{})
	go func() { ended <- r.Run(ctx, func() { close(ready) }) }()
	<-ready
	var stopped bool
	r.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return r
}

// shortDir returns a directory whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "slvg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// overSocket is a client for the server's socket.
func (r *running) overSocket() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", r.cfg.Socket)
		},
	}}
}

func get(t *testing.T, c *http.Client, url, host string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestWhatIsServedWhere(t *testing.T) {
	r := run(t)
	web, sock := &http.Client{Timeout: 10 * time.Second}, r.overSocket()
	for _, c := range []struct {
		name   string
		client *http.Client
		url    string
		host   string
		header []string
		status int
		word   string
	}{
		{"health", web, r.URL() + "/healthz", "", nil, 200, `"ok"`},
		{"readiness", web, r.URL() + "/readyz", "", nil, 200, `"ok"`},
		{"the server's key", web, r.URL() + "/key?v=142", "", nil, 200, "mkey:"},
		{"captive portal check", web, r.URL() + "/generate_204", "", nil, 204, ""},
		{"relay", web, r.URL() + "/derp/probe", "", nil, 200, ""},
		{"metrics from the loopback", web, r.URL() + "/metrics", "", nil, 200, "selvage_nodes_online"},
		{"metrics through a proxy", web, r.URL() + "/metrics", "", []string{"X-Forwarded-For", "192.0.2.1"}, 403, ""},
		{"metrics on the socket", sock, "http://selvage/metrics", "", nil, 200, "selvage_store_seconds"},
		{"metrics under a stranger's name", web, r.URL() + "/metrics", "attacker.example", nil, 421, ""},
		{"metrics through a proxy that says little", web, r.URL() + "/metrics", "", []string{"X-Real-IP", "192.0.2.1"}, 403, ""},
		{"profiles only on the socket", web, r.URL() + "/debug/pprof/", "", nil, 404, ""},
		{"profiles on the socket", sock, "http://selvage/debug/pprof/", "", nil, 200, "goroutine"},
		{"API without a token", web, r.URL() + "/api/selvage/v1/nodes", "", nil, 401, "token"},
		{"API on the socket", sock, "http://selvage/api/selvage/v1/nodes", "", nil, 200, ""},
		{"a page under a stranger's name", web, r.URL() + "/", "attacker.example", nil, 421, "attacker.example"},
		{"the API under a stranger's name", web, r.URL() + "/api/selvage/v1/nodes", "attacker.example", nil, 421, ""},
		{"a page under a name of the tailnet", web, r.URL() + "/signin", "server.home.selvage.internal", nil, 200, ""},
		{"a page that does not exist", web, r.URL() + "/nope", "", nil, 404, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body := get(t, c.client, c.url, c.host, c.header...)
			if status != c.status || !strings.Contains(body, c.word) {
				t.Errorf("got %d, want %d with %q:\n%.300s", status, c.status, c.word, body)
			}
		})
	}
	if fi, err := os.Stat(r.cfg.Socket); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("socket has mode %v (%v), want 0600", fi.Mode(), err)
	}
	for _, name := range []string{"master.key", "selvage.db"} {
		if fi, err := os.Stat(filepath.Join(r.cfg.DataDir, name)); err != nil || fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s can be read by others (%v)", name, err)
		}
	}
}

func TestFirstOwnerLink(t *testing.T) {
	r := run(t)
	links, err := r.FirstOwnerLinks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	link := links["home"]
	if !strings.HasPrefix(link, r.URL()+"/welcome/") {
		t.Fatalf("links %v", links)
	}
	if status, body := get(t, http.DefaultClient, link, ""); status != 200 || !strings.Contains(body, "owner") {
		t.Errorf("the link shows %d:\n%.300s", status, body)
	}
}

// openAgain opens a server with the directory of another, which is expected to fail.
func openAgain(t *testing.T, dir, listen string) error {
	t.Helper()
	l, err := config.Load(config.Source{Environ: []string{
		"SELVAGE_DATA_DIR=" + dir, "SELVAGE_LISTEN=" + listen, "SELVAGE_RELAY_STUN_LISTEN=127.0.0.1:0",
		"SELVAGE_SOCKET=" + filepath.Join(shortDir(t), "s"),
	}})
	if err != nil {
		return err
	}
	s, err := server.Open(t.Context(), &l.Config, slog.New(slog.DiscardHandler))
	if err == nil {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err = errors.Join(errors.New("it opened"), s.Run(ctx, func() {}))
	}
	return err
}

func TestStartRefusedWithReason(t *testing.T) {
	r := run(t)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(r.URL(), "http://"))
	used := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(used, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stopped := run(t)
	if err := stopped.stop(); err != nil {
		t.Fatal(err)
	}
	spoil := func(name string, data []byte) string {
		dir := t.TempDir()
		for _, f := range []string{"master.key", "selvage.db"} {
			b, err := os.ReadFile(filepath.Join(stopped.cfg.DataDir, f))
			if err != nil {
				t.Fatal(err)
			}
			if f == name {
				b = data
			}
			if b == nil {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, f), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	for _, c := range []struct {
		name, dir, listen string
		words             []string
	}{
		{"port taken", t.TempDir(), "127.0.0.1:" + port, []string{port, "in use", "--listen"}},
		{"data directory in use", r.cfg.DataDir, "127.0.0.1:0", []string{r.cfg.DataDir, "in use"}},
		{"data directory is a file", used, "127.0.0.1:0", []string{used, "--data-dir"}},
		{"address of another machine", t.TempDir(), "192.0.2.77:1", []string{"192.0.2.77:1", "--listen"}},
		{"database that is none", spoil("selvage.db", []byte(strings.Repeat("not a database ", 1000))), "127.0.0.1:0", []string{"selvage.db", "restore"}},
		{"master key lost", spoil("master.key", nil), "127.0.0.1:0", []string{"master.key", "backup"}},
		{"master key of another server", spoil("master.key", []byte("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")), "127.0.0.1:0", []string{"master key"}},
		{"master key cut off", spoil("master.key", []byte("AAAA")), "127.0.0.1:0", []string{"master.key", "32 bytes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := openAgain(t, c.dir, c.listen)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
			if strings.Contains(err.Error(), "it opened") {
				t.Error("the server opened")
			}
		})
	}
}

func TestRestartKeepsIdentity(t *testing.T) {
	r := run(t)
	_, before := get(t, http.DefaultClient, r.URL()+"/key?v=142", "")
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	again := run(t, "SELVAGE_DATA_DIR="+r.cfg.DataDir)
	if _, after := get(t, http.DefaultClient, again.URL()+"/key?v=142", ""); after != before {
		t.Errorf("the key is %s after a restart, it was %s", after, before)
	}
}

func TestTwoTailnets(t *testing.T) {
	r := run(t)
	n, err := r.Hub().CreateTailnet(t.Context(), selvage.Local(), "lab")
	if err != nil {
		t.Fatal(err)
	}
	if got := n.View().Domain(); got != "lab.selvage.internal" {
		t.Errorf("domain %q", got)
	}
	if _, err := r.Hub().CreateTailnet(t.Context(), selvage.Local(), "lab"); !selvage.Is(err, selvage.KindConflict) {
		t.Errorf("the same name again: %v", err)
	}
	links, err := r.FirstOwnerLinks(t.Context())
	if err != nil || len(links) != 2 {
		t.Errorf("links %v, %v; want one for each tailnet", links, err)
	}
}

func TestClockInThePast(t *testing.T) {
	r := run(t)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	future := time.Now().Add(48 * time.Hour)
	db, err := store.Open(t.Context(), r.cfg.DSN(), store.Options{MasterKey: readMasterKey(t, r.cfg.DataDir)})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Tx(t.Context(), func(tx *store.Tx) error {
		_, err := journal.Append(tx, future, selvage.System(), 1, []journal.Change{{Action: journal.SettingsSet, Target: "settings", New: "x"}})
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	err = openAgain(t, r.cfg.DataDir, "127.0.0.1:0")
	if err == nil || !strings.Contains(err.Error(), "clock") || !strings.Contains(err.Error(), "--accept-clock") {
		t.Fatalf("a server whose clock is behind the journal: %v", err)
	}
	accepted, err := server.Open(t.Context(), r.cfg, slog.New(slog.DiscardHandler), server.AcceptClock())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := accepted.Run(ctx, func() {}); err != nil {
		t.Fatal(err)
	}
	run(t, "SELVAGE_DATA_DIR="+r.cfg.DataDir) // the word is needed once
}

// A request whose body does not come is ended; it must not hold its connection.
func TestSlowBodyIsEnded(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the limit of 30 seconds; left out with -short")
	}
	r := run(t)
	c, err := net.Dial("tcp", strings.TrimPrefix(r.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "POST /verify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("the connection was still open after a minute: %v", err)
	}
}

func readMasterKey(t *testing.T, dir string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}
