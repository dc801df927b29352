package selvage

import "time"

// Relay is a relay (DERP and STUN) on a host of its own, run by `selvage relay`.
// Relays serve all tailnets of the server.
type Relay struct {
	Name   string `json:"name"`   // a DNS label, unique; also the region code
	Region int    `json:"region"` // region ID in the clients' DERP map, 901 to 999
	// Hash is the SHA-256 of the relay's token, in hex.
	Hash    string    `json:"-"`
	Created time.Time `json:"created"`
	// What the relay said when it last announced itself; Seen is zero if it never did.
	Host     string    `json:"host,omitempty"` // name or address that clients dial
	Port     int       `json:"port,omitempty"`
	STUNPort int       `json:"stunPort,omitempty"` // -1: no STUN
	CertHash string    `json:"certHash,omitempty"` // SHA-256 of a self-signed certificate, hex; empty if it is publicly trusted
	Version  string    `json:"version,omitempty"`
	Seen     time.Time `json:"seen,omitzero"`
}
