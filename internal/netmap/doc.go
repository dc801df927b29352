// Package netmap is the network in memory. It owns the nodes, users, auth keys,
// settings and the policy in force of each tailnet, who is online, and which
// router serves which route.
//
// Each tailnet is a [Net] with one writer at a time and any number of readers.
// A writer holds Net.mu and works in one order: decide, write the database and the
// journal in one transaction, change memory, tell the sessions ([Net.Update]).
// What devices report of themselves ([Net.Report]) and presence ([Net.Watch])
// change memory at once and are saved behind, at most [FlushInterval] later.
//
// Readers take a [View]: immutable, one atomic load, safe to keep. A map session
// keeps the view that it sent last and asks [View.Since] what differs for its node.
// A view shares all it can with the one before, and the ring of recent changes
// tells which nodes to look at, so that a difference costs what changed.
//
// Lock order: Net.mu, then Hub.mu, then watchers.mu or ring.mu. None is held while
// a reader works.
//
// The package knows nothing of the clients' wire format (see control/mapresp), of
// HTTP, or of SQL (see store). Read view.go first, then net.go.
package netmap
