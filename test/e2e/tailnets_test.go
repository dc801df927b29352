package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// Two tailnets of one server know nothing of each other: not the devices, not the
// keys, not the names.
func TestTwoTailnets(t *testing.T) {
	w := newWorld(t)
	w.server.run("tailnet", "create", "lab")
	var key struct{ Key string }
	out := w.server.run("--tailnet", "lab", "key", "create", "--reusable", "--json")
	if err := json.Unmarshal([]byte(out), &key); err != nil {
		t.Fatal(err)
	}
	alice := w.join(w.public("alice"))
	first := w.joinAs("current", w.public("bob"), key.Key)
	second := w.joinAs("current", w.public("carol"), key.Key)
	w.meet(first, second)
	w.reachBoth(first, second)
	for _, c := range []*client{first, second} {
		if !strings.HasSuffix(c.status().Self.DNSName, ".lab.selvage.internal.") {
			t.Errorf("%s is called %s", c.Name, c.status().Self.DNSName)
		}
		if err := alice.lacksName(c.Name); err != nil {
			t.Error(err)
		}
	}
	if err := first.lacksName("alice"); err != nil {
		t.Error(err)
	}
	if list := w.server.run("--tailnet", "lab", "node", "list"); strings.Contains(list, "alice") || !strings.Contains(list, "bob") {
		t.Errorf("node list of lab:\n%s", list)
	}
}
