package e2e

import (
	"testing"
	"time"

	"selvage/test/clients"
)

// policyTime is how soon a change of the policy works at the nodes.
const policyTime = 10 * time.Second

// A client that lets one packet of a peer in lets its ICMP echoes in too, whatever
// the protocol of the rule. So ICMP is denied only by a policy without a rule for
// the pair in that direction.
const (
	backwards = `{
	"acls": [{"action": "accept", "proto": "tcp", "src": ["ben@example.com"], "dst": ["ann@example.com:80"]}],
}`
	onlyWeb = `{
	"acls": [{"action": "accept", "proto": "tcp", "src": ["ann@example.com"], "dst": ["ben@example.com:80"]}],
}`
	onlyEcho = `{
	"acls": [{"action": "accept", "proto": "udp", "src": ["ann@example.com"], "dst": ["ben@example.com:5000"]}],
}`
)

// The policy decides what passes, and a change of it works at once.
func TestPolicy(t *testing.T) {
	w := newWorld(t)
	w.server.run("user", "create", "ann@example.com")
	w.server.run("user", "create", "ben@example.com")
	alice := w.joinAs(clients.Current, w.public("alice"), w.server.newKey("--user", "ann@example.com"))
	bob := w.joinAs(clients.Current, w.public("bob"), w.server.newKey("--user", "ben@example.com"))
	ip := bob.ip4()
	for _, port := range []string{"80", "81"} {
		w.serveTCP(bob.Host, port)
	}
	for _, port := range []string{"5000", "5001"} {
		w.serveUDP(bob.Host, port)
	}
	tcp := func(port string) func() error {
		return func() error { _, err := askTCP(w.ctx, alice.Host, ip, port); return err }
	}
	udp := func(port string) func() error {
		return func() error { return askUDP(w.ctx, alice.Host, ip, port) }
	}
	icmp := func() error { return ping(w.ctx, alice.Host, ip) }
	denied := func(what string, try func() error) {
		t.Helper()
		if try() == nil {
			t.Errorf("%s passes", what)
		}
	}

	// People do not see each other's devices unless the policy says so.
	if err := alice.lacks(ip); err != nil {
		t.Error(err)
	}
	w.server.setPolicy(onlyWeb)
	w.await("TCP 80 passes", meetTime, tcp("80"))
	denied("TCP 81", tcp("81"))
	denied("UDP 5000", udp("5000"))

	w.server.setPolicy(onlyEcho)
	w.await("UDP 5000 passes", policyTime, udp("5000"))
	w.await("ICMP passes", policyTime, icmp)
	denied("UDP 5001", udp("5001"))
	denied("TCP 80", tcp("80"))

	w.server.setPolicy(backwards)
	w.serveTCP(alice.Host, "80")
	w.await("bob connects to alice", policyTime, func() error {
		_, err := askTCP(w.ctx, bob.Host, alice.ip4(), "80")
		return err
	})
	denied("ICMP", icmp)
	denied("UDP 5000 backwards", udp("5000"))
	denied("TCP 80 backwards", tcp("80"))

	w.server.setPolicy(`{"acls": []}`)
	w.await("alice no longer sees bob", policyTime, func() error { return alice.lacks(ip) })
	denied("UDP 5000 without a rule", udp("5000"))
}
