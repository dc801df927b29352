package relay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// pipeListener hands out in-memory connections.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { close(l.done); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// dial returns the client's end of a new connection.
func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	return client
}

func TestSniffer(t *testing.T) {
	tests := []struct {
		name  string
		first byte
		tls   bool
	}{
		{"TLS", tlsHandshake, true},
		{"GET", 'G', false},
		{"zero", 0, false},
		{"TLS alert", 0x15, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ln := newPipeListener()
				s := SniffTLS(ln)
				defer s.Close()
				from := s.Plain()
				if tt.tls {
					from = s.TLS()
				}
				sent := []byte{tt.first, 1, 2, 3}
				go func() {
					c := ln.dial()
					c.Write(sent)
					c.Close()
				}()
				conn, err := from.Accept()
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(conn)
				if err != nil || !bytes.Equal(got, sent) {
					t.Errorf("read %x, %v; want %x", got, err, sent)
				}
			})
		})
	}
}

// isClosed reports whether the other end of the pipe is closed.
func isClosed(c net.Conn) bool {
	c.SetReadDeadline(time.Now().Add(time.Nanosecond))
	_, err := c.Read(make([]byte, 1))
	return errors.Is(err, io.EOF)
}

func TestSnifferDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		s := SniffTLS(ln)
		defer s.Close()
		silent, ignored := ln.dial(), ln.dial()
		if _, err := ignored.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if isClosed(silent) || isClosed(ignored) {
			t.Error("closed too early")
		}
		time.Sleep(sniffTimeout + time.Second) // of the bubble's clock
		synctest.Wait()
		if !isClosed(silent) {
			t.Error("a client that says nothing is still connected")
		}
		if !isClosed(ignored) {
			t.Error("a connection that nobody accepts is still open")
		}
		if n := s.waiting.Len(); n != 0 {
			t.Errorf("%d connections are still on the list", n)
		}
	})
}

func TestSnifferDropsTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		s := SniffTLS(ln)
		defer s.Close()
		var clients []net.Conn
		for range maxSniffing + 2 {
			clients = append(clients, ln.dial())
		}
		synctest.Wait()
		closed := slices.IndexFunc(clients, func(c net.Conn) bool { return !isClosed(c) })
		if closed != 2 {
			t.Errorf("the first %d are closed, want 2", closed)
		}
		go clients[len(clients)-1].Write([]byte{tlsHandshake})
		if _, err := s.TLS().Accept(); err != nil {
			t.Error(err)
		}
		s.Close()
		synctest.Wait()
		if !isClosed(clients[5]) {
			t.Error("a waiting connection survived Close")
		}
	})
}

func TestSnifferCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		s := SniffTLS(ln)
		if err := s.TLS().Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.TLS().Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept after Close: %v", err)
		}
		c := ln.dial()
		go c.Write([]byte{tlsHandshake})
		synctest.Wait()
		if !isClosed(c) {
			t.Error("a connection of the closed kind stays open")
		}
		plain := ln.dial()
		go plain.Write([]byte("G"))
		if _, err := s.Plain().Accept(); err != nil {
			t.Errorf("the other kind: %v", err)
		}
		for range 2 {
			if err := s.Plain().Close(); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-ln.done:
		default:
			t.Error("the listener is open after both kinds are closed")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Whatever a client sends, it comes out of one of the two listeners unchanged, or
// the connection is closed.
func FuzzSniffer(f *testing.F) {
	f.Add([]byte{tlsHandshake, 3, 1, 0, 0}, uint8(1))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint8(7))
	f.Add([]byte{}, uint8(1))
	f.Add([]byte("0"), uint8(0)) // one byte, and the client is gone
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		synctest.Test(t, func(t *testing.T) {
			ln := newPipeListener()
			s := SniffTLS(ln)
			go func() {
				c := ln.dial()
				for part := range slices.Chunk(in, int(step)+1) {
					if _, err := c.Write(part); err != nil {
						break
					}
				}
				c.Close()
			}()
			type result struct {
				tls bool
				got []byte
			}
			results := make(chan result, 2)
			read := func(ln net.Listener, tls bool) {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				got, _ := io.ReadAll(conn)
				results <- result{tls, got}
			}
			go read(s.TLS(), true)
			go read(s.Plain(), false)
			synctest.Wait()
			s.Close()
			synctest.Wait()
			if len(in) == 0 {
				if len(results) != 0 {
					t.Fatal("a connection without a byte was handed out")
				}
				return
			}
			r := <-results
			if r.tls != (in[0] == tlsHandshake) || !bytes.Equal(r.got, in) || len(results) != 0 {
				t.Fatalf("%x came out as %x, TLS %v", in, r.got, r.tls)
			}
		})
	})
}
