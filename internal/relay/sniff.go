package relay

import (
	"container/list"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// tlsHandshake is the first byte of each TLS connection (RFC 8446, section 5.1).
	// No HTTP request begins with it.
	tlsHandshake = 0x16
	// sniffTimeout is how long a client may take for its first byte, and a server
	// to accept the connection after that.
	sniffTimeout = 10 * time.Second
	// maxSniffing is how many connections may be without a first byte, or wait to be
	// accepted. When there are more, the oldest is closed: an honest client sends within a round trip,
	// so those that wait longest are the most likely to be idle on purpose.
	maxSniffing = 1024
	// acceptPause follows an error of the listener that isn't its end, such as
	// having no file descriptor left.
	acceptPause = 50 * time.Millisecond
)

// Sniffer serves TLS and plain text on one port: it reads the first byte of each
// connection and hands the connection to one of two listeners. Clients of a server
// without a public name need both at the address that they know.
type Sniffer struct {
	ln         net.Listener
	tls, plain *branch
	done       chan struct{} // closed when ln is

	mu      sync.Mutex // guards the fields below
	waiting *list.List // of net.Conn that no branch has handed out, oldest first
	open    int        // branches that are not closed
	closed  bool
}

// SniffTLS takes over the listener, which is closed when both TLS and Plain are, or
// when the Sniffer is.
func SniffTLS(ln net.Listener) *Sniffer {
	s := &Sniffer{ln: ln, done: make(chan struct{}), waiting: list.New(), open: 2}
	s.tls, s.plain = newBranch(s), newBranch(s)
	go s.accept()
	return s
}

// TLS gives the connections that begin like TLS; the handshake is still to be made.
func (s *Sniffer) TLS() net.Listener { return s.tls }

// Plain gives all other connections.
func (s *Sniffer) Plain() net.Listener { return s.plain }

// Close closes the listener, both branches and all connections that neither has
// accepted.
func (s *Sniffer) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.done)
	for e := s.waiting.Front(); e != nil; e = e.Next() {
		e.Value.(net.Conn).Close()
	}
	s.mu.Unlock()
	return s.ln.Close()
}

func (s *Sniffer) accept() {
	for {
		conn, err := s.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			s.Close()
			return
		}
		if err != nil {
			select {
			case <-s.done:
				return
			case <-time.After(acceptPause):
			}
			continue
		}
		if e := s.admit(conn); e != nil {
			go s.sniff(conn, e)
		}
	}
}

// admit puts conn on the list of those that wait.
func (s *Sniffer) admit(conn net.Conn) *list.Element {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return nil
	}
	if s.waiting.Len() >= maxSniffing {
		// Its goroutine takes it off the list when it notices; until then the list
		// must not count it.
		s.waiting.Remove(s.waiting.Front()).(net.Conn).Close()
	}
	return s.waiting.PushBack(conn)
}

// sniff reads one byte and hands the connection on.
func (s *Sniffer) sniff(conn net.Conn, e *list.Element) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.waiting.Remove(e) // no harm if it is off already
	}()
	conn.SetReadDeadline(time.Now().Add(sniffTimeout))
	var first [1]byte
	_, err := io.ReadFull(conn, first[:])
	if err != nil {
		conn.Close()
		return
	}
	conn.SetReadDeadline(time.Time{}) // if that fails, the reader will notice why
	to := s.plain
	if first[0] == tlsHandshake {
		to = s.tls
	}
	to.deliver(&sniffed{Conn: conn, first: first[0], pending: true})
}

// branch is the listener for one of the two kinds.
type branch struct {
	s     *Sniffer
	conns chan net.Conn
	once  sync.Once
	done  chan struct{} // closed when the branch is
}

func newBranch(s *Sniffer) *branch {
	return &branch{s: s, conns: make(chan net.Conn), done: make(chan struct{})}
}

// deliver waits for someone to accept the connection, but not for ever.
func (b *branch) deliver(conn net.Conn) {
	t := time.NewTimer(sniffTimeout)
	defer t.Stop()
	select {
	case b.conns <- conn:
		return
	case <-t.C:
	case <-b.done:
	case <-b.s.done:
	}
	conn.Close()
}

// Accept implements net.Listener.
func (b *branch) Accept() (net.Conn, error) {
	select {
	case conn := <-b.conns:
		return conn, nil
	case <-b.done:
	case <-b.s.done:
	}
	return nil, &net.OpError{Op: "accept", Net: b.Addr().Network(), Addr: b.Addr(), Err: net.ErrClosed}
}

// Close closes the branch; connections of its kind are closed from now on.
func (b *branch) Close() error {
	var last bool
	b.once.Do(func() {
		close(b.done)
		b.s.mu.Lock()
		defer b.s.mu.Unlock()
		b.s.open--
		last = b.s.open == 0
	})
	if last {
		return b.s.Close()
	}
	return nil
}

// Addr is that of the listener beneath.
func (b *branch) Addr() net.Addr { return b.s.ln.Addr() }

// sniffed gives back the byte that was read.
type sniffed struct {
	net.Conn
	first   byte
	pending bool // first was not read yet; only the reader touches it
}

// Read implements net.Conn.
func (c *sniffed) Read(p []byte) (int, error) {
	if !c.pending {
		return c.Conn.Read(p)
	}
	if len(p) == 0 {
		return 0, nil
	}
	c.pending = false
	p[0] = c.first
	return 1, nil
}

// NetConn returns the connection beneath, whose first byte is gone.
func (c *sniffed) NetConn() net.Conn { return c.Conn }
