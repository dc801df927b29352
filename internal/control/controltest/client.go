package controltest

import (
	"context"
	"encoding/binary"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"tailscale.com/control/controlclient"
	"tailscale.com/net/netmon"
	"tailscale.com/net/tsdial"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
	tsnetmap "tailscale.com/types/netmap"
	"tailscale.com/types/persist"
	"tailscale.com/util/eventbus"
)

// Client is what the official clients are made of, for one device: it registers and
// keeps the network map as they do.
type Client struct {
	*controlclient.Direct
	t testing.TB

	mu sync.Mutex
	// guards the following fields
	last    *tsnetmap.NetworkMap
	changed chan struct{} // closed when last is replaced
}

// Client returns the client of a device that has registered by other means.
func (n *Node) Client() *Client {
	n.t.Helper()
	c := n.NewClient("")
	if url, err := c.TryLogin(n.context(), controlclient.LoginDefault); err != nil || url != "" {
		n.t.Fatalf("login of %s: url %q, %v", n.Hostinfo.Hostname, url, err)
	}
	return c
}

// ClientOptions returns the options of a client for the device's machine, without a
// node key.
func (n *Node) ClientOptions() controlclient.Options {
	bus := eventbus.New()
	n.t.Cleanup(bus.Close)
	dialer := tsdial.NewDialer(netmon.NewStatic())
	dialer.SetBus(bus)
	n.t.Cleanup(func() { dialer.Close() })
	return controlclient.Options{
		ServerURL: n.url, Hostinfo: n.Hostinfo.Clone(), Logf: logger.Discard,
		Dialer: dialer, Bus: bus, DiscoPublicKey: n.Disco,
		GetMachinePrivateKey: func() (key.MachinePrivate, error) { return n.Machine, nil },
	}
}

// NewClient returns a client that has the device's keys if it has registered, and
// does nothing yet.
func (n *Node) NewClient(authKey string) *Client {
	n.t.Helper()
	o := n.ClientOptions()
	o.AuthKey = authKey
	if n.ID != 0 {
		o.Persist = persist.Persist{PrivateNodeKey: n.Key}
	}
	d, err := controlclient.NewDirect(o)
	n.check(err)
	n.t.Cleanup(func() { d.Close() })
	return &Client{Direct: d, t: n.t, changed: make(chan struct{})}
}

// context ends with the test or after Timeout.
func (n *Node) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	n.t.Cleanup(cancel)
	return ctx
}

// Poll keeps the network map until the test or the session ends; the error that ended
// it comes on the channel.
func (c *Client) Poll() <-chan error {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	over := make(chan struct{})
	go func() {
		defer close(over)
		ended <- c.PollNetMap(ctx, c)
	}()
	c.t.Cleanup(func() {
		cancel()
		<-over
	})
	return ended
}

// UpdateFullNetmap is how the client reports that it has a new map.
func (c *Client) UpdateFullNetmap(m *tsnetmap.NetworkMap) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = m
	close(c.changed)
	c.changed = make(chan struct{})
}

// Wait returns the client's map as soon as it fits.
func (c *Client) Wait(what string, fits func(*tsnetmap.NetworkMap) bool) *tsnetmap.NetworkMap {
	c.t.Helper()
	timeout := time.After(Timeout)
	for {
		c.mu.Lock()
		m, changed := c.last, c.changed
		c.mu.Unlock()
		if m != nil && fits(m) {
			return m
		}
		select {
		case <-changed:
		case <-timeout:
			c.t.Fatalf("the client has not got in time: %s; it has %v", what, m)
		}
	}
}

// Sees returns the peer with the ID in a client's map; it is not valid if there is none.
func Sees(m *tsnetmap.NetworkMap, id tailcfg.NodeID) tailcfg.NodeView {
	i := slices.IndexFunc(m.Peers, func(p tailcfg.NodeView) bool { return p.ID() == id })
	if i < 0 {
		return tailcfg.NodeView{}
	}
	return m.Peers[i]
}

// maxFrame bounds what ReadFrame takes, in bytes.
const maxFrame = 64 << 20

// ReadFrame reads the body of one message of a map stream.
func ReadFrame(r io.Reader) ([]byte, error) {
	var size uint32
	if err := binary.Read(r, binary.LittleEndian, &size); err != nil {
		return nil, err
	}
	body := make([]byte, min(size, maxFrame))
	_, err := io.ReadFull(r, body)
	return body, err
}
