// Package certs provides the certificates of the server's public host names: from
// an ACME authority such as Let's Encrypt, or from a pair of files.
//
// It owns obtaining, renewing and reloading them, the answers to the authority's
// challenges, and what the plain HTTP port serves beside them (Manager.HTTPHandler).
// It listens nowhere, and it knows nothing of the certificates of relays without a
// public name (those are relay.Pinned) nor of those that clients get for
// themselves.
//
// Read manager.go first.
package certs
