package selvage

import (
	"encoding/json"
	"time"
)

// ActorKind says what sort of actor made a change.
type ActorKind string

// The kinds of actor.
const (
	ActorSystem ActorKind = "system" // the server itself: expiry, fail-over, approval by policy
	ActorLocal  ActorKind = "local"  // someone on the server's own socket
	ActorUser   ActorKind = "user"   // a signed-in user
	ActorToken  ActorKind = "token"  // an API token
	ActorNode   ActorKind = "node"   // a device, by its machine key
	ActorKey    ActorKind = "key"    // a device that joined with an auth key
)

// Actor is who asks for a change. It is an argument of every method that changes
// data, so that nobody can forget it.
type Actor struct {
	Kind ActorKind `json:"kind"`
	// ID is the user's, token's, node's or key's ID; empty for system and local.
	ID string `json:"id,omitempty"`
	// Name is for people who read the journal: a login, a node name.
	Name string `json:"name,omitempty"`
	// Address is where the request came from, if it came over a network.
	Address string `json:"address,omitempty"`
	// Role is what decides; it is not written down. System and local act as owner.
	Role Role `json:"-"`
	// User is set for users and tokens. It is not written down.
	User UserID `json:"-"`
}

// System is the server acting on its own.
func System() Actor { return Actor{Kind: ActorSystem, Role: RoleOwner} }

// Local is someone with access to the server's socket.
func Local() Actor { return Actor{Kind: ActorLocal, Role: RoleOwner} }

// Entry is one row of the journal: one change of configuration.
type Entry struct {
	Tailnet TailnetID `json:"tailnet"`
	// Seq counts the changes of the tailnet from 1, without gaps.
	Seq  int64     `json:"seq"`
	Time time.Time `json:"time"`
	Actor
	// Action is what was done: "node.create", "policy.set"; see the list in journal.
	Action string `json:"action"`
	// Target names what it was done to: "node:12", "policy", "user:3".
	Target string `json:"target"`
	// Old and New are the target before and after as JSON, null where there was
	// or is none. Secrets are never part of them.
	Old json.RawMessage `json:"old,omitempty"`
	New json.RawMessage `json:"new,omitempty"`
	// Hash is SHA-256 over the previous entry's hash and this one's fields.
	Hash []byte `json:"hash"`
}
