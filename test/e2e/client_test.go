package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"selvage/test/clients"
	"selvage/test/natlab"
)

// How long things may take. The clients look for a direct path every five seconds,
// and a first packet that is lost is sent again after five.
const (
	joinTime   = 40 * time.Second
	meetTime   = 15 * time.Second
	reachTime  = 30 * time.Second
	directTime = 20 * time.Second
)

// client is an official client on a host of the lab.
type client struct {
	*natlab.Client
	w       *world
	log     *tail
	current bool // not one of the older pins
}

// start starts the client of a pinned version on a host, without a login.
func (w *world) start(h *natlab.Host, pin clients.Pin) *client {
	w.Helper()
	p := programsOf(w.T, pin)
	c := &client{w: w, log: newTail(), current: pin == clients.Current}
	ctx, cancel := context.WithTimeout(w.ctx, joinTime)
	defer cancel()
	cl, err := h.StartClient(ctx, natlab.ClientConfig{Tailscaled: p.Tailscaled, Tailscale: p.Tailscale, Log: c.log})
	c.Client = cl
	w.clients = append(w.clients, c)
	w.ok(err)
	return c
}

// join starts the current client on a host and logs it in with the story's key.
func (w *world) join(h *natlab.Host, flags ...string) *client {
	w.Helper()
	return w.joinAs(clients.Current, h, w.reusable(), flags...)
}

// joinAs starts a client of a pinned version on a host and logs it in with a key.
func (w *world) joinAs(pin clients.Pin, h *natlab.Host, key string, flags ...string) *client {
	w.Helper()
	c := w.start(h, pin)
	w.ok(c.login(key, flags...))
	return c
}

// reusable returns the story's own key.
func (w *world) reusable() string {
	w.Helper()
	if w.key == "" {
		w.key = w.server.newKey()
	}
	return w.key
}

// login logs in with a key and waits until the client runs.
func (c *client) login(key string, flags ...string) error {
	ctx, cancel := context.WithTimeout(c.w.ctx, joinTime)
	defer cancel()
	return c.Up(ctx, c.w.server.url(), key, flags...)
}

// run runs the command line client; it must succeed.
func (c *client) run(args ...string) string {
	c.w.Helper()
	out, err := c.Tailscale(c.w.ctx, args...)
	c.w.ok(err)
	return out
}

// status asks the client's engine.
func (c *client) status() *natlab.Status {
	c.w.Helper()
	s, err := c.Status(c.w.ctx)
	c.w.ok(err)
	return s
}

// ip4 and ip6 return the node's addresses.
func (c *client) ip4() string { c.w.Helper(); return c.address(".") }
func (c *client) ip6() string { c.w.Helper(); return c.address(":") }

func (c *client) address(sign string) string {
	c.w.Helper()
	ips := c.status().Self.TailscaleIPs
	i := slices.IndexFunc(ips, func(a string) bool { return strings.Contains(a, sign) })
	if i < 0 {
		c.w.Fatalf("%s has the addresses %v", c.Name, ips)
	}
	return ips[i]
}

// state returns nil if the client's engine is in the given state.
func (c *client) state(want string) error {
	s, err := c.Status(c.w.ctx)
	if err != nil {
		return err
	}
	if s.BackendState != want {
		return fmt.Errorf("%s is in state %s, not %s", c.Name, s.BackendState, want)
	}
	return nil
}

// sees returns nil if the client has the node with this address among its peers and
// knows where it is: packets to a peer without a relay and endpoints are lost, and
// sent again after five seconds.
func (c *client) sees(ip string) error {
	out, err := c.Tailscale(c.w.ctx, "debug", "netmap")
	if err != nil {
		return err
	}
	var m struct {
		Peers []struct {
			Name      string
			Addresses []string
			HomeDERP  int
			Endpoints []string
		}
	}
	if err := json.Unmarshal([]byte(out), &m); err != nil {
		return fmt.Errorf("%s: debug netmap: %w", c.Name, err)
	}
	for _, p := range m.Peers {
		if !slices.Contains(p.Addresses, ip+"/32") {
			continue
		}
		// Clients before 1.82 show peers here as they were first told of them.
		if c.current && (p.HomeDERP == 0 || len(p.Endpoints) == 0) {
			return fmt.Errorf("%s has %s at relay %d and %v", c.Name, p.Name, p.HomeDERP, p.Endpoints)
		}
		return nil
	}
	return fmt.Errorf("%s has no peer %s", c.Name, ip)
}

// lacks returns nil if the client has no node with this address among its peers.
func (c *client) lacks(ip string) error {
	p, err := c.Peer(c.w.ctx, ip)
	if err == nil {
		return fmt.Errorf("%s still has the peer %s", c.Name, p.DNSName)
	}
	if c.w.ctx.Err() != nil {
		return err
	}
	return nil
}

// meet waits until each client has all the others among its peers.
func (w *world) meet(list ...*client) {
	w.Helper()
	for _, a := range list {
		for _, b := range list {
			if a == b {
				continue
			}
			ip := b.ip4()
			w.await(a.Name+" sees "+b.Name, meetTime, func() error { return a.sees(ip) })
		}
	}
}

// ping returns nil if an ICMP echo of the operating system is answered.
func ping(ctx context.Context, h *natlab.Host, ip string) error {
	_, err := h.Run(ctx, "ping", "-n", "-c", "1", "-W", "1", ip)
	return err
}

// reach waits until packets to the address are answered.
func (c *client) reach(ip string) {
	c.w.Helper()
	c.w.await(c.Name+" reaches "+ip, reachTime, func() error { return ping(c.w.ctx, c.Host, ip) })
}

// reachBoth waits until packets pass between two clients, whoever begins.
func (w *world) reachBoth(a, b *client) {
	w.Helper()
	a.reach(b.ip4())
	b.reach(a.ip4())
}

// awaitDirect waits until traffic to the address needs no relay.
func (c *client) awaitDirect(ip string) {
	c.w.Helper()
	flow, err := c.Traffic(ip, 100*time.Millisecond)
	c.w.ok(err)
	defer flow.Stop()
	ctx, cancel := context.WithTimeout(c.w.ctx, directTime)
	defer cancel()
	took, p, err := c.AwaitDirect(ctx, ip, true)
	c.w.ok(err)
	c.w.Logf("%s to %s: direct by way of %s after %v", c.Name, p.DNSName, p.CurAddr, took.Round(time.Millisecond))
}

// relayed sends pings that look for a direct path and says whether all of them went
// through a relay.
func (c *client) relayed(ip string, count int) {
	c.w.Helper()
	// The command fails if it finds no direct path, as it should.
	out, err := c.Tailscale(c.w.ctx, "ping", fmt.Sprintf("--c=%d", count), ip)
	if err == nil {
		c.w.Fatalf("%s has a direct path to %s:\n%s", c.Name, ip, out)
	}
	code := c.status().Self.Relay
	if code == "" {
		c.w.Fatalf("%s has no home relay", c.Name)
	}
	if err := missing(out, "via DERP("+code+")"); err != nil {
		c.w.Fatal(err)
	}
}

// lacksName returns nil if no peer of the client has the host name.
func (c *client) lacksName(name string) error {
	for _, p := range c.status().Peer {
		if strings.HasPrefix(p.DNSName, name+".") {
			return fmt.Errorf("%s has the peer %s", c.Name, p.DNSName)
		}
	}
	return nil
}
