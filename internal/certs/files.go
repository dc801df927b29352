package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"selvage"
)

// filesEvery is how often the files are looked at. They are small, and comparing
// what is in them catches what modification times miss, such as links that now
// lead elsewhere.
const filesEvery = 30 * time.Second

// files is a certificate from two files.
type files struct {
	c   Config
	log *slog.Logger
	ok  chan struct{} // closed from the start

	mu        sync.Mutex // guards the fields below
	cert      *tls.Certificate
	pem, key  []byte // what cert was made of
	lastError error
}

func openFiles(c Config) (*files, error) {
	f := &files{c: c, log: c.Log, ok: make(chan struct{})}
	if _, err := f.reload(); err != nil {
		return nil, err
	}
	close(f.ok)
	return f, nil
}

// reload reads the files and takes the certificate if it is another one and good.
func (f *files) reload() (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() { f.lastError = err }()
	chain, err := os.ReadFile(f.c.CertFile)
	if err != nil {
		return false, fmt.Errorf("read certificate: %w", err)
	}
	key, err := os.ReadFile(f.c.KeyFile)
	if err != nil {
		return false, fmt.Errorf("read certificate key: %w", err)
	}
	if bytes.Equal(chain, f.pem) && bytes.Equal(key, f.key) {
		return false, nil
	}
	cert, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return false, selvage.Errorf(selvage.KindInvalid, "certificate %s with key %s: %w", f.c.CertFile, f.c.KeyFile, err)
	}
	for _, host := range f.c.Hosts {
		if err := cert.Leaf.VerifyHostname(host); err != nil {
			return false, selvage.Errorf(selvage.KindInvalid, "certificate %s is not for %s: %w", f.c.CertFile, host, err)
		}
	}
	f.cert, f.pem, f.key = &cert, chain, key
	return true, nil
}

func (f *files) run(ctx context.Context) error {
	t := time.NewTicker(filesEvery)
	defer t.Stop()
	var last string // error that was logged
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		changed, err := f.reload()
		switch {
		case err != nil && err.Error() != last:
			last = err.Error()
			f.log.Error("keep old certificate", "err", err)
		case err == nil:
			last = ""
		}
		if changed {
			f.log.Info("certificate files changed", "expires", f.leaf().NotAfter)
		}
	}
}

func (f *files) leaf() *x509.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cert.Leaf
}

func (f *files) tlsConfig() *tls.Config {
	return &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.cert, nil
	}}
}

func (f *files) ready() <-chan struct{} { return f.ok }

func (f *files) status() []Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]Status, 0, len(f.c.Hosts))
	for _, host := range f.c.Hosts {
		list = append(list, Status{Host: host, Expires: f.cert.Leaf.NotAfter, Err: f.lastError})
	}
	return list
}
