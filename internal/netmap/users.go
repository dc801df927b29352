package netmap

import (
	"context"
	"strings"

	"selvage"
	"selvage/internal/journal"
)

// maxLoginLength bounds logins; e-mail addresses are at most 254 bytes.
const maxLoginLength = 254

// CheckLogin says what is wrong with a login, if anything is.
func CheckLogin(login string) error {
	bad := func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`,:"'<>\*`, r) }
	if login == "" || len(login) > maxLoginLength || strings.ContainsFunc(login, bad) {
		return selvage.Errorf(selvage.KindInvalid, "bad login %q: want an e-mail address or a plain name, without spaces or any of , : \" ' < > \\ *", login)
	}
	return nil
}

// CreateUser makes a user, who is pending until the first sign-in.
func (n *Net) CreateUser(ctx context.Context, actor selvage.Actor, login, display string, role selvage.Role) (*selvage.User, error) {
	if err := CheckLogin(login); err != nil {
		return nil, err
	}
	var u *selvage.User
	err := n.Update(ctx, actor, func(tx *Tx) error {
		id, err := tx.stx.NextID("user")
		if err != nil {
			return err
		}
		u = &selvage.User{
			ID: selvage.UserID(id), Tailnet: n.id, Login: login, DisplayName: display,
			Role: role, Created: tx.Now, Pending: true,
		}
		return tx.PutUser(journal.UserCreate, u)
	})
	return u, err
}

// UpdateUser changes a user. The last owner keeps the role.
func (n *Net) UpdateUser(ctx context.Context, actor selvage.Actor, id selvage.UserID, change func(*selvage.User)) error {
	return n.Update(ctx, actor, func(tx *Tx) error {
		u := tx.User(id)
		if u == nil {
			return selvage.Errorf(selvage.KindNotFound, "no user %d", id)
		}
		wasOwner := activeOwner(u)
		change(u)
		u.ID, u.Tailnet = id, n.id
		if err := CheckLogin(u.Login); err != nil {
			return err
		}
		if wasOwner && !activeOwner(u) && tx.people().owners() == 1 {
			return selvage.Errorf(selvage.KindConflict, "%s is the only owner; make somebody else an owner first", u.Login)
		}
		return tx.PutUser(journal.UserUpdate, u)
	})
}

// DeleteUser removes a user with their devices and auth keys.
func (n *Net) DeleteUser(ctx context.Context, actor selvage.Actor, id selvage.UserID) error {
	return n.Update(ctx, actor, func(tx *Tx) error {
		u := tx.User(id)
		if u == nil {
			return selvage.Errorf(selvage.KindNotFound, "no user %d", id)
		}
		if activeOwner(u) && tx.people().owners() == 1 {
			return selvage.Errorf(selvage.KindConflict, "%s is the only owner; make somebody else an owner first", u.Login)
		}
		for rec := range tx.v.Nodes() {
			if rec.User == id {
				if err := tx.DeleteNode(rec.ID); err != nil {
					return err
				}
			}
		}
		for _, k := range tx.v.AuthKeys() {
			if k.User == id && k.Revoked.IsZero() {
				k = cloneKey(k)
				k.Revoked = tx.Now
				tx.PutAuthKey(journal.KeyRevoke, k)
			}
		}
		return tx.DeleteUser(id)
	})
}
