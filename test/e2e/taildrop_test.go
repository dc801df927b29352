package e2e

import (
	"crypto/sha256"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// blobSize is the size of the file that is sent, in bytes.
const blobSize = 5 << 20

// A file goes from one device of a person to another.
func TestTaildrop(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.join(w.public("alice")), w.join(w.public("bob"))
	w.meet(alice, bob)
	w.reachBoth(alice, bob)

	blob := make([]byte, blobSize)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(blob) // never fails
	path := w.file("blob.bin", string(blob))
	w.await("alice may send to bob", meetTime, func() error {
		out, err := alice.Tailscale(w.ctx, "file", "cp", "--targets")
		if err != nil {
			return err
		}
		return missing(out, bob.ip4(), "bob")
	})
	alice.run("file", "cp", path, "bob:")

	inbox := filepath.Join(w.server.dir, "inbox")
	w.ok(os.Mkdir(inbox, 0o700))
	bob.run("file", "get", "--wait", inbox)
	got, err := os.ReadFile(filepath.Join(inbox, "blob.bin"))
	w.ok(err)
	if sha256.Sum256(got) != sha256.Sum256(blob) {
		t.Errorf("%d bytes came, %d were sent, and they differ", len(got), len(blob))
	}
}
