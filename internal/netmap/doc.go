// Package netmap is the network in memory. It owns the nodes, users, auth keys,
// settings and the policy in force of each tailnet, who is online, and which
// router serves which route.
//
// Each tailnet is a [Net] with one writer at a time and any number of readers.
// Configuration changes by [Net.Update], in one order: take the tailnet's turn, bring
// memory up to the journal's head, decide, write the database and the journal in one
// transaction, change memory, tell the sessions. What devices report of themselves
// ([Net.Report]) and presence ([Net.Watch]) change memory at once, do not wait for a
// turn, and are saved behind, at most [FlushInterval] later.
//
// Readers take a [View]: immutable, one atomic load, safe to keep. A map session
// keeps the view that it sent last and asks [View.Since] what differs for its node.
// A view shares all it can with the one before (see trie.go), and what two of them
// don't share is what differs, so that a difference costs what changed.
//
// Several servers may run over one database. The number of a tailnet's last journal
// entry tells whether memory is behind; then the tailnet is read anew (reload.go).
//
// Lock order: the turn, then the database, Net.mu, and last Hub.mu or watchers.mu.
// None is held while a reader works.
//
// The package knows nothing of the clients' wire format (see control/mapresp), of
// HTTP, or of SQL (see store). Read view.go first, then net.go, changes.go, edit.go.
package netmap
