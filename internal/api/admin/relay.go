package admin

import (
	"slices"
	"time"

	"selvage"
	"selvage/internal/authz"
	"selvage/internal/dns"
	"selvage/internal/identity"
	"selvage/internal/journal"
	"selvage/internal/store"
)

const (
	// The numbers of regions that registered relays get.
	firstRegion = 901
	lastRegion  = 999
	// relayGrace is how long after its last word a relay counts as online; it speaks
	// every 30 seconds.
	relayGrace = 90 * time.Second
)

func relayOf(r *selvage.Relay, now time.Time) Relay {
	return Relay{
		Name: r.Name, Region: r.Region, Created: r.Created, Host: r.Host, Port: r.Port, STUNPort: r.STUNPort,
		Version: r.Version, Seen: r.Seen, Online: !r.Seen.IsZero() && now.Sub(r.Seen) < relayGrace,
	}
}

func listRelays(r *request) (any, error) {
	if err := r.server(authz.RelayRead); err != nil {
		return nil, err
	}
	list := []Relay{}
	err := r.s.opts.DB.Read(r.Context(), func(tx *store.Tx) error {
		relays, err := tx.Relays()
		for _, relay := range relays {
			list = append(list, relayOf(relay, r.s.now()))
		}
		return err
	})
	return list, err
}

func createRelay(r *request) (any, error) {
	if err := r.server(authz.RelayWrite); err != nil {
		return nil, err
	}
	b, err := body[RelayCreate](r)
	if err != nil {
		return nil, err
	}
	if err := dns.CheckLabel(b.Name); err != nil {
		return nil, err
	}
	text, hash := identity.NewRelayToken()
	made := &selvage.Relay{Name: b.Name, Hash: hash, Created: r.s.now().UTC()}
	err = r.changeRelays(func(tx *store.Tx, relays []*selvage.Relay) ([]journal.Change, error) {
		if made.Region, err = freeRegion(relays, b.Name); err != nil {
			return nil, err
		}
		if err := tx.PutRelay(made); err != nil {
			return nil, err
		}
		return []journal.Change{{Action: journal.RelayCreate, Target: journal.Target("relay", b.Name), New: made}}, nil
	})
	if err != nil {
		return nil, err
	}
	j := relayOf(made, r.s.now())
	j.Token = text
	return j, nil
}

// freeRegion returns the lowest number that no relay has.
func freeRegion(relays []*selvage.Relay, name string) (int, error) {
	for _, relay := range relays {
		if relay.Name == name {
			return 0, selvage.Errorf(selvage.KindConflict, "there is a relay %q already; remove it first, or choose another name", name)
		}
	}
	for region := firstRegion; region <= lastRegion; region++ {
		if !slices.ContainsFunc(relays, func(relay *selvage.Relay) bool { return relay.Region == region }) {
			return region, nil
		}
	}
	return 0, selvage.Errorf(selvage.KindConflict, "there are %d relays already, which is all that a server can have; remove one first", len(relays))
}

func deleteRelay(r *request) (any, error) {
	if err := r.server(authz.RelayWrite); err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	return done(), r.changeRelays(func(tx *store.Tx, relays []*selvage.Relay) ([]journal.Change, error) {
		i := slices.IndexFunc(relays, func(relay *selvage.Relay) bool { return relay.Name == name })
		if i < 0 {
			return nil, selvage.Errorf(selvage.KindNotFound, "no relay %q; `selvage relay list` shows them", name)
		}
		if err := tx.DeleteRelay(name); err != nil {
			return nil, err
		}
		return []journal.Change{{Action: journal.RelayDelete, Target: journal.Target("relay", name), Old: relays[i]}}, nil
	})
}

// changeRelays makes a change of the relays with its journal entry, and tells the
// server.
func (r *request) changeRelays(change func(*store.Tx, []*selvage.Relay) ([]journal.Change, error)) error {
	var relays []*selvage.Relay
	err := r.s.opts.DB.Tx(r.Context(), func(tx *store.Tx) error {
		// The lock keeps two that add a relay from choosing the same region.
		if _, err := tx.LockTailnet(store.ServerTailnet); err != nil {
			return err
		}
		before, err := tx.Relays()
		if err != nil {
			return err
		}
		changes, err := change(tx, before)
		if err != nil {
			return err
		}
		if _, err := journal.Append(tx, r.s.now(), r.actor, store.ServerTailnet, changes); err != nil {
			return err
		}
		relays, err = tx.Relays()
		return err
	})
	if err == nil && r.s.opts.RelaysChanged != nil {
		r.s.opts.RelaysChanged(r.Context(), relays)
	}
	return err
}
