package store

import (
	"database/sql"
	"fmt"

	"selvage"
)

const authKeyColumns = "id, tailnet, user_id, hash, description, reusable, ephemeral, preapproved, tags, created, expires, revoked, used, uses"

// AuthKeys returns the auth keys of a tailnet, oldest first.
func (tx *Tx) AuthKeys(tailnet selvage.TailnetID) ([]*selvage.AuthKey, error) {
	list, err := all(tx, scanAuthKey, "SELECT "+authKeyColumns+" FROM auth_keys WHERE tailnet = $1 ORDER BY created, id", int64(tailnet))
	if err != nil {
		return nil, fmt.Errorf("read auth keys of tailnet %d: %w", tailnet, err)
	}
	return list, nil
}

func scanAuthKey(rows *sql.Rows) (*selvage.AuthKey, error) {
	var k selvage.AuthKey
	var tags string
	var created, expires, revoked, used int64
	err := rows.Scan(&k.ID, &k.Tailnet, &k.User, &k.Hash, &k.Description, &k.Reusable, &k.Ephemeral, &k.Preapproved, &tags,
		&created, &expires, &revoked, &used, &k.Uses)
	if err != nil {
		return nil, err
	}
	k.Created, k.Expires, k.Revoked, k.Used = timeOf(created), timeOf(expires), timeOf(revoked), timeOf(used)
	if k.Tags, err = parseList[string](tags); err != nil {
		return nil, fmt.Errorf("read auth key %s: %w", k.ID, err)
	}
	return &k, nil
}

// PutAuthKey saves an auth key, new or changed.
func (tx *Tx) PutAuthKey(k *selvage.AuthKey) error {
	tags, err := list(k.Tags)
	if err != nil {
		return fmt.Errorf("save auth key %s: %w", k.ID, err)
	}
	_, err = tx.exec(`INSERT INTO auth_keys (`+authKeyColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (id) DO UPDATE SET tailnet = excluded.tailnet, user_id = excluded.user_id, hash = excluded.hash,
description = excluded.description, reusable = excluded.reusable, ephemeral = excluded.ephemeral,
preapproved = excluded.preapproved, tags = excluded.tags, created = excluded.created, expires = excluded.expires,
revoked = excluded.revoked, used = excluded.used, uses = excluded.uses`,
		string(k.ID), int64(k.Tailnet), int64(k.User), k.Hash, k.Description, k.Reusable, k.Ephemeral, k.Preapproved, tags,
		nanos(k.Created), nanos(k.Expires), nanos(k.Revoked), nanos(k.Used), int64(k.Uses))
	if err != nil {
		return fmt.Errorf("save auth key %s: %w", k.ID, err)
	}
	return nil
}

// DeleteAuthKey removes an auth key; it returns an error of KindNotFound if there is
// none.
func (tx *Tx) DeleteAuthKey(id selvage.KeyID) error {
	return tx.remove(fmt.Sprintf("auth key %s", id), "DELETE FROM auth_keys WHERE id = $1", string(id))
}

const tokenColumns = "id, tailnet, user_id, hash, description, created, expires"

// Tokens returns the API tokens of a tailnet, oldest first.
func (tx *Tx) Tokens(tailnet selvage.TailnetID) ([]*selvage.Token, error) {
	list, err := all(tx, scanToken, "SELECT "+tokenColumns+" FROM tokens WHERE tailnet = $1 ORDER BY created, id", int64(tailnet))
	if err != nil {
		return nil, fmt.Errorf("read tokens of tailnet %d: %w", tailnet, err)
	}
	return list, nil
}

// TokenByHash returns the token with the hash, or an error of KindNotFound. It does
// not look at the expiry.
func (tx *Tx) TokenByHash(hash string) (*selvage.Token, error) {
	t, ok, err := one(tx, scanToken, "SELECT "+tokenColumns+" FROM tokens WHERE hash = $1", hash)
	if err != nil {
		return nil, fmt.Errorf("read token by hash: %w", err)
	}
	if !ok {
		return nil, selvage.Errorf(selvage.KindNotFound, "the token is not known")
	}
	return t, nil
}

func scanToken(rows *sql.Rows) (*selvage.Token, error) {
	var t selvage.Token
	var created, expires int64
	err := rows.Scan(&t.ID, &t.Tailnet, &t.User, &t.Hash, &t.Description, &created, &expires)
	t.Created, t.Expires = timeOf(created), timeOf(expires)
	return &t, err
}

// PutToken saves an API token, new or changed.
func (tx *Tx) PutToken(t *selvage.Token) error {
	_, err := tx.exec(`INSERT INTO tokens (`+tokenColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (id) DO UPDATE SET tailnet = excluded.tailnet, user_id = excluded.user_id, hash = excluded.hash,
description = excluded.description, created = excluded.created, expires = excluded.expires`,
		string(t.ID), int64(t.Tailnet), int64(t.User), t.Hash, t.Description, nanos(t.Created), nanos(t.Expires))
	if err != nil {
		return fmt.Errorf("save token %s: %w", t.ID, err)
	}
	return nil
}

// DeleteToken removes an API token; it returns an error of KindNotFound if there is
// none.
func (tx *Tx) DeleteToken(id selvage.KeyID) error {
	return tx.remove(fmt.Sprintf("token %s", id), "DELETE FROM tokens WHERE id = $1", string(id))
}
