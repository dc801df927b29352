// Package relay carries packets between clients that reach each other in no other
// way (DERP), tells clients their address (STUN), and decides which relays exist
// and who may use ours.
//
// It owns the relay that is part of the server (Server, STUN), the same on a host
// of its own (Standalone), the map of all relays that each client gets (Regions),
// and the two small protocols between relays and the server (VerifyHandler,
// AnnounceHandler). It knows no tailnets: who is a client is asked of an Admit
// function, and where relays are stored is the caller's business.
//
// Read server.go first, then regions.go. Locks: each type has one, and none is
// held while another is taken.
//
// Packets that pass a relay are encrypted from client to client. So TLS to a relay
// hides who talks to whom and gets through networks that let nothing else out, but
// the secrecy of what is said doesn't hang on it. That's why a certificate that
// clients can't verify is acceptable for the oldest of them; see Pinned.
package relay
