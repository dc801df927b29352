package netmap

import (
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
	return a == b || sameShown(PeerHostinfo(a), PeerHostinfo(b))
}

// sameShown compares two results of PeerHostinfo.
func sameShown(a, b *tailcfg.Hostinfo) bool {
	return a.OS == b.OS && a.Hostname == b.Hostname &&
		slices.EqualFunc(a.Services, b.Services, sameService) && slices.Equal(a.SSH_HostKeys, b.SSH_HostKeys) &&
		(a.Location == b.Location || a.Location != nil && b.Location != nil && *a.Location == *b.Location) &&
		a.ShareeNode == b.ShareeNode && a.PeerRelay == b.PeerRelay && a.AppConnector == b.AppConnector &&
		a.WireIngress == b.WireIngress && a.IngressEnabled == b.IngressEnabled
}

func sameService(a, b tailcfg.Service) bool {
	return a.Proto == b.Proto && a.Port == b.Port && a.Description == b.Description
}
