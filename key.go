package selvage

import (
	"slices"
	"time"
)

// AuthKey lets a device join without a browser. Only the hash of its secret is kept.
type AuthKey struct {
	ID      KeyID     `json:"id"`
	Tailnet TailnetID `json:"tailnet"`
	// User owns the devices that join with the key, unless the key has tags.
	User UserID `json:"user"`
	// Hash is the SHA-256 of the whole key text, in hex. The text has 160 random
	// bits, so a slow hash would add nothing but CPU time to every join.
	Hash        string    `json:"-"`
	Description string    `json:"description,omitempty"`
	Reusable    bool      `json:"reusable"`
	Ephemeral   bool      `json:"ephemeral"`
	Preapproved bool      `json:"preapproved"`
	Tags        []string  `json:"tags,omitempty"`
	Created     time.Time `json:"created"`
	// Expires is when it stops admitting devices; zero is never.
	Expires time.Time `json:"expires,omitzero"`
	// Revoked is when somebody withdrew it.
	Revoked time.Time `json:"revoked,omitzero"`
	// Used is when a device last joined with it, Uses how many did.
	Used time.Time `json:"used,omitzero"`
	Uses int       `json:"uses"`
}

// Usable returns nil if a new device may join with the key now, or an error that
// says why not.
func (k *AuthKey) Usable(now time.Time) error {
	switch {
	case !k.Revoked.IsZero():
		return Errorf(KindDenied, "auth key %s was revoked on %s; ask for a new one", k.ID, day(k.Revoked))
	case !k.Expires.IsZero() && !now.Before(k.Expires):
		return Errorf(KindDenied, "auth key %s expired on %s; ask for a new one", k.ID, day(k.Expires))
	case !k.Reusable && k.Uses > 0:
		return Errorf(KindDenied, "auth key %s is for a single device and was used on %s; ask for a new one", k.ID, day(k.Used))
	}
	return nil
}

// Holds returns nil if the key carries each of the tags, or an error that names
// the first that it doesn't.
func (k *AuthKey) Holds(tags []string) error {
	for _, t := range tags {
		if !slices.Contains(k.Tags, t) {
			return Errorf(KindDenied, "auth key %s does not hold %s; use a key that was made with it, or leave the tag out", k.ID, t)
		}
	}
	return nil
}

// Token is an API token of a user. Only the hash of its secret is kept.
type Token struct {
	ID          KeyID     `json:"id"`
	Tailnet     TailnetID `json:"tailnet"`
	User        UserID    `json:"user"`
	Hash        string    `json:"-"`
	Description string    `json:"description,omitempty"`
	Created     time.Time `json:"created"`
	Expires     time.Time `json:"expires,omitzero"`
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
