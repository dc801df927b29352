package e2e

import "testing"

// A device whose key expired is cut off and comes back, after a login, as the same
// device with the same address.
func TestKeyExpiry(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join(w.public("alice")), w.join(w.public("bob"))
	w.meet(alice, bob)
	w.reachBoth(alice, bob)
	before, err := w.server.node("bob")
	w.ok(err)

	w.server.run("node", "expire", "bob")
	w.await("bob must log in", meetTime, func() error { return bob.state("NeedsLogin") })
	if err := ping(w.ctx, alice.Host, before.IPv4); err == nil {
		t.Error("alice still reaches bob")
	}

	w.ok(bob.login(w.reusable()))
	after, err := w.server.node("bob")
	w.ok(err)
	if after.ID != before.ID || after.IPv4 != before.IPv4 || after.IPv6 != before.IPv6 || bob.ip4() != before.IPv4 {
		t.Errorf("bob was %+v and is %+v", before, after)
	}
	list, err := w.server.nodes()
	w.ok(err)
	if len(list) != 2 {
		t.Errorf("there are %d nodes: %v", len(list), list)
	}
	w.reachBoth(alice, bob)
}
