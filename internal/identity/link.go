package identity

import (
	"context"
	"fmt"
	"time"

	"selvage"
	"selvage/internal/journal"
	"selvage/internal/store"
)

// LinkLifetime is how long a one-time link may be used.
const LinkLifetime = 24 * time.Hour

// linkEvent is what the journal says of a link: everything but its hash.
type linkEvent struct {
	User    selvage.UserID `json:"user"`
	Expires time.Time      `json:"expires"`
}

// NewLink makes a one-time link that signs the user in and returns its secret, the
// last part of its address, which is not stored.
func NewLink(tx Tx, now time.Time, user selvage.UserID) (secret string, l *selvage.Link, err error) {
	u := tx.User(user)
	if err := mayAct(u); err != nil {
		return "", nil, err
	}
	secret, _ = newSecret(linkPrefix)
	l = &selvage.Link{
		Hash: Hash(secret), Tailnet: u.Tailnet, User: user,
		Created: now, Expires: now.Add(LinkLifetime),
	}
	if err := tx.Store().PutLink(l); err != nil {
		return "", nil, err
	}
	tx.Log(journal.LinkCreate, userTarget(user), nil, linkEvent{user, l.Expires})
	return secret, l, nil
}

// FindLink returns the link with the secret if it could be used now. It does not use
// it: programs that look at links in messages may do that much.
func FindLink(ctx context.Context, db *store.DB, secret string, now time.Time) (*selvage.Link, error) {
	if _, err := parse(linkPrefix, secret); err != nil {
		return nil, err
	}
	var l *selvage.Link
	err := db.Read(ctx, func(tx *store.Tx) (err error) {
		l, err = tx.LinkByHash(Hash(secret))
		return err
	})
	if err != nil {
		return nil, unknown(err, linkPrefix)
	}
	return l, checkLink(l, now)
}

func checkLink(l *selvage.Link, now time.Time) error {
	switch {
	case !l.Used.IsZero():
		return selvage.Errorf(selvage.KindDenied, "this sign-in link was used on %s; ask for a new one", day(l.Used))
	case !now.Before(l.Expires):
		return selvage.Errorf(selvage.KindDenied, "this sign-in link expired on %s; ask for a new one", day(l.Expires))
	}
	return nil
}

// UseLink uses the link with the secret up and returns it. Of several who try, one
// succeeds. Its user is no longer pending. tx must be of the link's tailnet, which
// FindLink tells.
func UseLink(tx Tx, now time.Time, secret string) (*selvage.Link, error) {
	if _, err := parse(linkPrefix, secret); err != nil {
		return nil, err
	}
	l, err := tx.Store().LinkByHash(Hash(secret))
	if err != nil {
		return nil, unknown(err, linkPrefix)
	}
	if err := checkLink(l, now); err != nil {
		return nil, err
	}
	u := tx.User(l.User)
	if err := mayAct(u); err != nil {
		return nil, err
	}
	if err := tx.Store().UseLink(l.Hash, now); err != nil {
		return nil, err
	}
	l.Used = now
	tx.Log(journal.LinkUse, userTarget(l.User), nil, linkEvent{l.User, l.Expires})
	if !u.Pending {
		return l, nil
	}
	u.Pending = false
	return l, tx.PutUser(journal.UserUpdate, u)
}

// unknown replaces the store's "not found" by an error for who shows a secret.
func unknown(err error, prefix string) error {
	if !selvage.Is(err, selvage.KindNotFound) {
		return fmt.Errorf("look up %s: %w", forms[prefix].name, err)
	}
	return selvage.Errorf(selvage.KindUnauthenticated, "this %s is not known here; %s", forms[prefix].name, forms[prefix].remedy)
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
