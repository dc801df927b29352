// Package selvage holds the nouns of Selvage, a self-hosted zero-trust network
// server: tailnets, nodes, users, keys, settings, the actor of a change and the
// entry of the journal, and the kinds of error that every part reports. It does
// no I/O and imports none of the other packages.
//
// Start here. One binary, cmd/selvage, is the coordination server of a WireGuard
// mesh that the official Tailscale clients join. The parts are in internal/, and
// a part imports only parts below it (internal/arch tests that):
//
//	cmd/selvage           the command line: serve, demo, relay, node, user, key, ...
//	internal/server       wiring: a config.Config in, a running program out
//	internal/control      the clients' protocol: Noise, register, map, requests to nodes
//	internal/control/mapresp  a view of the network -> the message one client gets; pure
//	internal/relay        DERP and STUN, the region map, who may use a relay
//	internal/dns          MagicDNS settings -> what clients are told; pure
//	internal/console      the pages that people see
//	internal/api/admin    the HTTP API that the command line speaks
//	internal/netmap       the network in memory: one writer, immutable views, deltas
//	internal/identity     secrets, one-time links, sessions and API tokens
//	internal/journal      who changed what, in the same transaction as the change
//	internal/store        the only SQL: SQLite and PostgreSQL
//	internal/policy       the policy file: parse, check, compile; pure
//	internal/authz        may this actor do this; pure
//	internal/config       file, environment and flags -> one Config value
//
// Five flows explain most of the program.
//
// A device joins: control/register.go proves the machine key and the auth key,
// netmap.Net.Update decides name and address, store writes node and journal entry
// in one transaction, the model publishes a new view, and the map sessions of
// those who may see the node wake up.
//
// A client changes its endpoint: control/mapsession.go hands the facts to
// netmap.Net.Report, which changes memory at once; SQL follows within five
// seconds, in batches.
//
// The policy changes: policy.Parse checks it, netmap.Net.Update stores it, every
// node is classed anew, and a session sends only what differs for its node.
//
// A session sends a message: control waits on its netmap.Watch, compares the view
// it sent last with the newest one (netmap.View.Since), mapresp encodes the difference.
//
// The server asks a node something: control/c2n.go puts a request with a random
// token on the node's session and waits, with a deadline, for the node to post
// the answer.
package selvage
