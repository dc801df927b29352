package relay

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"sync"
	"time"

	"tailscale.com/util/dnsname"
)

const (
	// maxPinned is how many certificates are kept in memory. Names come from
	// whoever connects, so there may be any number of them.
	maxPinned = 256
	// addressName stands for a relay that is reached by an address: clients make
	// URLs of a relay's host name, and an IPv6 address would break them.
	addressName = "relay.selvage.invalid"
)

// Pinned makes the certificates of a relay that has none from a public authority.
// Each name gets its own; all are signed by one key that is derived from the seed,
// and they have nothing in them that changes. So a certificate's hash stays the
// same when the relay restarts, and clients can be told it beforehand.
//
// They are for DERP only. A browser won't accept them, nor will a client when it
// asks for the control server's key.
type Pinned struct {
	key ed25519.PrivateKey

	mu    sync.Mutex // guards the fields below
	certs map[string]*tls.Certificate
}

// NewPinned returns the certificates that belong to the seed.
func NewPinned(seed Seed) *Pinned {
	return &Pinned{
		key:   ed25519.NewKeyFromSeed(derive(seed, "selvage relay certificate")),
		certs: make(map[string]*tls.Certificate),
	}
}

// Hash returns the SHA-256, in hex, of the certificate that a client sees that
// dials the host, a name or an IP address.
func (p *Pinned) Hash(host string) (string, error) {
	c, err := p.certificate(serverName(host))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(c.Certificate[0])
	return hex.EncodeToString(sum[:]), nil
}

// serverName returns the name that a client sends when it dials host: none for an
// IPv4 address, and a stand-in for an IPv6 address (see node).
func serverName(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	return host
}

// TLSConfig returns the settings of a listener for the relay's clients. Beside the
// certificate it gives s's key in the handshake, which saves clients a round trip;
// s may be nil.
func (p *Pinned) TLSConfig(s *Server) *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS12,
		// DERP needs HTTP/1.1.
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return p.certificate(h.ServerName)
		},
	}
	if s != nil {
		s.derp.ModifyTLSConfigToAddMetaCert(c)
	}
	return c
}

// certificate returns the one for the name, or the one for addresses if the name
// is empty.
func (p *Pinned) certificate(name string) (*tls.Certificate, error) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if name == "" {
		name = addressName
	}
	if err := dnsname.ValidHostname(name); err != nil {
		return nil, fmt.Errorf("make relay certificate: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c, ok := p.certs[name]; ok {
		return c, nil
	}
	c, err := p.make(name)
	if err != nil {
		return nil, fmt.Errorf("make relay certificate for %s: %w", name, err)
	}
	if len(p.certs) >= maxPinned {
		clear(p.certs)
	}
	p.certs[name] = c
	return c, nil
}

// make builds a certificate. Ed25519 signatures are deterministic, so the bytes
// depend on key and name alone.
func (p *Pinned) make(name string) (*tls.Certificate, error) {
	subject := pkix.Name{CommonName: "selvage relay"}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      subject,
		// Wide enough for devices whose clock is off: clients check both.
		NotBefore:             time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(2099, 12, 31, 0, 0, 0, 0, time.UTC),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{name},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, p.key.Public(), p.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: p.key}, nil
}
