// Package control speaks the official clients' control protocol: the Noise
// transport, registration, map sessions and requests to nodes.
//
// It owns connections, sessions, registrations that wait for a person, and the
// table of requests to nodes that wait for an answer. What is true about the network
// is netmap's; how it looks in a message is mapresp's; who may do what is decided by
// the machine key that the transport proves, never by a field of a request.
//
// Read noise.go (the connection), register.go (who is let in), map.go (which kind of
// map request) and session.go (what a session sends), in this order. The protocol is
// documented in the client's module, tailscale.com: tailcfg has the messages,
// control/controlclient the other side.
package control
