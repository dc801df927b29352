package netmap

import (
	"reflect"
	"slices"

	"tailscale.com/tailcfg"
)

// PeerHostinfo returns the part of a device's report that its peers need: what it
// is, which services it has, its SSH host keys. The rest is nobody else's business,
// and changes of it cost nobody a message.
func PeerHostinfo(h *tailcfg.Hostinfo) *tailcfg.Hostinfo {
	if h == nil {
		return new(tailcfg.Hostinfo)
	}
	return &tailcfg.Hostinfo{
		OS:             h.OS,
		Hostname:       h.Hostname,
		Services:       peerServices(h.Services),
		SSH_HostKeys:   h.SSH_HostKeys,
		Location:       h.Location,
		ShareeNode:     h.ShareeNode,
		PeerRelay:      h.PeerRelay,
		AppConnector:   h.AppConnector,
		WireIngress:    h.WireIngress,
		IngressEnabled: h.IngressEnabled,
	}
}

// peerServices keeps the services by which clients reach one another.
func peerServices(all []tailcfg.Service) []tailcfg.Service {
	var kept []tailcfg.Service
	for _, s := range all {
		switch s.Proto {
		case tailcfg.PeerAPI4, tailcfg.PeerAPI6, tailcfg.PeerAPIDNS:
			kept = append(kept, s)
		}
	}
	return kept
}

// PeerHostinfoEqual reports whether two reports look the same to peers.
func PeerHostinfoEqual(a, b *tailcfg.Hostinfo) bool {
	if a == b {
		return true
	}
	if a != nil && b != nil && (a.OS != b.OS || a.Hostname != b.Hostname || !slices.Equal(a.SSH_HostKeys, b.SSH_HostKeys)) {
		return false
	}
	return reflect.DeepEqual(PeerHostinfo(a), PeerHostinfo(b))
}
