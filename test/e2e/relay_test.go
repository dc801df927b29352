package e2e

import (
	"testing"

	"selvage/test/natlab"
)

// Two machines behind routers that give each flow another port can't find each
// other: the server's own relay carries their traffic.
func TestHardNATs(t *testing.T) {
	w := newWorld(t)
	ha, _ := w.behind("alice", natlab.Hard)
	hb, _ := w.behind("bob", natlab.Hard)
	alice, bob := w.join(ha), w.join(hb)
	w.meet(alice, bob)
	w.reachBoth(alice, bob)
	alice.relayed(bob.ip4(), 5)
	w.serveTCP(bob.Host, "80")
	if from, err := askTCP(w.ctx, alice.Host, bob.ip4(), "80"); err != nil || from != alice.ip4() {
		t.Errorf("TCP through the relay: comes from %q, %v", from, err)
	}
}

// A machine whose network lets no UDP out is reached through the relay, and finds
// a direct path when UDP is let out again.
func TestUDPBlocked(t *testing.T) {
	w := newWorld(t)
	ha, router := w.behind("alice", natlab.UDPBlocked)
	alice, bob := w.join(ha), w.join(w.public("bob"))
	w.meet(alice, bob)
	w.reachBoth(alice, bob)
	alice.relayed(bob.ip4(), 3)
	bob.relayed(alice.ip4(), 3)
	w.ok(router.SetNAT(natlab.Easy))
	w.ok(router.Forget())
	alice.run("debug", "restun")
	alice.awaitDirect(bob.ip4())
}
