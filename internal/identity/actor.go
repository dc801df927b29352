package identity

import (
	"selvage"
	"selvage/internal/store"
)

// Tx is a change under way. It is a netmap.Tx; identity must not import that package.
type Tx interface {
	// Store is the database transaction of the change.
	Store() *store.Tx
	// Log adds an entry to the journal.
	Log(action, target string, old, now any)
	// User returns a copy of a user, or nil.
	User(id selvage.UserID) *selvage.User
	// PutUser saves a changed user.
	PutUser(action string, u *selvage.User) error
}

// UserActor returns the actor that a signed-in user is. It refuses users who are
// gone (nil) or suspended.
func UserActor(u *selvage.User, address string) (selvage.Actor, error) {
	if err := mayAct(u); err != nil {
		return selvage.Actor{}, err
	}
	return selvage.Actor{
		Kind: selvage.ActorUser, ID: u.ID.String(), Name: u.Login, Address: address,
		Role: u.Role, User: u.ID,
	}, nil
}

// TokenActor returns the actor that the bearer of a token is: it may do what the
// token's user may. It refuses users who are gone (nil) or suspended.
func TokenActor(t *selvage.Token, u *selvage.User, address string) (selvage.Actor, error) {
	if err := mayAct(u); err != nil {
		return selvage.Actor{}, err
	}
	return selvage.Actor{
		Kind: selvage.ActorToken, ID: string(t.ID), Name: u.Login, Address: address,
		Role: u.Role, User: u.ID,
	}, nil
}

func mayAct(u *selvage.User) error {
	switch {
	case u == nil:
		return selvage.Errorf(selvage.KindUnauthenticated, "this user is no longer there; ask an administrator")
	case u.Suspended:
		return selvage.Errorf(selvage.KindDenied, "user %s is suspended; ask an administrator", u.Login)
	}
	return nil
}

func userTarget(id selvage.UserID) string { return "user:" + id.String() }
