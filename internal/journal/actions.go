package journal

// The actions: what can be done, as Change.Action and Entry.Action. The part before
// the point is the kind of the target.
const (
	// A tailnet was made. It stands in the journal of store.ServerTailnet.
	TailnetCreate = "tailnet.create"
	// The server was started although this journal had entries from the future; Old is
	// the newest of them. Target "server".
	ClockAccept = "clock.accept"
	// Settings other than those of DNS were changed. Target "settings".
	SettingsSet = "settings.set"
	// DNS settings were changed. Target "dns".
	DNSSet = "dns.set"

	// Users. Target "user:ID".
	UserCreate = "user.create"
	UserUpdate = "user.update" // role, suspension, names
	UserDelete = "user.delete"

	// Devices. Target "node:ID".
	NodeCreate  = "node.create"  // joined; the use of a single-use key is part of it
	NodeUpdate  = "node.update"  // what none of the others names: expiry settings, owner
	NodeLogin   = "node.login"   // signed in again, with a new key
	NodeRename  = "node.rename"  // by a person, or after its host name
	NodeTag     = "node.tag"     // tags were given or taken
	NodeApprove = "node.approve" // may take part now
	NodeExpire  = "node.expire"  // the key was ended before its time
	NodeLogout  = "node.logout"  // by the device itself
	NodeDelete  = "node.delete"  // by a person, or because it was ephemeral
	NodeRoutes  = "node.routes"  // routes were approved or withdrawn

	// Auth keys. Target "key:ID".
	KeyCreate = "key.create"
	KeyRevoke = "key.revoke"
	// API tokens. Target "token:ID".
	TokenCreate = "token.create"
	TokenDelete = "token.delete"

	// A new revision of the policy is in force. Target "policy".
	PolicySet = "policy.set"

	// Relays, in the journal of store.ServerTailnet. Target "relay:NAME".
	RelayCreate = "relay.create"
	RelayDelete = "relay.delete"

	// A person had a device asked for something. Target "node:ID".
	NodeRequest = "c2n.request"

	// Browsers that signed in and out, and the links that let them in. Target "user:ID".
	SessionCreate = "session.create"
	SessionEnd    = "session.end"
	LinkCreate    = "link.create"
	LinkUse       = "link.use"
)

// Actions returns all actions, for filters and their completion.
func Actions() []string {
	return []string{
		TailnetCreate, ClockAccept, SettingsSet, DNSSet,
		UserCreate, UserUpdate, UserDelete,
		NodeCreate, NodeUpdate, NodeLogin, NodeRename, NodeTag, NodeApprove, NodeExpire, NodeLogout, NodeDelete, NodeRoutes,
		KeyCreate, KeyRevoke, TokenCreate, TokenDelete,
		PolicySet, RelayCreate, RelayDelete, NodeRequest,
		SessionCreate, SessionEnd, LinkCreate, LinkUse,
	}
}
