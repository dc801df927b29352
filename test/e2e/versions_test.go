package e2e

import (
	"context"
	"regexp"
	"testing"

	"selvage/test/clients"
	"selvage/test/natlab"
)

// The oldest supported client and the current one join, reach each other whoever
// begins, and use the relay.
func TestOldestClient(t *testing.T) {
	w := newWorld(t)
	hb, _ := w.behind("bob", natlab.UDPBlocked)
	alice := w.join(w.public("alice"))
	bob := w.joinAs(clients.Oldest, hb, w.reusable())
	carol := w.joinAs(clients.Oldest, w.public("carol"), w.reusable())
	w.meet(alice, bob, carol)
	for _, old := range []*client{bob, carol} {
		w.reachBoth(alice, old)
		if err := missing(old.run("status"), "alice"); err != nil {
			t.Error(err)
		}
	}
	alice.relayed(bob.ip4(), 3)
	bob.relayed(alice.ip4(), 3)
	alice.awaitDirect(carol.ip4())
	carol.awaitDirect(alice.ip4())
	carol.answers("A", "alice."+carol.status().MagicDNSSuffix, alice.ip4())
}

// refusal is what a client that is too old is told: the version to update to.
var refusal = regexp.MustCompile(`\b1\.80\b`)

// A client that is too old is refused, with a message that says what to do.
func TestRefusedClient(t *testing.T) {
	w := newWorld(t)
	old := w.start(w.public("old"), clients.Refused)
	ctx, cancel := context.WithTimeout(w.ctx, joinTime)
	defer cancel()
	_, err := old.Tailscale(ctx, "up", "--login-server="+w.server.url(), "--auth-key="+w.reusable(), "--timeout=20s")
	if err == nil {
		t.Fatal("a client that is too old is let in")
	}
	if !refusal.MatchString(err.Error()) {
		t.Errorf("the message does not name the version to update to: %v", err)
	}
	if err := w.server.gone("old"); err != nil {
		t.Error(err)
	}
}
