package journal

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"selvage"
	"selvage/internal/store"
)

// Waits of those who follow a journal.
const (
	// pollInterval is how late an entry that another server wrote can be seen; those
	// of this server are seen at once.
	pollInterval = 2 * time.Second
	firstRetry   = 500 * time.Millisecond // after a failure of a Reader
	lastRetry    = time.Minute            // the longest wait between two tries
)

// Follow returns the entries of a tailnet's journal after the given number, in
// order, and waits for more. It ends when ctx does. After an error it ends, too.
func Follow(ctx context.Context, db *store.DB, tailnet selvage.TailnetID, after int64) iter.Seq2[*selvage.Entry, error] {
	return func(yield func(*selvage.Entry, error) bool) {
		for {
			entries, err := next(ctx, db, tailnet, after)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
				after = e.Seq
			}
		}
	}
}

// next waits until there are entries after the given number and returns the first
// of them. It looks at once, after a commit of this process, and every poll.
func next(ctx context.Context, db *store.DB, tailnet selvage.TailnetID, after int64) ([]*selvage.Entry, error) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		// Taken before the look, so that no commit falls between.
		committed := db.Committed(tailnet)
		entries, err := read(ctx, db, tailnet, store.Query{After: after, Limit: batch})
		if err != nil || len(entries) > 0 {
			return entries, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-committed:
		case <-ticker.C:
		}
	}
}

// Reader hands the entries of a journal to a function and remembers in the database
// how far it came, so that it goes on there after a restart. One Reader of a name
// runs at a time.
type Reader struct {
	db      *store.DB
	log     *slog.Logger
	tailnet selvage.TailnetID
	name    string
	handle  func(ctx context.Context, entries []*selvage.Entry) error
}

// NewReader returns a Reader that begins with the first entry of the journal, or
// where one of the same tailnet and name stopped; its cursor in the store is
// "NAME:TAILNET". handle gets up to 500 entries in
// order. It may get entries again that it had before, after a crash or if it returned
// an error.
func NewReader(db *store.DB, log *slog.Logger, tailnet selvage.TailnetID, name string, handle func(context.Context, []*selvage.Entry) error) *Reader {
	return &Reader{db: db, log: log, tailnet: tailnet, name: name, handle: handle}
}

// Run reads until ctx ends, and returns nil then. Failures are logged and tried
// again, with waits that grow to a minute.
func (r *Reader) Run(ctx context.Context) error {
	wait := firstRetry
	for {
		err := r.step(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			wait = firstRetry
			continue
		}
		r.log.Warn("reader of the journal failed and will try again", "reader", r.name, "tailnet", r.tailnet, "wait", wait, "err", err)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		wait = min(2*wait, lastRetry)
	}
}

// step hands over the next entries, once there are some.
func (r *Reader) step(ctx context.Context) error {
	cursor := fmt.Sprintf("%s:%d", r.name, r.tailnet)
	var after int64
	err := r.db.Read(ctx, func(tx *store.Tx) (err error) {
		after, err = tx.Cursor(cursor)
		return err
	})
	if err != nil {
		return err
	}
	entries, err := next(ctx, r.db, r.tailnet, after)
	if err != nil {
		return err
	}
	if err := r.handle(ctx, entries); err != nil {
		return fmt.Errorf("handle entries %d to %d: %w", entries[0].Seq, entries[len(entries)-1].Seq, err)
	}
	return r.db.Tx(ctx, func(tx *store.Tx) error { return tx.PutCursor(cursor, entries[len(entries)-1].Seq) })
}
