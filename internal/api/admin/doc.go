// Package admin is the HTTP API that the command line speaks: JSON under [Prefix].
//
// It owns the shapes of the JSON (shapes.go, shared with the command line), who the
// actor of a request is, and the mapping of errors to statuses. What is true and
// what changes mean is netmap's, identity's and journal's; who may is authz's. It
// must not import other front doors: what it needs of them comes in [Options].
//
// Requests come over the server's own socket, whose users are the operators of the
// server, or over TCP with an API token, which acts for a user of one tailnet. Read
// server.go first, then routes.go.
package admin
