// Package sample has policies to start from.
package sample

// Sample is a policy to start from.
type Sample struct {
	Name  string // a word for lists and command lines
	About string // one sentence
	Text  string
}

// All returns the policies, the one of a new network first.
func All() []Sample {
	return []Sample{
		{"own-devices", "Everybody reaches their own devices, and nobody else's.", ownDevices},
		{"open", "Every device reaches every other.", open},
		{"servers", "People reach their own devices and the servers' web and SSH ports; servers reach nobody.", servers},
		{"exit-nodes", "As own-devices, and everybody may use exit nodes, which need no approval if they have the tag.", exitNodes},
		{"subnet", "As own-devices, and a group reaches the office network behind routers.", subnet},
	}
}

const ownDevices = `// The policy of this network: who may reach what. Without a rule, nothing is
// reachable. Comments and trailing commas are fine. What is not understood is
// refused with line and column, so a mistake never opens anything.
{
	// People by name, for use in rules as "group:...".
	"groups": {
		// "group:ops": ["alice@example.com", "bob@example.com"],
	},

	// Tags are for devices that belong to a purpose and not to a person, such as
	// servers. Each needs somebody who may give it.
	"tagOwners": {
		// "tag:server": ["group:ops"],
	},

	"grants": [
		// Everybody reaches their own devices, on every port.
		{"src": ["autogroup:member"], "dst": ["autogroup:self"], "ip": ["*"]},

		// {"src": ["group:ops"], "dst": ["tag:server"], "ip": ["tcp:22", "tcp:443"]},
	],

	// Claims that must hold, or the policy is refused.
	"tests": [
		// {"src": "alice@example.com", "accept": ["tag:server:22"], "deny": ["tag:server:25"]},
	],
}
`

const open = `{
	"grants": [
		{"src": ["*"], "dst": ["*"], "ip": ["*"]},
	],
}
`

const servers = `{
	"tagOwners": {
		// Administrators may give any tag.
		"tag:server": [],
	},
	"grants": [
		{"src": ["autogroup:member"], "dst": ["autogroup:self"], "ip": ["*"]},
		{"src": ["autogroup:member"], "dst": ["tag:server"], "ip": ["tcp:22", "tcp:80", "tcp:443", "icmp:*"]},
	],
	"tests": [
		{"src": "tag:server", "deny": ["autogroup:member:22"]},
	],
}
`

const exitNodes = `{
	"tagOwners": {
		"tag:exit": [],
	},
	"autoApprovers": {
		"exitNode": ["tag:exit"],
	},
	"grants": [
		{"src": ["autogroup:member"], "dst": ["autogroup:self"], "ip": ["*"]},
		{"src": ["autogroup:member"], "dst": ["autogroup:internet"], "ip": ["*"]},
	],
}
`

const subnet = `{
	"groups": {
		"group:staff": [],
	},
	"tagOwners": {
		"tag:router": [],
	},
	"hosts": {
		"office": "192.168.1.0/24",
	},
	"autoApprovers": {
		"routes": {"192.168.1.0/24": ["tag:router"]},
	},
	"grants": [
		{"src": ["autogroup:member"], "dst": ["autogroup:self"], "ip": ["*"]},
		{"src": ["group:staff"], "dst": ["office"], "ip": ["*"]},
	],
}
`
