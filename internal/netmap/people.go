package netmap

import (
	"slices"
	"strings"

	"selvage"
	"selvage/internal/policy"
)

// people are the users of a view. It is a persistent value: two of them are equal
// only if nobody changed between them.
type people struct {
	byID    trie[*selvage.User]
	byLogin textMap[*selvage.User] // by login in lower case
}

func newPeople(users []*selvage.User) people {
	var p people
	for _, u := range users {
		p = p.with(u)
	}
	return p
}

func (p people) user(id selvage.UserID) *selvage.User { return p.byID.at(uint64(id)) }

func (p people) login(login string) *selvage.User { return p.byLogin.at(strings.ToLower(login)) }

// with returns people with u, new or in the place of who had the ID.
func (p people) with(u *selvage.User) people {
	p = p.without(u.ID)
	p.byID = p.byID.set(uint64(u.ID), u)
	p.byLogin = p.byLogin.set(strings.ToLower(u.Login), u)
	return p
}

func (p people) without(id selvage.UserID) people {
	old := p.user(id)
	if old == nil {
		return p
	}
	p.byID = p.byID.set(uint64(id), nil)
	if p.login(old.Login) == old { // another may have taken the login over
		p.byLogin = p.byLogin.set(strings.ToLower(old.Login), nil)
	}
	return p
}

// changed returns people with the changes; nil stands for who is gone.
func (p people) changed(users map[selvage.UserID]*selvage.User) people {
	for id, u := range users {
		if u == nil {
			p = p.without(id)
		}
	}
	for _, u := range users {
		if u != nil {
			p = p.with(u)
		}
	}
	return p
}

// list returns all users, by ID.
func (p people) list() []*selvage.User { return slices.Collect(p.byID.all) }

// persons returns what the policy may know of the users.
func (p people) persons() []policy.Person {
	var persons []policy.Person
	for u := range p.byID.all {
		persons = append(persons, person(u))
	}
	return persons
}

func person(u *selvage.User) policy.Person {
	return policy.Person{ID: u.ID, Login: u.Login, Role: u.Role}
}

// samePersons reports whether policies see the same people after the changes.
func (p people) samePersons(users map[selvage.UserID]*selvage.User) bool {
	for id, u := range users {
		old := p.user(id)
		if (old == nil) != (u == nil) || old != nil && person(old) != person(u) {
			return false
		}
	}
	return true
}

// owners returns how many users may act as owners.
func (p people) owners() int {
	count := 0
	for u := range p.byID.all {
		if activeOwner(u) {
			count++
		}
	}
	return count
}

func activeOwner(u *selvage.User) bool { return u.Role == selvage.RoleOwner && !u.Suspended }
