// Package identity knows who somebody is: it makes and checks auth keys, API tokens,
// one-time links, browser sessions and relay tokens, and turns a session or token
// into the actor of a change.
//
// It owns the form of these secrets, how long links and sessions last, and their
// entries in the journal. It must not know the network in memory (netmap), HTTP, or
// what an actor may do (authz). What changes data takes a [Tx], which netmap.Tx is,
// so that the change and its journal entry are one transaction.
//
// Read secret.go first. Only hashes of secrets are stored, and no error names one.
package identity
