package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tailscale.com/control/tsp"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/identity"
)

// certificate writes a self-signed certificate for a name and returns its files and a
// pool that trusts it.
func certificate(t *testing.T, name string) (cert, keyFile string, pool *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	return cert, keyFile, pool
}

// freePort returns a port of the loopback that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// A server with a public name serves HTTPS, and on its plain port what clients need
// there and a redirect for everything else.
func TestPublicHostName(t *testing.T) {
	cert, keyFile, pool := certificate(t, "vpn.example.com")
	secure, plain := freePort(t), freePort(t)
	r := run(t, "SELVAGE_HOSTNAME=vpn.example.com", "SELVAGE_LISTEN="+secure, "SELVAGE_ACME_HTTP_LISTEN="+plain,
		"SELVAGE_TLS_CERT="+cert, "SELVAGE_TLS_KEY="+keyFile)
	_, port, _ := net.SplitHostPort(secure)
	if want := "https://vpn.example.com:" + port; r.URL() != want {
		t.Errorf("URL is %s, want %s", r.URL(), want)
	}
	dialTo := func(addr string) *http.Client {
		return &http.Client{
			Timeout:       10 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				TLSClientConfig: &tls.Config{RootCAs: pool},
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, "tcp", addr)
				},
			},
		}
	}
	if status, body := get(t, dialTo(secure), "https://vpn.example.com/key?v=142", ""); status != 200 || !strings.Contains(body, "mkey:") {
		t.Errorf("the key by HTTPS: %d %s", status, body)
	}
	if status, _ := get(t, dialTo(plain), "http://vpn.example.com/signin", ""); status != http.StatusPermanentRedirect && status != http.StatusMovedPermanently && status != http.StatusFound && status != http.StatusTemporaryRedirect {
		t.Errorf("a page by plain HTTP: %d, want a redirect", status)
	}
	if status, _ := get(t, dialTo(plain), "http://vpn.example.com/generate_204", ""); status != 204 {
		t.Errorf("the captive portal check by plain HTTP: %d, want 204", status)
	}
	if status, _ := get(t, dialTo(secure), "https://vpn.example.com/", "other.example.com"); status != http.StatusMisdirectedRequest {
		t.Errorf("another name: %d, want 421", status)
	}
	// Clients upgrade on the plain port first; Noise protects what they say.
	n := r.Hub().Nets()[0]
	text, id, hash := identity.NewAuthKey()
	if err := n.CreateAuthKey(t.Context(), selvage.Local(), &selvage.AuthKey{ID: id, Hash: hash, User: n.View().Owner().ID}); err != nil {
		t.Fatal(err)
	}
	c, err := tsp.NewClient(tsp.ClientOpts{ServerURL: "http://" + plain, MachineKey: key.NewMachine()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Register(t.Context(), tsp.RegisterOpts{NodeKey: key.NewNode(), AuthKey: text}); err != nil {
		t.Errorf("registration on the plain port: %v", err)
	}
}
