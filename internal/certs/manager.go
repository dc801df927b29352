package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"tailscale.com/util/dnsname"

	"selvage"
)

// Config says which certificates are wanted and where they come from: from files if
// CertFile is set, otherwise from an ACME authority.
type Config struct {
	// Hosts are the public names of the server; the first is where other requests
	// are redirected to.
	Hosts []string

	// CertFile and KeyFile are PEM files, the first with the chain. They are read
	// again when they change.
	CertFile, KeyFile string

	// Directory is the URL of the ACME authority; empty is Let's Encrypt. Setting
	// Hosts without files is taken as consent to the authority's terms.
	Directory string
	// Roots are trusted for the authority's own HTTPS; nil: the system's.
	Roots *x509.CertPool
	// Email is where the authority writes to if something is wrong; may be empty.
	Email string
	// Store keeps certificates, keys and the account. Replicas share one, so that
	// one of them obtains and any answers challenges. Nil: files in Dir.
	Store Store
	Dir   string
	// HTTPPort and TLSPort are where this process serves HTTPHandler and TLSConfig,
	// if not on 80 and 443, to which the authority connects.
	HTTPPort, TLSPort int
	// NoHTTP and NoTLS turn off the challenges on ports 80 and 443.
	NoHTTP, NoTLS bool

	Log *slog.Logger
}

// Status is what there is to say about the certificate of one host name.
type Status struct {
	Host    string
	Expires time.Time // zero if there is no certificate yet
	Err     error     // why the last attempt to get or read one went wrong
}

// provider is one of the two ways to a certificate.
type provider interface {
	// run keeps the certificates fresh until ctx is done.
	run(ctx context.Context) error
	tlsConfig() *tls.Config
	status() []Status
	// ready is closed when there is a certificate for each host.
	ready() <-chan struct{}
}

// Manager has the certificates of the server's public names.
type Manager struct {
	c    Config
	from provider
	// challenge answers an authority's request on plain HTTP; false if it was none.
	challenge challengeFunc
}

// Open checks the settings and, for files, reads them. It doesn't speak to the
// authority yet; Run does.
func Open(c Config) (*Manager, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	m := &Manager{c: c, challenge: noChallenge}
	if c.CertFile != "" {
		f, err := openFiles(c)
		if err != nil {
			return nil, err
		}
		m.from = f
		return m, nil
	}
	a := newACME(c)
	m.from, m.challenge = a, a.issuer.HandleHTTPChallenge
	return m, nil
}

func (c *Config) check() error {
	if c.Log == nil {
		return selvage.Errorf(selvage.KindInternal, "open certificates: no log")
	}
	if len(c.Hosts) == 0 {
		return selvage.Errorf(selvage.KindInvalid, "no host name for the certificate; set the server's public name")
	}
	for _, host := range c.Hosts {
		_, notIP := netip.ParseAddr(host)
		if err := dnsname.ValidHostname(host); err != nil || notIP == nil || host == "" || strings.ToLower(host) != host || strings.HasSuffix(host, ".") {
			return selvage.Errorf(selvage.KindInvalid, "host name %.80q: use a name in lower case, like ctl.example.com", host)
		}
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return selvage.Errorf(selvage.KindInvalid, "certificate and key file belong together; set both or neither")
	}
	if c.CertFile != "" {
		return nil
	}
	if c.NoHTTP && c.NoTLS {
		return selvage.Errorf(selvage.KindInvalid, "both ACME challenges are turned off; leave one on, or use certificate files")
	}
	if c.Store == nil && c.Dir == "" {
		return selvage.Errorf(selvage.KindInvalid, "no place to keep certificates; set the data directory")
	}
	if c.Directory != "" {
		if u, err := url.Parse(c.Directory); err != nil || u.Scheme != "https" || u.Host == "" {
			return selvage.Errorf(selvage.KindInvalid, "ACME directory %q: use an https:// URL", c.Directory)
		}
	}
	return nil
}

// Run obtains what is missing and keeps it fresh until ctx is done; then it returns
// nil. Failures are logged and tried again, ever more slowly.
func (m *Manager) Run(ctx context.Context) error { return m.from.run(ctx) }

// TLSConfig returns the settings of an HTTPS listener. They answer ACME challenges
// too.
func (m *Manager) TLSConfig() *tls.Config {
	c := m.from.tlsConfig()
	c.MinVersion = tls.VersionTLS12
	// Before what the provider needs, which no client but an authority asks for.
	c.NextProtos = append([]string{"h2", "http/1.1"}, c.NextProtos...)
	return c
}

// Ready is closed once there is a certificate for each host.
func (m *Manager) Ready() <-chan struct{} { return m.from.ready() }

// Status tells how it stands with each host, in their order.
func (m *Manager) Status() []Status { return m.from.status() }

// hostOf returns the configured host that a request is for, or the first.
func (m *Manager) hostOf(requested string) string {
	requested = strings.ToLower(strings.TrimSuffix(requested, "."))
	if slices.Contains(m.c.Hosts, requested) {
		return requested
	}
	return m.c.Hosts[0]
}
