package admin

import (
	"encoding/json"
	"net/netip"
	"time"

	"selvage"
)

// Prefix is where the API is mounted; each path begins with it.
const Prefix = "/api/selvage/v1"

// ErrorBody is the answer to a request that failed.
type ErrorBody struct {
	Error Error `json:"error"`
}

// Error says why a request failed.
type Error struct {
	// Kind is the name of a selvage.Kind.
	Kind    string `json:"kind"`
	Message string `json:"message"`
	// ID finds the cause of an internal error in the server's log.
	ID string `json:"id,omitempty"`
	// Problems are places in a policy, if it is the policy that is refused.
	Problems []Problem `json:"problems,omitempty"`
}

// Problem is one thing to say about a place in a policy.
type Problem struct {
	Line     int    `json:"line"`     // from 1; 0 if it is about the whole text
	Column   int    `json:"column"`   // in characters, from 1
	Severity string `json:"severity"` // "error" or "warning"
	Message  string `json:"message"`
	Fix      string `json:"fix,omitempty"`
}

// Version is what GET /version answers.
type Version struct {
	Version   string `json:"version"`
	Commit    string `json:"commit,omitempty"`
	Go        string `json:"go"`
	Tailscale string `json:"tailscale"` // the version of the client's code that the server is built on
}

// Status is what GET /status answers: how the server and one tailnet are.
type Status struct {
	Server  ServerStatus `json:"server"`
	Tailnet string       `json:"tailnet"`
	Domain  string       `json:"domain"`
	Nodes   NodeCounts   `json:"nodes"`
	Users   int          `json:"users"`
	// Keys is how many auth keys can be used now.
	Keys int `json:"keys"`
	// PolicyRevision is the one in force; 0 is the default policy.
	PolicyRevision int64 `json:"policyRevision"`
	// PolicyProblem says why a newer policy is not in force, or which tests of the one in
	// force no longer hold.
	PolicyProblem string `json:"policyProblem,omitempty"`
}

// NodeCounts are numbers of devices.
type NodeCounts struct {
	Total   int `json:"total"`
	Online  int `json:"online"`
	Expired int `json:"expired"`
	Waiting int `json:"waiting"` // for approval
}

// ServerStatus is what the server says of itself. Who may not see the server's
// configuration is told Version, URL and Started only.
type ServerStatus struct {
	Version  string    `json:"version"`
	URL      string    `json:"url"` // what clients log in to
	Started  time.Time `json:"started,omitzero"`
	Database string    `json:"database,omitempty"`
	// Listening are the addresses that it listens on.
	Listening []string `json:"listening,omitempty"`
	// Problems are what an operator should look at, one sentence each.
	Problems []string `json:"problems,omitempty"`
}

// Tailnet is one network of the server.
type Tailnet struct {
	ID      selvage.TailnetID `json:"id"`
	Name    string            `json:"name"`
	Domain  string            `json:"domain"`
	Created time.Time         `json:"created"`
	Nodes   int               `json:"nodes"`
	Users   int               `json:"users"`
}

// TailnetCreate is the body of POST /tailnets.
type TailnetCreate struct {
	Name string `json:"name"`
}

// Node is a device.
type Node struct {
	ID       selvage.NodeID `json:"id"`
	StableID string         `json:"stableID"`
	Name     string         `json:"name"`
	FQDN     string         `json:"fqdn"` // without a dot at the end
	User     string         `json:"user"` // login; empty if the device has tags
	Tags     []string       `json:"tags"`
	IPv4     netip.Addr     `json:"ipv4"`
	IPv6     netip.Addr     `json:"ipv6"`
	Online   bool           `json:"online"`
	// LastSeen is absent if the device was never connected.
	LastSeen time.Time `json:"lastSeen,omitzero"`
	Expired  bool      `json:"expired"`
	// KeyExpiry is absent if the key does not expire.
	KeyExpiry        time.Time        `json:"keyExpiry,omitzero"`
	Approved         bool             `json:"approved"`
	Ephemeral        bool             `json:"ephemeral"`
	OS               string           `json:"os"`
	ClientVersion    string           `json:"clientVersion"`
	Hostname         string           `json:"hostname"` // as the device reports it
	AdvertisedRoutes []netip.Prefix   `json:"advertisedRoutes"`
	ApprovedRoutes   []netip.Prefix   `json:"approvedRoutes"`
	PrimaryRoutes    []netip.Prefix   `json:"primaryRoutes"` // subnet routes that it serves now
	ExitNode         bool             `json:"exitNode"`      // serves as an exit node
	Endpoints        []netip.AddrPort `json:"endpoints"`
	HomeRelay        int              `json:"homeRelay"` // region; 0 if it has none
	Created          time.Time        `json:"created"`
	NodeKey          string           `json:"nodeKey"`
	MachineKey       string           `json:"machineKey"`
}

// NodeName is the body of POST /nodes/{node}/name. An empty name follows the host name
// that the device reports.
type NodeName struct {
	Name string `json:"name"`
}

// NodeTags is the body of POST /nodes/{node}/tags.
type NodeTags struct {
	Tags []string `json:"tags"`
}

// NodeKeyExpiry is the body of POST /nodes/{node}/key-expiry.
type NodeKeyExpiry struct {
	// At is when the key ends; absent is never.
	At time.Time `json:"at,omitzero"`
}

// NodeRegister is the body of POST /nodes/register: connect the device that waits
// with a code, as a device of a user or with tags.
type NodeRegister struct {
	Code string   `json:"code"`
	User string   `json:"user,omitempty"` // login; default: the actor, or the owner
	Tags []string `json:"tags,omitempty"`
}

// NodePing is the body of POST /nodes/{node}/ping: have a device ping another one.
type NodePing struct {
	To   string `json:"to"`             // name or address
	Kind string `json:"kind,omitempty"` // disco (default), TSMP, ICMP or peerapi
}

// Pong is the outcome of a ping.
type Pong struct {
	LatencySeconds float64 `json:"latencySeconds"`
	Endpoint       string  `json:"endpoint,omitempty"` // of the direct path
	Relay          string  `json:"relay,omitempty"`    // code of the region, if the path is not direct
	Error          string  `json:"error,omitempty"`    // why there was no answer
}

// User is a person in a tailnet.
type User struct {
	ID          selvage.UserID `json:"id"`
	Login       string         `json:"login"`
	DisplayName string         `json:"displayName,omitempty"`
	Role        selvage.Role   `json:"role"`
	Created     time.Time      `json:"created"`
	Pending     bool           `json:"pending"` // has not signed in yet
	Suspended   bool           `json:"suspended"`
	Nodes       int            `json:"nodes"`
}

// UserCreate is the body of POST /users.
type UserCreate struct {
	Login       string       `json:"login"`
	DisplayName string       `json:"displayName,omitempty"`
	Role        selvage.Role `json:"role,omitempty"` // default: member
}

// UserChange is the body of PATCH /users/{user}. What is absent stays.
type UserChange struct {
	Login       *string       `json:"login,omitempty"`
	DisplayName *string       `json:"displayName,omitempty"`
	Role        *selvage.Role `json:"role,omitempty"`
	Suspended   *bool         `json:"suspended,omitempty"`
}

// Link is a new one-time sign-in link.
type Link struct {
	URL     string    `json:"url"`
	User    string    `json:"user"`
	Expires time.Time `json:"expires"`
}

// Key is an auth key.
type Key struct {
	ID selvage.KeyID `json:"id"`
	// Key is the whole secret. It is only in the answer to its creation.
	Key         string    `json:"key,omitempty"`
	User        string    `json:"user"` // login; empty if nobody owns it
	Tags        []string  `json:"tags"`
	Reusable    bool      `json:"reusable"`
	Ephemeral   bool      `json:"ephemeral"`
	Preapproved bool      `json:"preapproved"`
	Description string    `json:"description"`
	Created     time.Time `json:"created"`
	Expires     time.Time `json:"expires,omitzero"`
	Revoked     time.Time `json:"revoked,omitzero"`
	Used        time.Time `json:"used,omitzero"` // last
	Uses        int       `json:"uses"`
	// Usable is whether a new device may join with it now.
	Usable bool `json:"usable"`
}

// KeyCreate is the body of POST /keys.
type KeyCreate struct {
	User        string   `json:"user,omitempty"` // login; default: the actor, or the owner
	Tags        []string `json:"tags,omitempty"`
	Reusable    bool     `json:"reusable,omitempty"`
	Ephemeral   bool     `json:"ephemeral,omitempty"`
	Preapproved bool     `json:"preapproved,omitempty"`
	Description string   `json:"description,omitempty"`
	// ExpirySeconds is how long it may be used; 0 is DefaultKeyLife.
	ExpirySeconds int64 `json:"expirySeconds,omitempty"`
}

// Token is an API token.
type Token struct {
	ID selvage.KeyID `json:"id"`
	// Token is the whole secret. It is only in the answer to its creation.
	Token       string    `json:"token,omitempty"`
	User        string    `json:"user"`
	Description string    `json:"description"`
	Created     time.Time `json:"created"`
	Expires     time.Time `json:"expires,omitzero"`
}

// TokenCreate is the body of POST /tokens.
type TokenCreate struct {
	User        string `json:"user,omitempty"` // login; default: the actor, or the owner
	Description string `json:"description,omitempty"`
	// ExpirySeconds is how long it may be used; 0 is DefaultTokenLife.
	ExpirySeconds int64 `json:"expirySeconds,omitempty"`
}

// Route is a route that a device advertises or is approved to serve.
type Route struct {
	Route      netip.Prefix   `json:"route"`
	Node       string         `json:"node"`
	NodeID     selvage.NodeID `json:"nodeID"`
	Advertised bool           `json:"advertised"`
	Approved   bool           `json:"approved"`
	// Primary is whether the device serves it now: of several that could, one does.
	// All exit nodes do.
	Primary bool `json:"primary"`
	Online  bool `json:"online"`
	// Exit is whether it is one of the two routes that make an exit node.
	Exit bool `json:"exit"`
}

// RouteChange is the body of POST /nodes/{node}/routes/approve and .../withdraw.
type RouteChange struct {
	// Routes are prefixes; an exit route stands for both.
	Routes []netip.Prefix `json:"routes"`
}

// DNS are the name settings of a tailnet.
type DNS struct {
	Domain        string              `json:"domain"`
	MagicDNS      bool                `json:"magicDNS"`
	Nameservers   []string            `json:"nameservers"`
	OverrideLocal bool                `json:"overrideLocal"`
	Split         map[string][]string `json:"split"`
	SearchPaths   []string            `json:"searchPaths"`
	Records       []selvage.DNSRecord `json:"records"`
}

// DNSChange is the body of PATCH /dns. What is absent stays; what is there replaces
// the whole part.
type DNSChange struct {
	MagicDNS      *bool                `json:"magicDNS,omitempty"`
	Nameservers   *[]string            `json:"nameservers,omitempty"`
	OverrideLocal *bool                `json:"overrideLocal,omitempty"`
	Split         *map[string][]string `json:"split,omitempty"`
	SearchPaths   *[]string            `json:"searchPaths,omitempty"`
	Records       *[]selvage.DNSRecord `json:"records,omitempty"`
}

// Settings are what is decided for a whole tailnet, but for names.
type Settings struct {
	Domain string       `json:"domain"`
	IPv4   netip.Prefix `json:"ipv4"`
	IPv6   netip.Prefix `json:"ipv6"`
	// KeyExpirySeconds is how long a key of a user's device lasts; 0 is for ever.
	KeyExpirySeconds        int64 `json:"keyExpirySeconds"`
	EphemeralTimeoutSeconds int64 `json:"ephemeralTimeoutSeconds"`
	DeviceApproval          bool  `json:"deviceApproval"`
	NetworkMapCaching       bool  `json:"networkMapCaching"`
	ClientLogs              bool  `json:"clientLogs"`
}

// SettingsChange is the body of PATCH /settings. What is absent stays.
type SettingsChange struct {
	Domain                  *string       `json:"domain,omitempty"`
	IPv4                    *netip.Prefix `json:"ipv4,omitempty"`
	IPv6                    *netip.Prefix `json:"ipv6,omitempty"`
	KeyExpirySeconds        *int64        `json:"keyExpirySeconds,omitempty"`
	EphemeralTimeoutSeconds *int64        `json:"ephemeralTimeoutSeconds,omitempty"`
	DeviceApproval          *bool         `json:"deviceApproval,omitempty"`
	NetworkMapCaching       *bool         `json:"networkMapCaching,omitempty"`
	ClientLogs              *bool         `json:"clientLogs,omitempty"`
}

// Policy is a policy and its revision. The answers that have it carry its ETag.
type Policy struct {
	Text string `json:"text"`
	// Revision counts the policies that the tailnet had; 0 is the default one.
	Revision int64     `json:"revision"`
	Created  time.Time `json:"created,omitzero"`
	Author   string    `json:"author,omitempty"`
	ETag     string    `json:"etag"`
	// Problem says why a newer policy is not in force.
	Problem string `json:"problem,omitempty"`
	// TestsFail says which tests of the policy in force no longer hold.
	TestsFail string    `json:"testsFail,omitempty"`
	Warnings  []Problem `json:"warnings,omitempty"`
}

// PolicyText is the body of PUT /policy, whose If-Match header may name the policy
// that is to be replaced, and of POST /policy/check.
type PolicyText struct {
	Text string `json:"text"`
}

// PolicyCheck is what POST /policy/check answers, also if the policy is refused.
type PolicyCheck struct {
	OK       bool      `json:"ok"`
	Problems []Problem `json:"problems"` // errors and warnings in the order of the text
}

// PolicyRevision is one policy that the tailnet had, without its text.
type PolicyRevision struct {
	Revision int64     `json:"revision"`
	Created  time.Time `json:"created"`
	Author   string    `json:"author"`
}

// Entry is one change in the journal. GET /journal/follow answers one on each line.
type Entry struct {
	Seq    int64           `json:"seq"`
	Time   time.Time       `json:"time"`
	Actor  Actor           `json:"actor"`
	Action string          `json:"action"`
	Target string          `json:"target"`
	Old    json.RawMessage `json:"old,omitempty"`
	New    json.RawMessage `json:"new,omitempty"`
	Hash   string          `json:"hash"` // hex
}

// Actor is who made a change.
type Actor struct {
	Kind    selvage.ActorKind `json:"kind"`
	ID      string            `json:"id,omitempty"`
	Name    string            `json:"name,omitempty"`
	Address string            `json:"address,omitempty"`
}

// Verification is what GET /journal/verify answers.
type Verification struct {
	OK      bool  `json:"ok"`
	Entries int64 `json:"entries"` // that are in order, from the first
	// Bad is the number of the first entry that is not, and Problem says why.
	Bad     int64  `json:"bad,omitempty"`
	Problem string `json:"problem,omitempty"`
	Head    string `json:"head"` // hash of the last good entry, hex
}

// Relay is a relay on a host of its own.
type Relay struct {
	Name   string `json:"name"`
	Region int    `json:"region"`
	// Token is the relay's secret. It is only in the answer to its creation.
	Token    string    `json:"token,omitempty"`
	Created  time.Time `json:"created"`
	Host     string    `json:"host,omitempty"`
	Port     int       `json:"port,omitempty"`
	STUNPort int       `json:"stunPort,omitempty"`
	Version  string    `json:"version,omitempty"`
	Seen     time.Time `json:"seen,omitzero"`
	Online   bool      `json:"online"`
}

// RelayCreate is the body of POST /relays.
type RelayCreate struct {
	Name string `json:"name"`
}
