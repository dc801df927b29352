package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"selvage"
)

func TestConfigIsChecked(t *testing.T) {
	good := Config{Hosts: []string{"ctl.example.com"}, Dir: t.TempDir(), Log: testLog(t)}
	tests := []struct {
		name string
		set  func(*Config)
		want string // part of the error; empty if good
	}{
		{"good", func(*Config) {}, ""},
		{"no host", func(c *Config) { c.Hosts = nil }, "no host name"},
		{"address", func(c *Config) { c.Hosts = []string{"192.0.2.1"} }, `"192.0.2.1"`},
		{"empty host", func(c *Config) { c.Hosts = []string{""} }, `""`},
		{"capital", func(c *Config) { c.Hosts = []string{"Ctl.example.com"} }, "lower case"},
		{"port", func(c *Config) { c.Hosts = []string{"ctl.example.com:443"} }, "ctl.example.com:443"},
		{"certificate only", func(c *Config) { c.CertFile = "x" }, "belong together"},
		{"missing files", func(c *Config) { c.CertFile, c.KeyFile = "no-such-file", "x" }, "no-such-file"},
		{"no challenge", func(c *Config) { c.NoHTTP, c.NoTLS = true, true }, "both ACME challenges"},
		{"no place", func(c *Config) { c.Dir = "" }, "data directory"},
		{"plain directory", func(c *Config) { c.Directory = "http://ca.test/dir" }, "https://"},
		{"no log", func(c *Config) { c.Log = nil }, "no log"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			tt.set(&c)
			m, err := Open(c)
			switch {
			case tt.want == "" && err != nil:
				t.Fatal(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
			if m != nil {
				stop(m)
			}
		})
	}
}

// stop ends what Open starts for a manager that never runs.
func stop(m *Manager) {
	if a, ok := m.from.(*acme); ok {
		a.cache.Stop()
	}
}

func TestPlainHTTP(t *testing.T) {
	m, err := Open(Config{Hosts: []string{"ctl.example.com", "alt.example.com"}, Dir: t.TempDir(), Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(m)
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) })
	tests := []struct {
		name, method, url string
		port              int
		status            int
		location          string
	}{
		{"noise", "POST", "http://ctl.example.com/ts2021", 0, 418, ""},
		{"key", "GET", "http://ctl.example.com/key?v=142", 0, 418, ""},
		{"relay", "GET", "http://ctl.example.com/derp", 0, 418, ""},
		{"probe", "GET", "http://ctl.example.com/derp/probe", 0, 418, ""},
		{"captive portal", "GET", "http://other.example.com/generate_204", 0, 418, ""},
		{"page", "GET", "http://ctl.example.com/devices?x=1%2F2", 0, 308, "https://ctl.example.com/devices?x=1%2F2"},
		{"other name of ours", "GET", "http://alt.example.com:80/", 0, 308, "https://alt.example.com/"},
		{"foreign name", "GET", "http://evil.example.org/devices", 0, 308, "https://ctl.example.com/devices"},
		{"address", "GET", "http://[2001:db8::1]/", 0, 308, "https://ctl.example.com/"},
		{"port", "GET", "http://ctl.example.com/", 8443, 308, "https://ctl.example.com:8443/"},
		{"two slashes", "GET", "http://ctl.example.com//evil.example.org/", 0, 308, "https://ctl.example.com//evil.example.org/"},
		{"longer than a path of ours", "GET", "http://ctl.example.com/keys", 0, 308, "https://ctl.example.com/keys"},
		{"escaped", "GET", "http://ctl.example.com/a%2Fb", 0, 308, "https://ctl.example.com/a%2Fb"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			m.HTTPHandler(app, tt.port).ServeHTTP(w, httptest.NewRequest(tt.method, tt.url, nil))
			if got := w.Header().Get("Location"); w.Code != tt.status || got != tt.location {
				t.Errorf("%d %q, want %d %q", w.Code, got, tt.status, tt.location)
			}
		})
	}
}

func TestFilesAreReloaded(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	put := func(serial int64, names ...string) {
		t.Helper()
		cert, key := makePair(t, serial, names...)
		writeFile(t, certFile, cert)
		writeFile(t, keyFile, key)
	}
	put(1, "ctl.example.com")
	m, err := Open(Config{Hosts: []string{"ctl.example.com"}, CertFile: certFile, KeyFile: keyFile, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	f := m.from.(*files)
	serial := func() int64 {
		t.Helper()
		c, err := m.TLSConfig().GetCertificate(&tls.ClientHelloInfo{ServerName: "ctl.example.com"})
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf.SerialNumber.Int64()
	}
	steps := []struct {
		name    string
		change  func()
		changed bool
		want    int64
		err     string
	}{
		{"nothing", func() {}, false, 1, ""},
		{"renewed", func() { put(2, "ctl.example.com") }, true, 2, ""},
		{"half written", func() { writeFile(t, keyFile, []byte("x")) }, false, 2, "key.pem"},
		{"other name", func() { put(3, "www.example.com") }, false, 2, "is not for ctl.example.com"},
		{"gone", func() { os.Remove(certFile) }, false, 2, "cert.pem"},
		{"back", func() { put(4, "ctl.example.com") }, true, 4, ""},
	}
	for _, s := range steps {
		s.change()
		changed, err := f.reload()
		if changed != s.changed || (err == nil) != (s.err == "") || err != nil && !strings.Contains(err.Error(), s.err) {
			t.Errorf("%s: changed %v, %v; want %v, %q", s.name, changed, err, s.changed, s.err)
		}
		if got := serial(); got != s.want {
			t.Errorf("%s: certificate %d, want %d", s.name, got, s.want)
		}
		if st := m.Status(); (st[0].Err == nil) != (s.err == "") || st[0].Expires.IsZero() {
			t.Errorf("%s: status %+v", s.name, st)
		}
	}
	select {
	case <-m.Ready():
	default:
		t.Error("a manager of files is not ready")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestFilesThatDoNotFit(t *testing.T) {
	dir := t.TempDir()
	cert, _ := makePair(t, 1, "ctl.example.com")
	_, other := makePair(t, 2, "ctl.example.com")
	c := Config{
		Hosts: []string{"ctl.example.com"}, Log: testLog(t),
		CertFile: writeFile(t, filepath.Join(dir, "c"), cert), KeyFile: writeFile(t, filepath.Join(dir, "k"), other),
	}
	if _, err := Open(c); !selvage.Is(err, selvage.KindInvalid) {
		t.Errorf("error %v, want one of kind invalid", err)
	}
}

func TestStorageHasFolders(t *testing.T) {
	ctx := t.Context()
	s := newStorage(newMemory())
	for _, key := range []string{"a/b/one", "a/b/two", "a/c", "ab/x"} {
		if err := s.Store(ctx, key, []byte(key)); err != nil {
			t.Fatal(err)
		}
	}
	lists := []struct {
		path      string
		recursive bool
		want      []string
	}{
		{"a", false, []string{"a/b", "a/c"}},
		{"a", true, []string{"a/b", "a/b/one", "a/b/two", "a/c"}},
		{"", false, []string{"a", "ab"}},
		{"a/b", false, []string{"a/b/one", "a/b/two"}},
	}
	for _, tt := range lists {
		got, err := s.List(ctx, tt.path, tt.recursive)
		slices.Sort(got)
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("List(%q, %v): %v, -want +got:\n%s", tt.path, tt.recursive, err, diff)
		}
	}
	if _, err := s.List(ctx, "none", true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("list of nothing: %v", err)
	}
	if i, err := s.Stat(ctx, "a/b"); err != nil || i.IsTerminal {
		t.Errorf("Stat of a folder: %+v, %v", i, err)
	}
	if i, err := s.Stat(ctx, "a/c"); err != nil || !i.IsTerminal || i.Size != 3 {
		t.Errorf("Stat of a value: %+v, %v", i, err)
	}
	if err := s.Delete(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if s.Exists(ctx, "a/b/one") || s.Exists(ctx, "a") || !s.Exists(ctx, "ab/x") {
		t.Error("Delete of a folder took too little or too much")
	}
	if err := s.Delete(ctx, "a"); err != nil {
		t.Errorf("Delete of nothing: %v", err)
	}
	if err := s.Lock(ctx, "l"); err != nil {
		t.Fatal(err)
	}
	if err := s.Unlock(ctx, "l"); err != nil {
		t.Fatal(err)
	}
	if err := s.Unlock(ctx, "l"); err == nil {
		t.Error("a lock that nobody holds was released")
	}
}
