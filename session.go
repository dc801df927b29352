package selvage

import "time"

// Link is a one-time link that signs a user in. Only the hash of its secret is kept.
type Link struct {
	Hash    string // SHA-256 of the secret, hex
	Tailnet TailnetID
	User    UserID
	Created time.Time
	Expires time.Time
	Used    time.Time // zero if it was not used yet
}

// Session is a signed-in browser. Only the hash of its cookie is kept.
type Session struct {
	Hash    string // SHA-256 of the cookie's value, hex
	Tailnet TailnetID
	User    UserID
	Created time.Time
	Seen    time.Time // last request, to the minute
	Expires time.Time
	Address string
	Agent   string // the browser's User-Agent, cut to 200 bytes
}
