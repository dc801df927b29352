package e2e

import (
	"fmt"
	"testing"
	"time"
)

// The part of the lab that stands for the internet.
const (
	webNet  = "198.51.100.0/24"
	webCore = "198.51.100.1"
	webAddr = "198.51.100.80"
)

// exitTime is how long a change of exit node may take.
const exitTime = 15 * time.Second

// withExit lets people use exit nodes, beside their own devices.
const withExit = `{
	"acls": [{"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self:*", "autogroup:internet:*"]}],
}`

// A public host sees the address of the exit node instead of the client's own.
func TestExitNode(t *testing.T) {
	w := newWorld(t)
	w.server.setPolicy(withExit)
	web, err := w.lab.Host("web")
	w.ok(err)
	_, err = w.segment("web", webNet, webCore).Plug(web, "eth0", webAddr, webCore)
	w.ok(err)
	w.serveTCP(web, "80")

	exitAddr, aliceAddr := w.address(), w.address()
	he, _ := w.host("exit", exitAddr)
	ha, _ := w.host("alice", aliceAddr)
	w.ok(he.Sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"))
	exit, alice := w.join(he, "--advertise-exit-node"), w.join(ha)
	w.meet(alice, exit)

	seenFrom := func(what, want string) {
		t.Helper()
		w.await(what, exitTime, func() error {
			from, err := askTCP(w.ctx, alice.Host, webAddr, "80")
			if err == nil && from != want {
				err = fmt.Errorf("the web sees %s, not %s", from, want)
			}
			return err
		})
	}
	seenFrom("the web without an exit node", aliceAddr)
	ip := exit.ip4()
	if out, err := alice.Tailscale(w.ctx, "set", "--exit-node="+ip); err == nil {
		t.Fatalf("alice uses an exit node that nobody approved: %s", out)
	}
	w.server.run("route", "approve", "exit", "0.0.0.0/0", "::/0")
	w.await("alice may use the exit node", exitTime, func() error {
		_, err := alice.Tailscale(w.ctx, "set", "--exit-node="+ip)
		return err
	})
	seenFrom("the web through the exit node", exitAddr)
	if err := alice.state("Running"); err != nil {
		t.Error(err)
	}
	alice.run("set", "--exit-node=")
	seenFrom("the web without the exit node again", aliceAddr)
}
