package server

import (
	"context"
	"fmt"

	"selvage"
	"selvage/internal/store"
)

// relays returns the registered relays as the database has them.
func (s *Server) relays() []selvage.Relay {
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	var relays []selvage.Relay
	err := s.db.Read(ctx, func(tx *store.Tx) error {
		list, err := tx.Relays()
		relays = values(list)
		return err
	})
	if err != nil {
		s.log.Error("relays not read", "err", err)
	}
	return relays
}

// announced stores what a relay said about itself and puts it into the map.
func (s *Server) announced(ctx context.Context, r selvage.Relay) error {
	err := s.db.Tx(ctx, func(tx *store.Tx) error { return tx.PutRelay(&r) })
	if err != nil {
		return fmt.Errorf("store announcement of relay %s: %w", r.Name, err)
	}
	s.RelaysChanged()
	return nil
}

// RelaysChanged brings the map of relays up to date after one was added or removed.
func (s *Server) RelaysChanged() { s.regions.SetRelays(s.relays()) }
