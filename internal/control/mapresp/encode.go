package mapresp

import (
	"encoding/json"
	"net/netip"

	"tailscale.com/tailcfg"
)

// Encode returns the message as JSON. It differs from plain encoding in one thing: a
// patch whose list of endpoints is empty but not nil says so, which clients take for
// "has none any more". Without the member they would keep the old ones.
func Encode(m *tailcfg.MapResponse) ([]byte, error) {
	if len(m.PeersChangedPatch) == 0 {
		return json.Marshal(m)
	}
	w := wireMessage{MapResponse: m}
	for _, p := range m.PeersChangedPatch {
		w.PeersChangedPatch = append(w.PeersChangedPatch, wirePatch{p, p.Endpoints})
	}
	return json.Marshal(w)
}

// wireMessage hides a member of the message it embeds.
type wireMessage struct {
	*tailcfg.MapResponse
	PeersChangedPatch []wirePatch
}

type wirePatch struct {
	*tailcfg.PeerChange
	Endpoints []netip.AddrPort `json:",omitzero"` // nil is left out, empty is not
}
