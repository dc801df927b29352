package admin

import (
	"strings"

	"selvage"
	"selvage/internal/authz"
	"selvage/internal/identity"
	"selvage/internal/netmap"
)

func userOf(u *selvage.User, nodes int) User {
	return User{
		ID: u.ID, Login: u.Login, DisplayName: u.DisplayName, Role: u.Role, Created: u.Created,
		Pending: u.Pending, Suspended: u.Suspended, Nodes: nodes,
	}
}

// devices counts the devices of each user.
func devices(v *netmap.View) map[selvage.UserID]int {
	count := map[selvage.UserID]int{}
	for n := range v.Nodes() {
		if !n.Tagged() {
			count[n.User]++
		}
	}
	return count
}

// user returns the tailnet and the user that a request is about, if the actor may do
// the action to them.
func (r *request) user(a authz.Action) (*netmap.Net, *selvage.User, error) {
	net, err := r.net(a)
	if err != nil {
		return nil, nil, err
	}
	u, err := userNamed(net.View(), r.PathValue("user"))
	if err != nil {
		return nil, nil, err
	}
	if a == authz.UserRead {
		return net, u, nil
	}
	return net, u, authz.AllowOver(r.actor, a, u.Role)
}

// userNamed finds a user by login, or by ID.
func userNamed(v *netmap.View, name string) (*selvage.User, error) {
	u, err := v.UserByLogin(name)
	if err == nil {
		return u, nil
	}
	for _, u := range v.Users() {
		if u.ID.String() == name {
			return u, nil
		}
	}
	return nil, err
}

func listUsers(r *request) (any, error) {
	net, err := r.net(authz.UserRead)
	if err != nil {
		return nil, err
	}
	v := net.View()
	count := devices(v)
	list := []User{}
	for _, u := range v.Users() {
		list = append(list, userOf(u, count[u.ID]))
	}
	return list, nil
}

func getUser(r *request) (any, error) {
	net, u, err := r.user(authz.UserRead)
	if err != nil {
		return nil, err
	}
	return userOf(u, devices(net.View())[u.ID]), nil
}

func createUser(r *request) (any, error) {
	net, err := r.net(authz.UserWrite)
	if err != nil {
		return nil, err
	}
	b, err := body[UserCreate](r)
	if err != nil {
		return nil, err
	}
	if b.Role == "" {
		b.Role = selvage.RoleMember
	}
	role, err := selvage.ParseRole(string(b.Role))
	if err != nil {
		return nil, err
	}
	if err := authz.AllowOver(r.actor, authz.UserWrite, role); err != nil {
		return nil, err
	}
	u, err := net.CreateUser(r.Context(), r.actor, b.Login, b.DisplayName, role)
	if err != nil {
		return nil, err
	}
	return userOf(u, 0), nil
}

func changeUser(r *request) (any, error) {
	net, u, err := r.user(authz.UserWrite)
	if err != nil {
		return nil, err
	}
	b, err := body[UserChange](r)
	if err != nil {
		return nil, err
	}
	if b.Role != nil {
		if err := r.mayGive(u, *b.Role); err != nil {
			return nil, err
		}
	}
	if b.Suspended != nil && *b.Suspended && r.actor.User == u.ID {
		return nil, selvage.Errorf(selvage.KindDenied, "nobody suspends themselves; ask somebody else")
	}
	err = net.UpdateUser(r.Context(), r.actor, u.ID, func(u *selvage.User) { b.apply(u) })
	if err != nil {
		return nil, err
	}
	if b.Suspended != nil && *b.Suspended {
		// Sessions of suspended users are refused anyway; now they end for good.
		err := net.Update(r.Context(), r.actor, func(tx *netmap.Tx) error {
			_, err := identity.EndSessions(tx, u.ID)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	v := net.View()
	if u = v.User(u.ID); u == nil {
		return nil, selvage.Errorf(selvage.KindNotFound, "the user is no longer there")
	}
	return userOf(u, devices(v)[u.ID]), nil
}

func (b *UserChange) apply(u *selvage.User) {
	if b.Login != nil {
		u.Login = *b.Login
	}
	if b.DisplayName != nil {
		u.DisplayName = *b.DisplayName
	}
	if b.Role != nil {
		u.Role = *b.Role
	}
	if b.Suspended != nil {
		u.Suspended = *b.Suspended
	}
}

// mayGive checks whether the actor may give the user the role.
func (r *request) mayGive(u *selvage.User, role selvage.Role) error {
	if _, err := selvage.ParseRole(string(role)); err != nil {
		return err
	}
	if r.actor.User == u.ID && r.actor.Role != selvage.RoleOwner {
		return selvage.Errorf(selvage.KindDenied, "nobody changes their own role; ask somebody else")
	}
	if err := authz.AllowOver(r.actor, authz.UserRole, u.Role); err != nil {
		return err
	}
	return authz.AllowOver(r.actor, authz.UserRole, role)
}

func deleteUser(r *request) (any, error) {
	net, u, err := r.user(authz.UserWrite)
	if err != nil {
		return nil, err
	}
	if r.actor.User == u.ID {
		return nil, selvage.Errorf(selvage.KindDenied, "nobody deletes themselves; ask somebody else")
	}
	return done(), net.DeleteUser(r.Context(), r.actor, u.ID)
}

// createLink makes a one-time link. It lets whoever has it be the user, so it takes
// power over the user's role.
func createLink(r *request) (any, error) {
	net, u, err := r.user(authz.UserWrite)
	if err != nil {
		return nil, err
	}
	if r.s.opts.URL == nil {
		return nil, missing("make sign-in links")
	}
	var secret string
	var link *selvage.Link
	err = net.Update(r.Context(), r.actor, func(tx *netmap.Tx) (err error) {
		secret, link, err = identity.NewLink(tx, tx.Now, u.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	url := strings.TrimSuffix(r.s.opts.URL(), "/") + "/welcome/" + secret
	return Link{URL: url, User: u.Login, Expires: link.Expires}, nil
}
