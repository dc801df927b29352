package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

const (
	// renewCheckEvery and stapleCheckEvery are how often certificates in use are
	// looked at; they are renewed when a third of their life is left, or when the
	// authority says.
	renewCheckEvery  = 10 * time.Minute
	stapleCheckEvery = time.Hour
	// obtainTimeout bounds one attempt at one certificate.
	obtainTimeout = 90 * time.Second
)

// acme has certificates from an ACME authority.
type acme struct {
	c      Config
	log    *slog.Logger
	cache  *certmagic.Cache
	config *certmagic.Config
	issuer *certmagic.ACMEIssuer

	mu      sync.Mutex       // guards the fields below
	failed  map[string]error // by host
	missing map[string]bool  // hosts without a certificate so far
	ok      chan struct{}    // closed when missing becomes empty
}

func newACME(c Config) *acme {
	a := &acme{
		c: c, log: c.Log,
		failed: make(map[string]error), missing: make(map[string]bool), ok: make(chan struct{}),
	}
	for _, host := range c.Hosts {
		a.missing[host] = true
	}
	logger := zap.New(&slogCore{log: c.Log})
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return a.config, nil },
		RenewCheckInterval: renewCheckEvery,
		OCSPCheckInterval:  stapleCheckEvery,
		Logger:             logger,
	})
	var storage certmagic.Storage = &certmagic.FileStorage{Path: c.Dir}
	if c.Store != nil {
		storage = newStorage(c.Store)
	}
	a.config = certmagic.New(a.cache, certmagic.Config{
		Storage:           storage,
		DefaultServerName: c.Hosts[0],
		OnEvent:           a.event,
		Logger:            logger,
	})
	a.issuer = certmagic.NewACMEIssuer(a.config, certmagic.ACMEIssuer{
		CA:                      c.Directory,
		TrustedRoots:            c.Roots,
		Email:                   c.Email,
		Agreed:                  true,
		AltHTTPPort:             c.HTTPPort,
		AltTLSALPNPort:          c.TLSPort,
		DisableHTTPChallenge:    c.NoHTTP,
		DisableTLSALPNChallenge: c.NoTLS,
		CertObtainTimeout:       obtainTimeout,
		Logger:                  logger,
	})
	a.config.Issuers = []certmagic.Issuer{a.issuer}
	return a
}

// event notes what becomes of each certificate.
func (a *acme) event(_ context.Context, name string, data map[string]any) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	host, _ := data["identifier"].(string)
	switch name {
	case "cert_failed":
		err, _ := data["error"].(error)
		if err == nil {
			err = errors.New("no reason was given")
		}
		a.failed[host] = fmt.Errorf("get certificate for %s: %w", host, err)
	case "cert_obtained":
		delete(a.failed, host)
	case "cached_managed_cert":
		names, _ := data["sans"].([]string)
		for _, host := range names {
			delete(a.missing, host)
		}
		select {
		case <-a.ok:
		default:
			if len(a.missing) == 0 {
				close(a.ok)
			}
		}
	}
	return nil
}

func (a *acme) run(ctx context.Context) error {
	defer a.cache.Stop()
	if err := a.config.ManageAsync(ctx, a.c.Hosts); err != nil {
		return fmt.Errorf("obtain certificates: %w", err)
	}
	<-ctx.Done()
	return nil
}

func (a *acme) tlsConfig() *tls.Config { return a.config.TLSConfig() }

func (a *acme) ready() <-chan struct{} { return a.ok }

func (a *acme) status() []Status {
	list := make([]Status, 0, len(a.c.Hosts))
	for _, host := range a.c.Hosts {
		s := Status{Host: host}
		for _, c := range a.cache.AllMatchingCertificates(host) {
			if c.Leaf != nil && c.Leaf.NotAfter.After(s.Expires) {
				s.Expires = c.Leaf.NotAfter
			}
		}
		a.mu.Lock()
		s.Err = a.failed[host]
		a.mu.Unlock()
		list = append(list, s)
	}
	return list
}
