package e2e

import (
	"testing"
	"time"
)

// deleteTime is how soon the others know that a node was deleted.
const deleteTime = 5 * time.Second

// A deleted node is gone for the others within seconds, and knows it.
func TestDelete(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join(w.public("alice")), w.join(w.public("bob"))
	w.meet(alice, bob)
	w.reachBoth(alice, bob)
	ip := bob.ip4()
	w.server.run("node", "delete", "bob")
	w.await("alice no longer sees bob", deleteTime, func() error { return alice.lacks(ip) })
	if err := w.server.gone("bob"); err != nil {
		t.Error(err)
	}
	if err := ping(w.ctx, alice.Host, ip); err == nil {
		t.Error("alice still reaches bob")
	}
	w.await("bob must log in", joinTime, func() error { return bob.state("NeedsLogin") })
	w.ok(bob.login(w.reusable()))
	w.meet(alice, bob)
	w.reachBoth(alice, bob)
}

// An ephemeral node that logs out is gone at once; another one stays.
func TestEphemeralLogout(t *testing.T) {
	w := newWorld(t)
	alice := w.join(w.public("alice"))
	job := w.joinAs("current", w.public("job"), w.server.newKey("--ephemeral"))
	bob := w.join(w.public("bob"))
	w.meet(alice, job, bob)
	ip := job.ip4()
	job.run("logout")
	w.await("alice no longer sees the job", deleteTime, func() error { return alice.lacks(ip) })
	if err := w.server.gone("job"); err != nil {
		t.Error(err)
	}
	bob.run("logout")
	w.await("bob is logged out", meetTime, func() error { return bob.state("NeedsLogin") })
	if _, err := w.server.node("bob"); err != nil {
		t.Error(err)
	}
}
