package e2e

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"selvage/test/natlab"
)

// office is a private network behind subnet routers.
const (
	officeNet     = "192.168.50.0/24"
	officePrinter = "192.168.50.9"
)

// failoverTime is how soon another router must serve when the first is silent.
const failoverTime = 15 * time.Second

// everyone lets every device reach every other and the office.
const everyone = `{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}`

// officeRouter is a client that stands in the office's network too.
type officeRouter struct {
	*client
	ip   string // its address in the tailnet
	lan  string // its address in the office
	port *natlab.Port
}

// office makes the office with a printer in it and routers to it.
func (w *world) office(names ...string) (printer *natlab.Host, routers []*officeRouter) {
	w.Helper()
	lan, err := w.lab.Switch("office", officeNet)
	w.ok(err)
	printer, err = w.lab.Host("printer")
	w.ok(err)
	_, err = lan.Plug(printer, "eth0", officePrinter, "")
	w.ok(err)
	w.serveTCP(printer, "80")
	for i, name := range names {
		h, port := w.host(name, w.address())
		r := &officeRouter{lan: fmt.Sprintf("192.168.50.%d", i+1), port: port}
		_, err := lan.Plug(h, "eth1", r.lan, "")
		w.ok(err)
		w.ok(h.Sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"))
		r.client = w.join(h, "--advertise-routes="+officeNet)
		r.ip = r.ip4()
		routers = append(routers, r)
	}
	return printer, routers
}

// serving returns the router that a client sends the office's traffic to.
func (c *client) serving(routers []*officeRouter) (*officeRouter, error) {
	s, err := c.Status(c.w.ctx)
	if err != nil {
		return nil, err
	}
	var found *officeRouter
	for _, p := range s.Peer {
		if !slices.Contains(p.PrimaryRoutes, officeNet) {
			continue
		}
		for _, r := range routers {
			if slices.Contains(p.TailscaleIPs, r.ip) {
				if found != nil {
					return nil, fmt.Errorf("both %s and %s serve the office", found.Name, r.Name)
				}
				found = r
			}
		}
	}
	if found == nil {
		return nil, fmt.Errorf("%s has no route to the office", c.Name)
	}
	return found, nil
}

// awaitServing waits until another router than the given one serves the office and a
// new connection through it works, and returns it.
func (c *client) awaitServing(what string, routers []*officeRouter, not *officeRouter) (now *officeRouter) {
	c.w.Helper()
	c.w.await(what, failoverTime, func() (err error) {
		if now, err = c.serving(routers); err != nil {
			return err
		}
		if now == not {
			return fmt.Errorf("%s still serves the office", not.Name)
		}
		from, err := askTCP(c.w.ctx, c.Host, officePrinter, "80")
		if err == nil && from != now.lan {
			err = fmt.Errorf("the printer sees %s, not %s", from, now.lan)
		}
		return err
	})
	return now
}

// A machine without a client is reached through a subnet router, once its route is
// approved and for those who accept it.
func TestSubnetRouter(t *testing.T) {
	w := newWorld(t)
	w.server.setPolicy(everyone)
	_, routers := w.office("router")
	alice := w.join(w.public("alice"), "--accept-routes")
	w.meet(alice, routers[0].client)
	if r, err := alice.serving(routers); err == nil {
		t.Fatalf("%s serves a route that nobody approved", r.Name)
	}
	w.server.run("route", "approve", "router", officeNet)
	alice.awaitServing("the route is there", routers, nil)
	if err := missing(w.server.run("route", "list", "--json"), officeNet); err != nil {
		t.Error(err)
	}
	// Who does not accept routes has none.
	bob := w.join(w.public("bob"))
	w.meet(bob, routers[0].client)
	if from, err := askTCP(w.ctx, bob.Host, officePrinter, "80"); err == nil {
		t.Errorf("bob accepts no routes and reaches the printer from %s", from)
	}
}

// Two routers serve one route: when the one in use falls silent, goes away or
// withdraws, the other takes over.
func TestSubnetFailover(t *testing.T) {
	w := newWorld(t)
	w.server.setPolicy(everyone)
	_, routers := w.office("north", "south")
	alice := w.join(w.public("alice"), "--accept-routes")
	w.meet(alice, routers[0].client, routers[1].client)
	for _, r := range routers {
		w.server.run("route", "approve", r.Name, officeNet)
	}
	first := alice.awaitServing("a router serves", routers, nil)

	w.ok(first.Signal(syscall.SIGSTOP))
	second := alice.awaitServing("the other serves when the first hangs", routers, first)
	w.ok(first.Signal(syscall.SIGCONT))
	w.await("the first is back", reachTime, func() error { return ping(w.ctx, alice.Host, first.ip) })

	w.ok(second.port.Unplug())
	third := alice.awaitServing("the first serves when the other is unplugged", routers, second)
	w.ok(second.port.Replug())
	w.await("the other is back", reachTime, func() error { return ping(w.ctx, alice.Host, second.ip) })
	w.await("the other is online", reachTime, func() error { return w.server.online(second.Name) })

	third.run("set", "--advertise-routes=")
	alice.awaitServing("the other serves when the first withdraws", routers, third)
}
