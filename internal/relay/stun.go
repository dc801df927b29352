package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"tailscale.com/net/stun"
)

const (
	// DefaultSTUNPort is where clients look for STUN unless they are told.
	DefaultSTUNPort = 3478
	// maxSTUN is the longest packet looked at, in bytes; requests have 40.
	maxSTUN = 1500
	// stunPause follows an error of the socket that isn't its end.
	stunPause = 100 * time.Millisecond
)

// STUN tells clients the address that they are seen from. One goroutine answers
// one packet after the other with one of about the same size, and keeps nothing,
// so there is no queue to fill and no traffic to amplify.
type STUN struct {
	conn *net.UDPConn
	log  *slog.Logger

	answered, ignored, failed atomic.Int64
}

// ListenSTUN binds the address, such as ":3478".
func ListenSTUN(addr string, log *slog.Logger) (*STUN, error) {
	ua, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for STUN on %s: %w", addr, err)
	}
	conn, err := net.ListenUDP("udp", ua)
	if err != nil {
		return nil, fmt.Errorf("listen for STUN: %w", err)
	}
	return &STUN{conn: conn, log: log}, nil
}

// Port is the UDP port really bound.
func (s *STUN) Port() int { return s.conn.LocalAddr().(*net.UDPAddr).Port }

// Close frees the port; it is for a STUN whose Run was never called, too.
func (s *STUN) Close() error { return s.conn.Close() }

// Run answers until ctx is done, and then returns nil.
func (s *STUN) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer stop()
	var buf [maxSTUN]byte
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf[:])
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			s.failed.Add(1)
			s.log.Warn("read STUN request", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(stunPause):
			}
			continue
		}
		s.answer(buf[:n], from)
	}
}

func (s *STUN) answer(b []byte, from netip.AddrPort) {
	if !stun.Is(b) {
		s.ignored.Add(1)
		return
	}
	tx, err := stun.ParseBindingRequest(b)
	if err != nil {
		s.ignored.Add(1)
		return
	}
	seen := netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	if _, err := s.conn.WriteToUDPAddrPort(stun.Response(tx, seen), from); err != nil {
		s.failed.Add(1)
		return
	}
	s.answered.Add(1)
}
