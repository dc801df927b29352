package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"tailscale.com/envknob"
	"tailscale.com/ipn/store/mem"
	"tailscale.com/tsnet"
	"tailscale.com/types/logger"
)

// device is a real client engine in this process.
type device struct {
	ts *tsnet.Server
	ip netip.Addr
}

// quietClients keeps the engines from talking to anybody but the demo's server, and
// from waiting for a network on a machine that has only its loopback.
func quietClients() {
	envknob.SetNoLogsNoSupport()
	envknob.Setenv("TS_ASSUME_NETWORK_UP_FOR_TEST", "1")
	envknob.Setenv("TS_DISABLE_PORTMAPPER", "1")
}

func startDevice(ctx context.Context, dir, name, url, key string, logf logger.Logf) (*device, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	store, err := mem.New(logf, "")
	if err != nil {
		return nil, err
	}
	d := &device{ts: &tsnet.Server{
		Dir: dir, Store: store, Hostname: name, ControlURL: url, AuthKey: key,
		Ephemeral: true, Logf: logf, UserLogf: logf,
	}}
	status, err := d.ts.Up(ctx)
	if err != nil {
		d.ts.Close()
		return nil, fmt.Errorf("start the client engine of %s: %w", name, err)
	}
	d.ip = status.TailscaleIPs[0]
	return d, nil
}

// serve answers each connection to the port with a line.
func (d *device) serve(port int, line string) error {
	ln, err := d.ts.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, line)
			c.Close()
		}
	}()
	return nil
}

// firstTry is how long a connection may take before it is tried again: the first
// packet to a new peer can be lost while the two learn of each other.
const firstTry = 3 * time.Second

// read connects to an address and returns the line that it answers.
func (d *device) read(ctx context.Context, addr string) (string, error) {
	for {
		answer, err := d.readOnce(ctx, addr)
		if err == nil || ctx.Err() != nil || isRefusal(err) {
			return answer, err
		}
	}
}

func (d *device) readOnce(ctx context.Context, addr string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, firstTry)
	defer cancel()
	c, err := d.ts.Dial(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	c.SetReadDeadline(deadline)
	b, err := io.ReadAll(io.LimitReader(c, 1024))
	return strings.TrimSpace(string(b)), err
}

// isRefusal reports whether the network itself said no.
func isRefusal(err error) bool {
	var op *net.OpError
	return errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &op) && strings.Contains(op.Error(), "refused")
}

// isTimeout reports whether there was no answer.
func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// resolve asks the client's own resolver for a name of the network.
func (d *device) resolve(ctx context.Context, name string) (netip.Addr, error) {
	lc, err := d.ts.LocalClient()
	if err != nil {
		return netip.Addr{}, err
	}
	raw, _, err := lc.QueryDNS(ctx, name+".", "A")
	if err != nil {
		return netip.Addr{}, fmt.Errorf("resolve %s: %w", name, err)
	}
	var msg dnsmessage.Message
	if err := msg.Unpack(raw); err != nil {
		return netip.Addr{}, fmt.Errorf("decode the answer for %s: %w", name, err)
	}
	for _, a := range msg.Answers {
		if r, ok := a.Body.(*dnsmessage.AResource); ok {
			return netip.AddrFrom4(r.A), nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no address for %s: %s", name, msg.RCode)
}

// peers returns the names of the peers that the device knows.
func (d *device) peers(ctx context.Context) ([]string, error) {
	lc, err := d.ts.LocalClient()
	if err != nil {
		return nil, err
	}
	st, err := lc.Status(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range st.Peer {
		names = append(names, p.DNSName)
	}
	return names, nil
}
