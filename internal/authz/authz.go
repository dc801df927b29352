// Package authz answers one question: may this actor do this? It owns the table of
// roles and actions and the rules about acting on other people. It is pure: it looks
// nothing up, and who the actor is has been proven before (see identity).
//
// Three questions are put to it: [Allow] for what concerns the tailnet, [AllowOwn]
// for a device of the actor's own, and [AllowOver] for what is done to a user.
package authz

import (
	"strings"

	"selvage"
)

// Action is something that can be done.
type Action string

// The actions on a tailnet.
const (
	StatusRead Action = "status.read" // numbers and health

	NodeRead      Action = "node.read"
	NodeWrite     Action = "node.write"      // rename, end the key, delete
	NodeRegister  Action = "node.register"   // connect a device that waits
	NodeTag       Action = "node.tag"        // give and take tags
	NodeApprove   Action = "node.approve"    // let a device take part
	NodeKeyExpiry Action = "node.key-expiry" // let a key last longer, or for ever
	NodeRequest   Action = "node.request"    // have a device answer: ping and others

	RouteRead  Action = "route.read"
	RouteWrite Action = "route.write" // approve and withdraw

	UserRead  Action = "user.read"
	UserWrite Action = "user.write" // create, suspend, delete, make sign-in links
	UserRole  Action = "user.role"

	KeyRead  Action = "key.read"
	KeyWrite Action = "key.write" // make auth keys of one's own, revoke any
	KeyFor   Action = "key.for"   // make auth keys for other users

	TokenRead  Action = "token.read"
	TokenWrite Action = "token.write" // make API tokens of one's own, delete any
	TokenFor   Action = "token.for"   // make API tokens for other users

	PolicyRead  Action = "policy.read"
	PolicyWrite Action = "policy.write"

	DNSRead  Action = "dns.read"
	DNSWrite Action = "dns.write"

	SettingsRead  Action = "settings.read"
	DeviceSetting Action = "settings.device"  // key expiry, ephemeral devices, approval
	NetSetting    Action = "settings.network" // ranges, domain, map caching, client logs

	JournalRead Action = "journal.read"
)

// The actions on the whole server. Whether the actor's tailnet is the one whose
// people run the server is for the caller to check; see ServerWide.
const (
	TailnetRead   Action = "tailnet.read"
	TailnetCreate Action = "tailnet.create"
	RelayRead     Action = "relay.read"
	RelayWrite    Action = "relay.write"
	ConfigRead    Action = "config.read"
	Backup        Action = "backup" // holds all secrets of the server
	// ServerJournalRead reads the journal of what concerns the whole server.
	ServerJournalRead Action = "journal.read-server"
)

// rule is what the table says of an action.
type rule struct {
	what  string // completes "may not ..."
	roles []selvage.Role
}

// Sets of roles that several actions share.
func everyoneButMembers() []selvage.Role {
	return []selvage.Role{
		selvage.RoleOwner, selvage.RoleAdmin, selvage.RoleNetworkAdmin, selvage.RoleITAdmin,
		selvage.RoleBillingAdmin, selvage.RoleAuditor,
	}
}

func operators() []selvage.Role {
	return []selvage.Role{selvage.RoleOwner, selvage.RoleAdmin, selvage.RoleNetworkAdmin, selvage.RoleITAdmin}
}

func operatorsAndAuditors() []selvage.Role { return append(operators(), selvage.RoleAuditor) }

func forNetwork() []selvage.Role {
	return []selvage.Role{selvage.RoleOwner, selvage.RoleAdmin, selvage.RoleNetworkAdmin}
}

func forPeople() []selvage.Role {
	return []selvage.Role{selvage.RoleOwner, selvage.RoleAdmin, selvage.RoleITAdmin}
}

func admins() []selvage.Role { return []selvage.Role{selvage.RoleOwner, selvage.RoleAdmin} }

func owner() []selvage.Role { return []selvage.Role{selvage.RoleOwner} }

// ruleOf returns the rule for an action. Unknown actions are nobody's.
func ruleOf(a Action) rule {
	switch a {
	case StatusRead:
		return rule{"see the status", everyoneButMembers()}
	case NodeRead:
		return rule{"see other people's devices", everyoneButMembers()}
	case NodeWrite:
		return rule{"change other people's devices", forPeople()}
	case NodeRegister:
		return rule{"connect devices for other people", forPeople()}
	case NodeTag:
		return rule{"give devices tags", forPeople()}
	case NodeApprove:
		return rule{"approve devices", forPeople()}
	case NodeKeyExpiry:
		return rule{"change when keys of devices expire", forPeople()}
	case NodeRequest:
		return rule{"have devices answer requests", operators()}
	case RouteRead:
		return rule{"see routes", everyoneButMembers()}
	case RouteWrite:
		return rule{"approve routes", forNetwork()}
	case UserRead:
		return rule{"see users", everyoneButMembers()}
	case UserWrite:
		return rule{"change users", forPeople()}
	case UserRole:
		return rule{"change roles", forPeople()}
	}
	return secretRule(a)
}

func secretRule(a Action) rule {
	switch a {
	case KeyRead:
		return rule{"see auth keys", operatorsAndAuditors()}
	case KeyWrite:
		return rule{"make or revoke auth keys", operators()}
	case KeyFor:
		// Whoever has a key of somebody is taken for them by the policy.
		return rule{"make auth keys for other people", admins()}
	case TokenRead:
		return rule{"see API tokens", operatorsAndAuditors()}
	case TokenWrite:
		return rule{"make or delete API tokens", operators()}
	case TokenFor:
		return rule{"make API tokens for other people", admins()}
	}
	return settingRule(a)
}

func settingRule(a Action) rule {
	switch a {
	case PolicyRead:
		return rule{"see the policy", everyoneButMembers()}
	case PolicyWrite:
		return rule{"change the policy", forNetwork()}
	case DNSRead:
		return rule{"see DNS settings", everyoneButMembers()}
	case DNSWrite:
		return rule{"change DNS settings", forNetwork()}
	case SettingsRead:
		return rule{"see settings", operatorsAndAuditors()}
	case DeviceSetting:
		return rule{"change settings of devices", forPeople()}
	case NetSetting:
		return rule{"change settings of the network", forNetwork()}
	case JournalRead:
		return rule{"read the journal", everyoneButMembers()}
	}
	return serverRule(a)
}

func serverRule(a Action) rule {
	switch a {
	case TailnetRead:
		return rule{"list tailnets", owner()}
	case TailnetCreate:
		return rule{"create tailnets", owner()}
	case RelayRead:
		return rule{"see relays", operatorsAndAuditors()}
	case RelayWrite:
		return rule{"add or remove relays", forNetwork()}
	case ConfigRead:
		return rule{"see the server's configuration", operatorsAndAuditors()}
	case Backup:
		return rule{"make a backup", owner()}
	case ServerJournalRead:
		return rule{"read the server's journal", operatorsAndAuditors()}
	}
	return rule{what: "do this"}
}

// Actions lists all actions.
func Actions() []Action {
	return []Action{
		StatusRead, NodeRead, NodeWrite, NodeRegister, NodeTag, NodeApprove, NodeKeyExpiry, NodeRequest,
		RouteRead, RouteWrite, UserRead, UserWrite, UserRole, KeyRead, KeyWrite, KeyFor,
		TokenRead, TokenWrite, TokenFor, PolicyRead, PolicyWrite, DNSRead, DNSWrite,
		SettingsRead, DeviceSetting, NetSetting, JournalRead,
		TailnetRead, TailnetCreate, RelayRead, RelayWrite, ConfigRead, Backup, ServerJournalRead,
	}
}

// ServerWide reports whether an action concerns the whole server and not one tailnet.
// A role in some tailnet is not enough for those: the actor must be on the server's
// socket, or of its first tailnet, whose people run the server.
func ServerWide(a Action) bool { return serverRule(a).roles != nil }

// Allow returns nil if the actor may do the action, or an error that says who may.
func Allow(actor selvage.Actor, a Action) error {
	r := ruleOf(a)
	if has(r.roles, actor.Role) {
		return nil
	}
	if actor.Role == "" {
		return selvage.Errorf(selvage.KindDenied, "a %s may not %s", actorWord(actor), r.what)
	}
	return selvage.Errorf(selvage.KindDenied, "the role %s may not %s; ask %s", actor.Role, r.what, list(r.roles))
}

// AllowOwn is Allow for something that is done to a device of the given user, or to
// become one: everybody may see, rename, end, delete and connect their own.
func AllowOwn(actor selvage.Actor, a Action, of selvage.UserID) error {
	if of != 0 && actor.User == of && actor.Role != "" {
		switch a {
		case NodeRead, NodeWrite, NodeRegister:
			return nil
		}
	}
	return Allow(actor, a)
}

// AllowOver is Allow for something that is done to a user, or in a user's name, who
// has the given role. Whoever can sign in as somebody is them, so nobody has power
// over a role that may do what their own may not. Roles that are given count the
// same, so ask about the old role and the new one.
func AllowOver(actor selvage.Actor, a Action, role selvage.Role) error {
	if err := Allow(actor, a); err != nil {
		return err
	}
	if mighty := over(role); !has(mighty, actor.Role) {
		return selvage.Errorf(selvage.KindDenied, "the role %s has no power over users with the role %s; ask %s", actor.Role, role, list(mighty))
	}
	return nil
}

// over returns the roles that include the given one.
func over(role selvage.Role) []selvage.Role {
	switch role {
	case selvage.RoleOwner:
		return owner()
	case selvage.RoleAdmin, selvage.RoleNetworkAdmin:
		return admins()
	case selvage.RoleITAdmin, selvage.RoleBillingAdmin, selvage.RoleAuditor, selvage.RoleMember:
		return forPeople()
	}
	return owner() // what is not known is not given away
}

func has(roles []selvage.Role, role selvage.Role) bool {
	for _, r := range roles {
		if r == role {
			return true
		}
	}
	return false
}

func actorWord(actor selvage.Actor) string {
	if actor.Kind == "" {
		return "stranger"
	}
	return string(actor.Kind)
}

// list names roles: "an owner, admin or it-admin".
func list(roles []selvage.Role) string {
	if len(roles) == 0 {
		return "nobody"
	}
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	if len(names) == 1 {
		return "an " + names[0]
	}
	return "an " + strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}
