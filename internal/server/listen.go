package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"selvage"
	"selvage/internal/certs"
	"selvage/internal/config"
	"selvage/internal/relay"
)

// Limits of HTTP connections before they are upgraded or answered.
const (
	readHeaderTimeout = 15 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	// bodyTimeout is how long a request may take to arrive after its header.
	bodyTimeout = 30 * time.Second
)

// listeners are the sockets of a server and what serves them.
type listeners struct {
	serve []func() error
	close []func() error
	// servers are told to stop accepting when the server drains.
	servers []*http.Server
	// address is that of the main listener, as bound.
	address net.Addr
	manager *certs.Manager
}

func (l *listeners) add(ln net.Listener, srv *http.Server) {
	l.serve = append(l.serve, func() error {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("serve %s: %w", ln.Addr(), err)
		}
		return nil
	})
	l.close = append(l.close, ln.Close)
	l.servers = append(l.servers, srv)
}

func (l *listeners) closeAll() {
	for _, c := range l.close {
		c()
	}
}

// httpServer returns a server for HTTP/1.1 alone: the clients' upgrades need it, and
// browsers get along with it.
func httpServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
}

// boundBody ends connections whose request body does not arrive. A limit on all reading
// would cut off upgraded connections and answers that take long.
func boundBody(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 && r.Header.Get("Upgrade") == "" {
			// The server itself sets the deadline anew for the next request.
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
		}
		h.ServeHTTP(w, r)
	})
}

// listenTCP binds an address, and says what to do if that fails.
func listenTCP(addr, option string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, selvage.Errorf(selvage.KindConflict, "address %s is in use by another program; stop it, or choose another address with %s", addr, option)
	case errors.Is(err, fs.ErrPermission):
		return nil, selvage.Errorf(selvage.KindDenied, "address %s may not be used by this user; ports below 1024 need root or the capability CAP_NET_BIND_SERVICE; choose another address with %s", addr, option)
	case err != nil:
		return nil, selvage.Errorf(selvage.KindInvalid, "address %s cannot be listened on: %w; choose another one with %s", addr, err, option)
	}
	return ln, nil
}

// listenPlain serves a server without a public host name: plain HTTP, and on the
// same port the relay by TLS, since stock clients speak to relays by nothing else.
func (s *Server) listenPlain(l *listeners, h http.Handler) error {
	ln, err := listenTCP(s.cfg.Listen, "--listen")
	if err != nil {
		return err
	}
	l.address = ln.Addr()
	sniffer := relay.SniffTLS(ln)
	l.close = append(l.close, sniffer.Close)
	l.add(sniffer.Plain(), httpServer(h, s.log))
	relayed := http.NotFoundHandler()
	if s.relay != nil {
		relayed = s.relay.Handler()
	}
	l.add(tls.NewListener(sniffer.TLS(), s.pinned.TLSConfig(s.relay)), httpServer(relayed, s.log))
	return nil
}

// listenPublic serves a public host name: HTTPS, and on port 80 what clients and
// certificate authorities need there.
func (s *Server) listenPublic(l *listeners, h http.Handler) error {
	c, err := s.certConfig()
	if err != nil {
		return err
	}
	ln, err := listenTCP(s.cfg.Listen, "--listen")
	if err != nil {
		return err
	}
	l.close = append(l.close, ln.Close)
	var plain net.Listener
	if s.cfg.ACME.HTTPListen != config.None {
		if plain, err = listenTCP(s.cfg.ACME.HTTPListen, "acme.http_listen in the configuration"); err != nil {
			return err
		}
		l.close = append(l.close, plain.Close)
		c.HTTPPort = portOf(plain.Addr())
	}
	c.TLSPort = portOf(ln.Addr())
	m, err := certs.Open(c)
	if err != nil {
		return err
	}
	l.manager = m
	l.address = ln.Addr()
	tlsConfig := m.TLSConfig()
	tlsConfig.NextProtos = withoutH2(tlsConfig.NextProtos)
	l.add(tls.NewListener(ln, tlsConfig), httpServer(h, s.log))
	if plain == nil {
		return nil
	}
	l.add(plain, httpServer(m.HTTPHandler(h, portOf(ln.Addr())), s.log))
	return nil
}

// certConfig says where the certificate of the public name comes from.
func (s *Server) certConfig() (certs.Config, error) {
	c := certs.Config{
		Hosts: []string{s.cfg.Hostname}, CertFile: s.cfg.TLS.Cert, KeyFile: s.cfg.TLS.Key,
		Directory: s.cfg.ACME.Directory, Email: s.cfg.ACME.Email,
		Dir: filepath.Join(s.cfg.DataDir, "certs"), Log: s.log,
		NoHTTP: s.cfg.ACME.HTTPListen == config.None,
	}
	if s.cfg.ACME.CAFile == "" {
		return c, nil
	}
	pem, err := os.ReadFile(s.cfg.ACME.CAFile)
	if err != nil {
		return c, selvage.Errorf(selvage.KindInvalid, "acme.ca_file cannot be read: %w", err)
	}
	c.Roots = x509.NewCertPool()
	if !c.Roots.AppendCertsFromPEM(pem) {
		return c, selvage.Errorf(selvage.KindInvalid, "acme.ca_file %s holds no certificate in PEM form", s.cfg.ACME.CAFile)
	}
	return c, nil
}

// withoutH2 keeps the upgrade of /ts2021 and /derp possible: they need HTTP/1.1.
func withoutH2(protos []string) []string {
	kept := []string{"http/1.1"}
	for _, p := range protos {
		if p != "h2" && p != "http/1.1" {
			kept = append(kept, p)
		}
	}
	return kept
}

// listenSocket serves the unix socket for the command line on this machine. Who may
// open it is the server's user and root.
func (s *Server) listenSocket(l *listeners, h http.Handler) error {
	path := s.cfg.Socket
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return selvage.Errorf(selvage.KindConflict, "socket %s is in use by another server; stop it, or choose another socket in the configuration", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove old socket: %w", err)
	}
	old := syscall.Umask(0o177)
	ln, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return selvage.Errorf(selvage.KindInvalid, "socket %s cannot be made: %w; choose another one in the configuration", path, err)
	}
	l.add(ln, httpServer(h, s.log))
	return nil
}

// listenSTUN binds the STUN port. Unless the operator asked for that very port, any
// free one will do, since the region map says which it is.
func (s *Server) listenSTUN() (*relay.STUN, error) {
	stun, err := relay.ListenSTUN(s.cfg.Relay.STUNListen, s.log)
	if err == nil {
		return stun, nil
	}
	if s.cfg.Relay.STUNListen != config.Default("").Relay.STUNListen {
		return nil, selvage.Errorf(selvage.KindConflict, "STUN cannot listen on %s: %w; choose another address with relay.stun_listen", s.cfg.Relay.STUNListen, err)
	}
	host, _, _ := net.SplitHostPort(s.cfg.Relay.STUNListen)
	stun, again := relay.ListenSTUN(net.JoinHostPort(host, "0"), s.log)
	if again != nil {
		return nil, fmt.Errorf("listen for STUN: %w", again)
	}
	s.log.Warn("the usual STUN port is taken; using another one", "wanted", s.cfg.Relay.STUNListen, "port", stun.Port(), "err", err)
	return stun, nil
}

func portOf(a net.Addr) int {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.Port
	}
	return 0
}

// shutdown stops all HTTP servers: idle connections end at once, requests may finish
// until ctx ends.
func (l *listeners) shutdown(ctx context.Context) {
	for _, srv := range l.servers {
		if err := srv.Shutdown(ctx); err != nil {
			srv.Close()
		}
	}
}
