package identity

import (
	"context"
	"time"

	"selvage"
	"selvage/internal/journal"
	"selvage/internal/store"
)

// NewToken makes an API token of a user and returns its text, which is not stored.
// The zero time as expires is never.
func NewToken(tx Tx, now time.Time, user selvage.UserID, description string, expires time.Time) (text string, t *selvage.Token, err error) {
	u := tx.User(user)
	if err := mayAct(u); err != nil {
		return "", nil, err
	}
	text, id := newSecret(tokenPrefix)
	t = &selvage.Token{
		ID: id, Tailnet: u.Tailnet, User: user, Hash: Hash(text), Description: description,
		Created: now, Expires: expires,
	}
	if err := tx.Store().PutToken(t); err != nil {
		return "", nil, err
	}
	tx.Log(journal.TokenCreate, journal.Target("token", id), nil, t)
	return text, t, nil
}

// CheckToken returns the token with the text if it may be used now. The caller looks
// its user up and asks TokenActor whether they may act.
func CheckToken(ctx context.Context, db *store.DB, text string, now time.Time) (*selvage.Token, error) {
	if _, err := parse(tokenPrefix, text); err != nil {
		return nil, err
	}
	var t *selvage.Token
	err := db.Read(ctx, func(tx *store.Tx) (err error) {
		t, err = tx.TokenByHash(Hash(text))
		return err
	})
	if err != nil {
		return nil, unknown(err, tokenPrefix)
	}
	if !matches(text, t.Hash) {
		return nil, selvage.Errorf(selvage.KindUnauthenticated, "this API token is not known here; %s", forms[tokenPrefix].remedy)
	}
	if !t.Expires.IsZero() && !now.Before(t.Expires) {
		return nil, selvage.Errorf(selvage.KindUnauthenticated, "API token %s expired on %s; %s", t.ID, day(t.Expires), forms[tokenPrefix].remedy)
	}
	return t, nil
}

// DeleteToken ends an API token.
func DeleteToken(tx Tx, t *selvage.Token) error {
	if err := tx.Store().DeleteToken(t.ID); err != nil {
		return err
	}
	tx.Log(journal.TokenDelete, journal.Target("token", t.ID), t, nil)
	return nil
}
