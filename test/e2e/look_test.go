package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// The command line client tells a person what they expect: names, owners, tags,
// addresses, paths and the relay.
func TestLook(t *testing.T) {
	w := newWorld(t)
	w.server.run("user", "create", "ann@example.com")
	w.server.setPolicy(`{
		"tagOwners": {"tag:web": ["ann@example.com"]},
		"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
	}`)
	key := w.server.newKey("--user", "ann@example.com")
	alice := w.joinAs("current", w.public("alice"), key)
	bob := w.joinAs("current", w.public("bob"), key)
	www := w.joinAs("current", w.public("www"), w.server.newKey("--tag", "tag:web"))
	w.meet(alice, bob, www)
	w.reachBoth(alice, bob)
	alice.awaitDirect(bob.ip4())
	expect := func(out string, words ...string) {
		t.Helper()
		if err := missing(out, words...); err != nil {
			t.Error(err)
		}
	}
	status := alice.run("status")
	expect(status, alice.ip4(), bob.ip4(), www.ip4(), "tagged-devices", "linux")
	for line := range strings.Lines(status) {
		if f := strings.Fields(line); len(f) > 2 && (f[1] == "alice" || f[1] == "bob") {
			expect(line, "ann@") // short, as the client cuts the domain off
		}
	}
	expect(alice.run("ip"), alice.ip4(), alice.ip6())
	expect(alice.run("ip", "-4", "bob"), bob.ip4())
	expect(alice.run("ping", "bob"), "pong from bob ("+bob.ip4()+") via 203.0.113.")
	domain := alice.status().MagicDNSSuffix
	expect(alice.run("whois", bob.ip4()), "bob."+domain, "ann@example.com")
	expect(alice.run("whois", www.ip4()), "www."+domain, "tag:web")

	var report struct {
		UDP           bool
		PreferredDERP int
		RegionLatency map[int]int64 // nanoseconds
	}
	w.ok(json.Unmarshal([]byte(alice.run("netcheck", "--format=json")), &report))
	if !report.UDP || report.PreferredDERP == 0 || report.RegionLatency[report.PreferredDERP] <= 0 {
		t.Errorf("netcheck: %+v", report)
	}
	expect(alice.run("netcheck"), "* UDP: true", "* Nearest DERP: ", "- "+alice.status().Self.Relay+":")
	if got := alice.status().Health; len(got) > 0 {
		t.Errorf("alice has health warnings: %q", got)
	}
}
