package control

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"
)

// Limits of a client's connection.
const (
	// readIdle and pingTimeout find connections whose other end is gone without a
	// word, such as a sleeping laptop's.
	readIdle    = 45 * time.Second
	pingTimeout = 20 * time.Second
	// writeStall ends a connection that takes no byte for so long.
	writeStall = 30 * time.Second
	maxStreams = 100
	// idleTimeout ends connections without a request; clients dial again.
	idleTimeout = 10 * time.Minute
)

// inside serves HTTP/2 in Noise connections. It is the listener of its own server.
type inside struct {
	server *http.Server
	start  sync.Once
	conns  chan net.Conn

	closing sync.Once
	closed  chan struct{}
}

func newInside(h http.Handler, log *slog.Logger) *inside {
	in := &inside{conns: make(chan net.Conn), closed: make(chan struct{})}
	in.server = &http.Server{
		Handler:     loudly(attended(h), log),
		Protocols:   new(http.Protocols),
		IdleTimeout: idleTimeout,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			SendPingTimeout:      readIdle,
			PingTimeout:          pingTimeout,
			WriteByteTimeout:     writeStall,
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, c)
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	in.server.Protocols.SetUnencryptedHTTP2(true) // Noise encrypts
	return in
}

// loudly logs what a handler panics with. The client sees its request cut off, and
// nobody else sees anything of it.
func loudly(h http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil {
				if v != http.ErrAbortHandler {
					log.Error("request panicked", "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
				}
				panic(http.ErrAbortHandler)
			}
		}()
		h.ServeHTTP(w, r)
	})
}

// serve begins to serve the connection; it returns false once stop was called.
func (in *inside) serve(c *connection) bool {
	in.start.Do(func() { go in.server.Serve(in) })
	select {
	case in.conns <- c:
		return true
	case <-in.closed:
		return false
	}
}

// stop lets requests end until ctx does, and closes all connections.
func (in *inside) stop(ctx context.Context) {
	in.server.Shutdown(ctx)
	in.server.Close()
	in.Close()
}

// Accept is for the server alone.
func (in *inside) Accept() (net.Conn, error) {
	select {
	case c := <-in.conns:
		return c, nil
	case <-in.closed:
		return nil, net.ErrClosed
	}
}

// Close is for the server alone.
func (in *inside) Close() error {
	in.closing.Do(func() { close(in.closed) })
	return nil
}

// Addr is for the server alone.
func (in *inside) Addr() net.Addr { return insideAddr{} }

type insideAddr struct{}

func (insideAddr) Network() string { return "noise" }
func (insideAddr) String() string  { return "noise" }
