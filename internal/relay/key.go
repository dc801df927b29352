package relay

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"go4.org/mem"
	"tailscale.com/types/key"
)

// Seed is the secret from which a relay's keys are derived. It is kept for the
// relay's life, so that clients see the same relay after a restart.
type Seed [32]byte

// LoadSeed reads the seed from the file, which it makes if there is none.
func LoadSeed(path string) (Seed, error) {
	var seed Seed
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		rand.Read(seed[:])
		// O_EXCL: of two processes that start at once, one fails and finds the
		// other's seed when it is started again.
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return Seed{}, fmt.Errorf("make relay seed: %w", err)
		}
		_, err = f.WriteString(hex.EncodeToString(seed[:]) + "\n")
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return Seed{}, fmt.Errorf("write relay seed %s: %w", path, err)
		}
		return seed, nil
	}
	if err != nil {
		return Seed{}, fmt.Errorf("read relay seed: %w", err)
	}
	const digits = 2 * len(seed)
	if len(text) < digits || len(text) > digits+2 {
		return Seed{}, fmt.Errorf("relay seed %s is not %d hex digits: restore it or remove it, then clients see a new relay", path, digits)
	}
	if _, err := hex.Decode(seed[:], text[:digits]); err != nil {
		return Seed{}, fmt.Errorf("relay seed %s: %w", path, err)
	}
	return seed, nil
}

// DERPKey returns the relay's DERP key.
func DERPKey(seed Seed) key.NodePrivate {
	b := derive(seed, "selvage relay derp key")
	// The form of an X25519 private key, which DERP relies on (RFC 7748, section 5).
	b[0] &= 248
	b[31] = b[31]&127 | 64
	k, err := key.ParseNodePrivateUntyped(mem.S(hex.EncodeToString(b)))
	if err != nil {
		panic("relay: 64 hex digits are no key: " + err.Error()) // not possible
	}
	return k
}

// derive returns 32 bytes that only the seed's owner can compute.
func derive(seed Seed, label string) []byte {
	b, err := hkdf.Key(sha256.New, seed[:], nil, label, 32)
	if err != nil {
		panic("relay: derive key: " + err.Error()) // only for absurd lengths
	}
	return b
}
