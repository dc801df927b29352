package server

import (
	"context"
	"fmt"
	"time"

	"selvage"
	"selvage/internal/store"
)

// clockTolerance is how far the clock may be behind the journal without a word: two
// servers over one database never agree exactly.
const clockTolerance = 2 * time.Minute

// checkClock compares the machine's clock with the newest entry of the journal. A
// clock in the past would make expired keys work again, so in that case time starts
// at the newest entry, and an operator is told.
func (s *Server) checkClock(ctx context.Context) error {
	newest, err := s.newestEntry(ctx)
	if err != nil {
		return fmt.Errorf("read the newest journal entry: %w", err)
	}
	if now := time.Now(); newest.Sub(now) > clockTolerance {
		s.clockFloor = newest
		s.log.Error(s.clockProblem())
	}
	return nil
}

// newestEntry returns when the newest entry of any journal was written.
func (s *Server) newestEntry(ctx context.Context) (newest time.Time, err error) {
	err = s.db.Read(ctx, func(tx *store.Tx) error {
		tailnets, err := tx.Tailnets()
		if err != nil {
			return err
		}
		ids := []selvage.TailnetID{store.ServerTailnet}
		for _, t := range tailnets {
			ids = append(ids, t.ID)
		}
		for _, id := range ids {
			entries, err := tx.Entries(id, store.Query{Newest: true, Limit: 1})
			if err != nil {
				return err
			}
			if len(entries) > 0 && entries[0].Time.After(newest) {
				newest = entries[0].Time
			}
		}
		return nil
	})
	return newest, err
}

// now is the time, never before the newest entry that was there at the start.
func (s *Server) now() time.Time {
	if t := time.Now(); t.After(s.clockFloor) {
		return t
	}
	return s.clockFloor
}

func (s *Server) clockProblem() string {
	return fmt.Sprintf("the clock of this machine is wrong: it says %s, but the journal has an entry of %s; set the clock and restart the server; until then expired keys stay expired",
		time.Now().UTC().Format(time.RFC3339), s.clockFloor.UTC().Format(time.RFC3339))
}
