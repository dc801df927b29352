package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"selvage/test/natlab"
)

// Bounds of a question to a service.
const (
	askTime  = 2 * time.Second
	askAgain = 300 * time.Millisecond // a datagram may be lost
)

// serveTCP tells everyone who connects to a port of the host which address they
// come from.
func (w *world) serveTCP(h *natlab.Host, port string) {
	w.Helper()
	ln, err := h.Listen("tcp", net.JoinHostPort("", port))
	w.ok(err)
	w.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				from, _, _ := net.SplitHostPort(c.RemoteAddr().String())
				_, _ = io.WriteString(c, from) // who asks notices
			}()
		}
	}()
}

// serveUDP sends each datagram to a port of the host back.
func (w *world) serveUDP(h *natlab.Host, port string) {
	w.Helper()
	pc, err := h.ListenPacket("udp", net.JoinHostPort("", port))
	w.ok(err)
	w.Cleanup(func() { pc.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(b[:n], from) // who asks notices
		}
	}()
}

// askTCP makes a new connection from a host to a serveTCP and returns its answer.
func askTCP(ctx context.Context, h *natlab.Host, addr, port string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	c, err := h.Dial(ctx, "tcp", net.JoinHostPort(addr, port))
	if err != nil {
		return "", fmt.Errorf("%s to TCP %s:%s: %w", h.Name, addr, port, err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(askTime)); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	if err == nil && len(b) == 0 {
		err = errors.New("the answer is empty")
	}
	return string(b), err
}

// askUDP sends datagrams from a host to a serveUDP until one comes back.
func askUDP(ctx context.Context, h *natlab.Host, addr, port string) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	c, err := h.Dial(ctx, "udp", net.JoinHostPort(addr, port))
	if err != nil {
		return fmt.Errorf("%s to UDP %s:%s: %w", h.Name, addr, port, err)
	}
	defer c.Close()
	return natlab.Poll(ctx, pause, func() error {
		if _, err := c.Write([]byte("hello")); err != nil {
			return err
		}
		if err := c.SetReadDeadline(time.Now().Add(askAgain)); err != nil {
			return err
		}
		_, err := c.Read(make([]byte, 16))
		return err
	})
}
