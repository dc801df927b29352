package e2e

import (
	"regexp"
	"testing"
	"time"

	"selvage/test/clients"
)

// loginPage is the address that a person is sent to; its last part is the code.
var loginPage = regexp.MustCompile(`https?://\S+/register/(\S+)`)

// A person logs in without a key: the client prints an address, and whoever may
// approve the device does so.
func TestInteractiveLogin(t *testing.T) {
	w := newWorld(t)
	w.server.run("user", "create", "ann@example.com")
	alice := w.start(w.public("alice"), clients.Current)
	out := newTail()
	printed := out.watch(loginPage)
	up, err := alice.StartTailscale(out, "up", "--login-server="+w.server.url(), "--timeout=60s")
	w.ok(err)
	select {
	case <-printed:
	case <-time.After(joinTime):
		t.Fatalf("tailscale up printed no address: %s", out)
	}
	if err := alice.state("NeedsLogin"); err != nil {
		t.Error(err)
	}
	if err := w.server.gone("alice"); err != nil {
		t.Error(err)
	}
	w.server.run("node", "register", loginPage.FindStringSubmatch(out.String())[1], "--user", "ann@example.com")
	select {
	case <-up.Done():
	case <-time.After(joinTime):
		t.Fatalf("tailscale up does not end: %s", out)
	}
	w.await("alice runs", joinTime, func() error { return alice.state("Running") })
	n, err := w.server.node("alice")
	w.ok(err)
	if n.User != "ann@example.com" || n.IPv4 != alice.ip4() {
		t.Errorf("the node is %+v", n)
	}
	bob := w.joinAs(clients.Current, w.public("bob"), w.server.newKey("--user", "ann@example.com"))
	w.meet(alice, bob)
	w.reachBoth(alice, bob)
}

// A device gets the tags of its key, and no others.
func TestTags(t *testing.T) {
	w := newWorld(t)
	w.server.run("user", "create", "ann@example.com")
	w.server.setPolicy(`{
		"tagOwners": {"tag:web": ["ann@example.com"], "tag:db": ["ann@example.com"]},
		"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
	}`)
	www := w.joinAs(clients.Current, w.public("www"), w.server.newKey("--tag", "tag:web"))
	n, err := w.server.node("www")
	w.ok(err)
	if len(n.Tags) != 1 || n.Tags[0] != "tag:web" {
		t.Errorf("the node is %+v", n)
	}
	if tags := www.status().Self.Tags; len(tags) != 1 || tags[0] != "tag:web" {
		t.Errorf("the client has the tags %v", tags)
	}

	thief := w.start(w.public("thief"), clients.Current)
	err = thief.login(w.server.newKey("--tag", "tag:web"), "--advertise-tags=tag:db")
	if err == nil {
		t.Fatal("a device has a tag that its key does not hold")
	}
	if err := missing(err.Error(), "tag:db"); err != nil {
		t.Error(err)
	}
	if err := w.server.gone("thief"); err != nil {
		t.Error(err)
	}
}
