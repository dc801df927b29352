package server

import (
	"context"
	"fmt"
	"time"

	"selvage"
	"selvage/internal/journal"
	"selvage/internal/store"
)

// clockTolerance is how far the clock may be behind the journal without a word: two
// servers over one database never agree exactly, and clocks are set back a little.
const clockTolerance = 10 * time.Minute

// Option changes how a server is opened.
type Option func(*Server)

// AcceptClock opens a server although the journal has entries from the future. It is
// for a machine whose clock was wrong before and is right now.
func AcceptClock() Option { return func(s *Server) { s.acceptClock = true } }

// checkClock compares the machine's clock with the newest entries of the journals. A
// clock in the past would make expired keys and links work again, so the server does
// not start with one unless it is told that the journal is wrong and not the clock.
func (s *Server) checkClock(ctx context.Context) error {
	now := time.Now().UTC()
	return s.db.Tx(ctx, func(tx *store.Tx) error {
		tailnets, err := tx.Tailnets()
		if err != nil {
			return fmt.Errorf("compare the clock with the journal: %w", err)
		}
		ids := []selvage.TailnetID{store.ServerTailnet}
		for _, t := range tailnets {
			ids = append(ids, t.ID)
		}
		for _, id := range ids {
			entries, err := tx.Entries(id, store.Query{Newest: true, Limit: 1})
			if err != nil {
				return fmt.Errorf("compare the clock with the journal: %w", err)
			}
			if len(entries) == 0 || entries[0].Time.Sub(now) <= clockTolerance {
				continue
			}
			if !s.acceptClock {
				return clockError(now, entries[0].Time)
			}
			// The new entry is the newest from now on, so this is needed once.
			change := journal.Change{Action: journal.ClockAccept, Target: "server", Old: entries[0].Time, New: now}
			if _, err := journal.Append(tx, now, selvage.Local(), id, []journal.Change{change}); err != nil {
				return err
			}
		}
		return nil
	})
}

func clockError(now, newest time.Time) error {
	return selvage.Errorf(selvage.KindInvalid,
		"the clock of this machine says %s, but the newest journal entry is of %s: with a clock in the past, expired keys would work again; set the clock, or, if it is right now and was wrong before, start once with `selvage serve --accept-clock`",
		now.Format(time.RFC3339), newest.UTC().Format(time.RFC3339))
}
