package server

import (
	"context"
	"fmt"

	"selvage"
	"selvage/internal/store"
)

// loadRelays reads the registered relays and puts them into the map. If that fails,
// the last ones stay.
func (s *Server) loadRelays(ctx context.Context) error {
	var relays []selvage.Relay
	err := s.db.Read(ctx, func(tx *store.Tx) error {
		list, err := tx.Relays()
		relays = values(list)
		return err
	})
	if err != nil {
		return fmt.Errorf("read the relays: %w", err)
	}
	s.relayList.Store(&relays)
	s.regions.SetRelays(relays)
	return nil
}

// relays returns the registered relays, from memory: anybody may announce, and most
// who are not registered should cost nothing.
func (s *Server) relays() []selvage.Relay {
	if list := s.relayList.Load(); list != nil {
		return *list
	}
	return nil
}

// announced stores what a relay said about itself and puts it into the map, unless the
// relay has been removed meanwhile or got another token.
func (s *Server) announced(ctx context.Context, r selvage.Relay) error {
	err := s.db.Tx(ctx, func(tx *store.Tx) error {
		if _, err := tx.LockTailnet(store.ServerTailnet); err != nil {
			return err
		}
		list, err := tx.Relays()
		if err != nil {
			return err
		}
		for _, have := range list {
			if have.Name == r.Name && have.Hash == r.Hash {
				return tx.PutRelay(&r)
			}
		}
		return selvage.Errorf(selvage.KindUnauthenticated, "relay %s is no longer registered", r.Name)
	})
	if err != nil {
		return fmt.Errorf("store announcement of relay %s: %w", r.Name, err)
	}
	s.RelaysChanged(ctx)
	return nil
}

// RelaysChanged brings the map of relays up to date after one was added or removed.
func (s *Server) RelaysChanged(ctx context.Context) {
	if err := s.loadRelays(ctx); err != nil {
		s.log.Error("the map keeps the last relays", "err", err)
	}
}
