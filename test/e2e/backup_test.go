package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// A backup of the running server, restored into an empty folder, is the same network:
// clients go on without a new login, and what came after the backup is not there.
func TestBackupRestore(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join(w.public("alice")), w.join(w.public("bob"))
	w.meet(alice, bob)
	ips := []string{alice.ip4(), bob.ip4()}
	file := filepath.Join(w.server.dir, "backup")
	w.server.run("backup", file)
	w.server.run("user", "create", "later@example.com")

	w.server.proc.Kill()
	w.ok(os.Rename(w.server.data(), w.server.data()+".lost"))
	w.server.run("restore", file)
	w.server.start()
	w.await("both are back", backTime, func() error { return w.server.online("alice", "bob") })
	w.reachBoth(alice, bob)
	for i, c := range []*client{alice, bob} {
		if ip := c.ip4(); ip != ips[i] {
			t.Errorf("%s is at %s, was at %s", c.Name, ip, ips[i])
		}
		if err := c.state("Running"); err != nil {
			t.Error(err)
		}
	}
	if _, err := w.server.try(w.ctx, "user", "suspend", "later@example.com"); err == nil {
		t.Error("a user from after the backup is there")
	}
	carol := w.join(w.public("carol"))
	w.meet(carol, alice)
	w.reachBoth(carol, alice)
}
