package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"selvage/test/natlab"
)

// A relay on a host of its own joins the map, admits the devices of the server and
// nobody else, and carries their traffic.
func TestStandaloneRelay(t *testing.T) {
	w := newWorld(t)
	ha, _ := w.behind("alice", natlab.Hard)
	hb, _ := w.behind("bob", natlab.Hard)
	alice, bob := w.join(ha), w.join(hb)
	w.meet(alice, bob)

	var added struct{ Token string }
	if err := json.Unmarshal([]byte(w.server.run("relay", "add", "east", "--json")), &added); err != nil || added.Token == "" {
		t.Fatalf("relay add: token %q, %v", added.Token, err)
	}
	addr := w.address()
	host, _ := w.host("relay", addr)
	prog, err := program()
	w.ok(err)
	_, err = host.Start(w.server.log, []string{"SELVAGE_RELAY_TOKEN=" + added.Token}, prog, "relay", "run",
		"--server", w.server.url(), "--host", addr, "--listen", ":443", "--seed-file", w.server.dir+"/relay.seed")
	w.ok(err)
	w.await("alice knows the relay", meetTime, func() error { return knowsRelay(alice, "east") })
	w.await("bob knows the relay", meetTime, func() error { return knowsRelay(bob, "east") })
	for _, c := range []*client{alice, bob} {
		// A client takes the wish in with its next look at the network, and skips one
		// that comes too soon after the last.
		tries := 0
		w.await(c.Name+" is at home there", 2*meetTime, func() error {
			if tries%20 == 0 {
				c.run("debug", "force-prefer-derp", "901")
				c.run("debug", "restun")
			}
			tries++
			if code := c.status().Self.Relay; code != "east" {
				return fmt.Errorf("%s is at %q", c.Name, code)
			}
			return nil
		})
	}
	w.meet(alice, bob)
	w.reachBoth(alice, bob)
	alice.relayed(bob.ip4(), 3)
	if out := w.server.run("relay", "list"); !strings.Contains(out, "east") {
		t.Errorf("relay list does not show it:\n%s", out)
	}
}

func knowsRelay(c *client, code string) error {
	out, err := c.Tailscale(c.w.ctx, "debug", "derp-map")
	if err != nil {
		return err
	}
	if !strings.Contains(out, `"`+code+`"`) {
		return fmt.Errorf("%s does not know the relay %s", c.Name, code)
	}
	return nil
}
