package authz

import (
	"os"
	"slices"
	"strings"
	"testing"

	"selvage"
)

// matrix reads testdata/matrix.txt: for each action and role, whether it is allowed.
func matrix(t *testing.T) (roles []selvage.Role, allowed map[Action]map[selvage.Role]bool) {
	t.Helper()
	text, err := os.ReadFile("testdata/matrix.txt")
	if err != nil {
		t.Fatal(err)
	}
	allowed = map[Action]map[selvage.Role]bool{}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "#":
		case words[0] == "action":
			for _, w := range words[1:] {
				roles = append(roles, selvage.Role(strings.TrimPrefix(w, "none")))
			}
		case len(words) != len(roles)+1:
			t.Fatalf("line %q has not %d columns", line, len(roles)+1)
		default:
			row := map[selvage.Role]bool{}
			for i, w := range words[1:] {
				if w != "y" && w != "-" {
					t.Fatalf("line %q has %q", line, w)
				}
				row[roles[i]] = w == "y"
			}
			allowed[Action(words[0])] = row
		}
	}
	return roles, allowed
}

func TestMatrix(t *testing.T) {
	roles, allowed := matrix(t)
	if want := append(selvage.Roles(), ""); !slices.Equal(roles, want) {
		t.Fatalf("the table has the roles %q, want %q", roles, want)
	}
	if len(allowed) != len(Actions()) {
		t.Errorf("the table has %d actions, there are %d", len(allowed), len(Actions()))
	}
	for _, a := range Actions() {
		row, ok := allowed[a]
		if !ok {
			t.Errorf("action %s is not in the table", a)
		}
		for _, role := range roles {
			actor := selvage.Actor{Kind: selvage.ActorUser, User: 7, Role: role}
			err := Allow(actor, a)
			if (err == nil) != row[role] || err != nil && !selvage.Is(err, selvage.KindDenied) {
				t.Errorf("%s, %q: got %v, want allowed: %v", a, role, err, row[role])
			}
		}
	}
}

func TestServerItself(t *testing.T) {
	for _, a := range Actions() {
		if err := Allow(selvage.Local(), a); err != nil {
			t.Errorf("on the socket: %v", err)
		}
		if err := Allow(selvage.System(), a); err != nil {
			t.Errorf("the server itself: %v", err)
		}
	}
}

func TestUnknownAction(t *testing.T) {
	if err := Allow(selvage.Local(), "node.explode"); !selvage.Is(err, selvage.KindDenied) {
		t.Errorf("got %v", err)
	}
	if ServerWide("node.explode") || ServerWide(NodeRead) || !ServerWide(Backup) {
		t.Error("ServerWide is wrong")
	}
}

func TestMessages(t *testing.T) {
	for _, tt := range []struct {
		name  string
		actor selvage.Actor
		a     Action
		want  string
	}{
		{"one role may", selvage.Actor{Role: selvage.RoleAdmin}, Backup, "the role admin may not make a backup; ask an owner"},
		{"several may", selvage.Actor{Role: selvage.RoleAuditor}, PolicyWrite, "the role auditor may not change the policy; ask an owner, admin or network-admin"},
		{"a device", selvage.Actor{Kind: selvage.ActorNode}, NodeRead, "a node may not see other people's devices"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := Allow(tt.actor, tt.a); err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestOwnDevices(t *testing.T) {
	ann := selvage.Actor{Kind: selvage.ActorUser, User: 7, Role: selvage.RoleMember}
	own := []Action{NodeRead, NodeWrite, NodeRegister}
	for _, a := range Actions() {
		if err := AllowOwn(ann, a, 7); (err == nil) != slices.Contains(own, a) {
			t.Errorf("%s on an own device: %v", a, err)
		}
		if AllowOwn(ann, a, 8) == nil {
			t.Errorf("%s on another's device is allowed", a)
		}
	}
	// Tagged devices have no user, and neither has a device as an actor.
	if AllowOwn(selvage.Actor{Kind: selvage.ActorNode}, NodeWrite, 0) == nil {
		t.Error("a device without a user owns what has no user")
	}
	if AllowOwn(selvage.Actor{Kind: selvage.ActorUser, User: 7}, NodeWrite, 7) == nil {
		t.Error("a user without a role is allowed")
	}
}

// powers reads testdata/over.txt: for each role, whom it has power over.
func powers(t *testing.T) map[selvage.Role][]selvage.Role {
	t.Helper()
	text, err := os.ReadFile("testdata/over.txt")
	if err != nil {
		t.Fatal(err)
	}
	over := map[selvage.Role][]selvage.Role{}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		for _, w := range words[1:] {
			over[selvage.Role(words[0])] = append(over[selvage.Role(words[0])], selvage.Role(w))
		}
	}
	return over
}

func TestPowerOverUsers(t *testing.T) {
	over := powers(t)
	for _, actor := range selvage.Roles() {
		for _, target := range append(selvage.Roles(), "", "emperor") {
			a := selvage.Actor{Kind: selvage.ActorUser, User: 7, Role: actor}
			may := slices.Contains(over[actor], target) || actor == selvage.RoleOwner
			for _, action := range []Action{UserRole, UserWrite} {
				err := AllowOver(a, action, target)
				if (err == nil) != may || err != nil && !selvage.Is(err, selvage.KindDenied) {
					t.Errorf("%s: %s over %q: %v", action, actor, target, err)
				}
			}
		}
	}
}

// Power over a role never gives an action that the actor's own role has not.
func TestPowerGivesNothingNew(t *testing.T) {
	for _, actor := range selvage.Roles() {
		a := selvage.Actor{Kind: selvage.ActorUser, User: 7, Role: actor}
		for _, target := range selvage.Roles() {
			if AllowOver(a, UserWrite, target) != nil {
				continue
			}
			for _, action := range Actions() {
				if Allow(a, action) != nil && Allow(selvage.Actor{Role: target}, action) == nil {
					t.Errorf("%s has power over %s and gets %s by it", actor, target, action)
				}
			}
		}
	}
}
