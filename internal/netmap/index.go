package netmap

import (
	"slices"

	"tailscale.com/types/key"

	"selvage"
)

// index finds nodes of a tailnet by what a change of configuration asks for, and
// knows their addresses. Who has the tailnet's turn may use it. Node keys are in
// Hub.byKey, since those of all tailnets must differ.
type index struct {
	byName    map[string]selvage.NodeID
	byMachine map[key.MachinePublic][]selvage.NodeID // by ID
	addresses pool
}

func newIndex() index {
	return index{
		byName: map[string]selvage.NodeID{}, byMachine: map[key.MachinePublic][]selvage.NodeID{},
		addresses: newPool(),
	}
}

// reindex keeps what finds nodes in step with a node's change; old or now may be nil.
func (n *Net) reindex(s selvage.Settings, old, now *selvage.Node) {
	ix := &n.finds
	if old != nil && ix.byName[old.Name] == old.ID {
		delete(ix.byName, old.Name)
	}
	if now != nil {
		ix.byName[now.Name] = now.ID
	}
	if old == nil || now == nil || old.Machine != now.Machine {
		ix.machine(old, now)
	}
	if old == nil || now == nil || old.IPv4 != now.IPv4 || old.IPv6 != now.IPv6 {
		if old != nil {
			ix.addresses.free(old)
		}
		if now != nil {
			ix.addresses.take(s, now)
		}
	}
	// A key that stays must be found at any moment: a client whose key isn't found
	// is told that it is logged out.
	if old == nil || now == nil || old.Key != now.Key {
		n.hub.rekey(n, old, now)
	}
}

func (ix *index) machine(old, now *selvage.Node) {
	if old != nil {
		ids := slices.DeleteFunc(ix.byMachine[old.Machine], func(id selvage.NodeID) bool { return id == old.ID })
		if ix.byMachine[old.Machine] = ids; len(ids) == 0 {
			delete(ix.byMachine, old.Machine)
		}
	}
	if now != nil {
		ids := append(ix.byMachine[now.Machine], now.ID)
		slices.Sort(ids)
		ix.byMachine[now.Machine] = ids
	}
}

// rekey keeps byKey in step with a node's change; old or now may be nil.
func (h *Hub) rekey(n *Net, old, now *selvage.Node) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old != nil && h.byKey[old.Key] == (keyRef{n, old.ID}) {
		delete(h.byKey, old.Key)
	}
	if now != nil {
		h.byKey[now.Key] = keyRef{n, now.ID}
	}
}
