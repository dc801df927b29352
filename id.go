package selvage

import (
	"crypto/rand"
	"strconv"
)

// TailnetID numbers a tailnet of this server. IDs start at 1 and are not used again.
type TailnetID int64

// NodeID numbers a node in all tailnets of the server; it is the client's Node.ID.
// IDs start at 1, are never used again and stay below 2^53.
type NodeID int64

// UserID numbers a user in all tailnets of the server. IDs start at 1.
type UserID int64

// KeyID names an auth key or an API token; it is the part of the secret that may
// be shown and logged, 12 characters of base 32.
type KeyID string

// TaggedDevices is the user that clients see as the owner of tagged nodes.
const TaggedDevices UserID = 1 << 40

// String returns the decimal form.
func (id TailnetID) String() string { return strconv.FormatInt(int64(id), 10) }

// String returns the decimal form.
func (id NodeID) String() string { return strconv.FormatInt(int64(id), 10) }

// String returns the decimal form.
func (id UserID) String() string { return strconv.FormatInt(int64(id), 10) }

// ParseNodeID reads the decimal form.
func ParseNodeID(s string) (NodeID, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n <= 0 {
		return 0, Errorf(KindInvalid, "bad node ID %q: want a number above zero", s)
	}
	return NodeID(n), nil
}

// base32 without the letters and digits that people mix up (i, l, o, u).
const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// RandomText returns n random characters of base 32: 5 bits each.
func RandomText(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	for i := range b {
		b[i] = alphabet[b[i]&31]
	}
	return string(b)
}

// NewStableID returns the StableID of a new node: "n", 15 random characters, "SLVG".
// Clients treat it as opaque and use it in file names and SSH rules.
func NewStableID() string { return "n" + RandomText(15) + "SLVG" }
