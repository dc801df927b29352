package certs

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func testLog(t testing.TB) *slog.Logger {
	w := &testWriter{w: t.Output()}
	t.Cleanup(w.stop)
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// testWriter drops what comes after the end of the test: the ACME library's jobs
// notice only some time after their context is done.
type testWriter struct {
	mu sync.Mutex // guards the fields below
	w  io.Writer  // nil after the test
}

func (w *testWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.w == nil {
		return len(p), nil
	}
	return w.w.Write(p)
}

func (w *testWriter) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.w = nil
}

// makePair returns a self-signed certificate and its key as PEM.
func makePair(t testing.TB, serial int64, names ...string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kder})
}

func writeFile(t testing.TB, name string, b []byte) string {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// pebble is a real ACME authority, made for tests, on loopback.
type pebble struct {
	directory string
	roots     *x509.CertPool // of its own HTTPS
	issuers   *x509.CertPool // of the certificates that it issues
	stop      func()         // ends it; may be called again
}

// startPebble starts an authority that connects to the two ports for challenges.
func startPebble(t *testing.T, httpPort, tlsPort int) *pebble {
	t.Helper()
	program, err := exec.LookPath("pebble")
	if err != nil {
		t.Skip("no ACME server to test with: the program pebble is missing (Debian package pebble)")
	}
	dir := t.TempDir()
	cert, key := makePair(t, 1, "localhost")
	listen, manage := freeAddr(t), freeAddr(t)
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": manage,
		"certificate": writeFile(t, filepath.Join(dir, "cert.pem"), cert),
		"privateKey":  writeFile(t, filepath.Join(dir, "key.pem"), key),
		"httpPort":    httpPort, "tlsPort": tlsPort,
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "-config", writeFile(t, filepath.Join(dir, "config.json"), config))
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	p := &pebble{directory: "https://" + listen + "/dir", roots: x509.NewCertPool(), issuers: x509.NewCertPool()}
	p.stop = sync.OnceFunc(func() { cancel(); cmd.Wait() })
	t.Cleanup(p.stop)
	p.roots.AppendCertsFromPEM(cert)
	p.get(t, p.directory)
	if !p.issuers.AppendCertsFromPEM(p.get(t, "https://"+manage+"/roots/0")) {
		t.Fatal("the authority told no root")
	}
	return p
}

func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// get asks the authority until it is up.
func (p *pebble) get(t *testing.T, url string) []byte {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.roots}, DisableKeepAlives: true}}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if res, err := client.Do(req); err == nil {
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		select {
		case <-ctx.Done():
			t.Fatal("the authority did not start")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func port(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func TestACME(t *testing.T) {
	tests := []struct {
		name string
		set  func(*Config)
	}{
		{"HTTP-01 with files", func(c *Config) { c.NoTLS = true; c.Dir = filepath.Join(c.Dir, "certs") }},
		{"TLS-ALPN-01 with a store", func(c *Config) { c.NoHTTP = true; c.Store = newMemory() }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			plain, secure := listen(t), listen(t)
			ca := startPebble(t, port(plain), port(secure))
			c := Config{
				Hosts: []string{"localhost"}, Directory: ca.directory, Roots: ca.roots, Email: "admin@example.com",
				Dir: t.TempDir(), HTTPPort: port(plain), TLSPort: port(secure), Log: testLog(t),
			}
			tt.set(&c)
			m := serve(t, c, plain, secure)
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			select {
			case <-m.Ready():
			case <-ctx.Done():
				t.Fatalf("no certificate: %+v", m.Status())
			}
			conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: ca.issuers, ServerName: "localhost", NextProtos: []string{"http/1.1"}}}).DialContext(ctx, "tcp", secure.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			leaf := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
			st := m.Status()
			if len(st) != 1 || st[0].Host != "localhost" || !st[0].Expires.Equal(leaf.NotAfter) || st[0].Err != nil {
				t.Errorf("status %+v, want one that ends at %v", st, leaf.NotAfter)
			}

			// Another process on the same store needs no authority.
			ca.stop()
			again, err := Open(c)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			runCtx, stop := context.WithCancel(ctx)
			go func() { done <- again.Run(runCtx) }()
			select {
			case <-again.Ready():
			case <-ctx.Done():
				t.Error("the stored certificate was not used")
			}
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// serve runs a manager on the two ports until the test ends.
func serve(t *testing.T, c Config, plain, secure net.Listener) *Manager {
	t.Helper()
	m, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "app") })
	servers := []*http.Server{
		{Handler: m.HTTPHandler(app, port(secure))},
		{Handler: app, TLSConfig: m.TLSConfig(), ErrorLog: slog.NewLogLogger(testLog(t).Handler(), slog.LevelDebug)},
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 3)
	go func() { servers[0].Serve(plain); done <- struct{}{} }()
	go func() { servers[1].ServeTLS(secure, "", ""); done <- struct{}{} }()
	go func() { m.Run(ctx); done <- struct{}{} }()
	t.Cleanup(func() {
		cancel()
		for _, s := range servers {
			s.Close()
		}
		for range cap(done) {
			<-done
		}
	})
	return m
}

func TestACMEFailureIsTold(t *testing.T) {
	plain, secure := listen(t), listen(t)
	ca := startPebble(t, port(plain), port(secure))
	m, err := Open(Config{
		Hosts: []string{"localhost"}, Directory: ca.directory, Roots: ca.roots, Dir: t.TempDir(),
		HTTPPort: port(plain), TLSPort: port(secure), Log: testLog(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	// Nobody answers challenges: the ports are bound and hang up.
	for _, ln := range []net.Listener{plain, secure} {
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				conn.Close()
			}
		}()
	}
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan struct{})
	acme := m.from.(*acme)
	note := acme.config.OnEvent
	acme.config.OnEvent = func(ctx context.Context, name string, data map[string]any) error {
		err := note(ctx, name, data)
		if name == "cert_failed" {
			close(failed)
		}
		return err
	}
	done := make(chan error)
	go func() { done <- m.Run(ctx) }()
	select {
	case <-failed:
	case <-time.After(60 * time.Second):
		t.Error("the failure was not told within a minute")
	}
	if st := m.Status(); st[0].Err == nil || !st[0].Expires.IsZero() {
		t.Errorf("status %+v, want an error", st)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
