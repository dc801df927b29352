package e2e

import (
	"fmt"
	"testing"
	"time"

	"selvage/test/natlab"
)

// Bounds of an outage. The clients wait longer and longer between two attempts to
// reach the server, up to half a minute.
const (
	backTime     = 45 * time.Second
	outagePings  = 60 // packets that must pass while the server is away
	flowInterval = 100 * time.Millisecond
)

// settledPings is how many packets in a row must pass before an outage begins: a
// client that has just joined notices its own new interface and rebinds its sockets.
const settledPings = 30

// steady starts a flow between two clients and returns it when it is steady.
func (w *world) steady(a, b *client) *natlab.Traffic {
	w.Helper()
	a.awaitDirect(b.ip4())
	for range 3 {
		flow, err := a.Traffic(b.ip4(), flowInterval)
		w.ok(err)
		w.await("a flow of packets", reachTime, func() error { return passed(flow, settledPings) })
		if len(flow.Counts().Lost) == 0 {
			return flow
		}
		flow.Stop()
	}
	w.Fatalf("%s to %s: packets are lost before anything happened", a.Name, b.Name)
	return nil
}

// passed returns nil if that many packets of the flow were answered.
func passed(flow *natlab.Traffic, want int) error {
	if c := flow.Counts(); c.Answered < want {
		return fmt.Errorf("%d packets of %d were answered: %+v", c.Answered, want, c)
	}
	return nil
}

// The server crashes and starts again: the clients keep talking meanwhile, come
// back, and a new one can join.
func TestServerRestart(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join(w.public("alice")), w.join(w.public("bob"))
	w.meet(alice, bob)
	w.reachBoth(alice, bob)
	flow := w.steady(alice, bob)
	defer flow.Stop()

	w.server.proc.Kill()
	w.server.start()
	w.await("both are back", backTime, func() error { return w.server.online("alice", "bob") })
	carol := w.join(w.public("carol"))
	w.meet(alice, bob, carol)
	w.reachBoth(carol, alice)
	if c := flow.Stop(); len(c.Lost) > 0 || c.Answered == 0 {
		t.Errorf("alice to bob meanwhile: %+v", c)
	}
}

// While the server is away flows lose nothing, and peers that know each other begin
// new ones.
func TestServerAway(t *testing.T) {
	w := newWorld(t)
	alice, bob, carol := w.join(w.public("alice")), w.join(w.public("bob")), w.join(w.public("carol"))
	w.meet(alice, bob, carol)
	w.reachBoth(alice, bob)
	aliceIP, carolIP := alice.ip4(), carol.ip4()
	w.serveTCP(alice.Host, "80")
	flow := w.steady(alice, bob)
	defer flow.Stop()

	w.server.proc.Kill()
	bob.reach(carolIP)
	w.await("carol connects to alice", reachTime, func() error {
		_, err := askTCP(w.ctx, carol.Host, aliceIP, "80")
		return err
	})
	enough := flow.Counts().Answered + outagePings
	w.await("the flow goes on", reachTime, func() error { return passed(flow, enough) })
	if c := flow.Stop(); len(c.Lost) > 0 {
		t.Errorf("alice to bob meanwhile: %+v", c)
	}
	w.server.start()
	w.await("all are back", backTime, func() error { return w.server.online("alice", "bob", "carol") })
}

// A client that starts while the server is away runs from the map that it keeps on
// disk (the attribute cache-network-maps): it has its address, its names and its
// peers. From 1.104 on clients also tell each other their new disco keys, so that
// packets pass at once; the current pin is older, and packets pass when the server is
// back.
func TestClientStartsWhileServerAway(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join(w.public("alice")), w.join(w.public("bob"))
	w.meet(alice, bob)
	w.reachBoth(alice, bob)
	aliceIP, bobIP := alice.ip4(), bob.ip4()

	w.server.proc.Kill()
	w.ok(alice.Stop())
	w.ok(alice.Restart(w.ctx))
	w.await("alice runs", joinTime, func() error { return alice.state("Running") })
	if ip := alice.ip4(); ip != aliceIP {
		t.Errorf("alice is at %v, she was at %v", ip, aliceIP)
	}
	w.ok(alice.sees(bobIP))
	w.server.start()
	w.await("both are back", backTime, func() error { return w.server.online("alice", "bob") })
	w.reachBoth(alice, bob)
}
