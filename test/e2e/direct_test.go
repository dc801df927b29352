package e2e

import (
	"testing"

	"selvage/test/natlab"
)

// Two machines with public addresses talk without a relay, over both families.
func TestDirect(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join(w.public("alice")), w.join(w.public("bob"))
	w.meet(alice, bob)
	w.reachBoth(alice, bob)
	alice.awaitDirect(bob.ip4())
	bob.awaitDirect(alice.ip4())
	alice.reach(bob.ip6())
	w.serveTCP(bob.Host, "80")
	for _, ip := range []string{bob.ip4(), bob.ip6()} {
		if from, err := askTCP(w.ctx, alice.Host, ip, "80"); err != nil || (from != alice.ip4() && from != alice.ip6()) {
			t.Errorf("TCP to %s: comes from %q, %v", ip, from, err)
		}
	}
}

// Two machines behind ordinary home routers find a direct path.
func TestEasyNATs(t *testing.T) {
	w := newWorld(t)
	ha, _ := w.behind("alice", natlab.Easy)
	hb, _ := w.behind("bob", natlab.Easy)
	alice, bob := w.join(ha), w.join(hb)
	w.meet(alice, bob)
	w.reachBoth(alice, bob)
	alice.awaitDirect(bob.ip4())
	bob.awaitDirect(alice.ip4())
}
