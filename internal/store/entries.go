package store

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"selvage"
)

// Numbers of entries that Entries returns.
const (
	DefaultEntries = 100  // if the query has no limit
	MaxEntries     = 1000 // at most, whatever the query says
)

// Head is the end of a tailnet's journal: the last entry's number and hash, zero and
// nil before the first.
type Head struct {
	Seq  int64
	Hash []byte
}

// Query selects entries of a journal; the zero value selects the oldest
// DefaultEntries. Fields that are zero do not select.
type Query struct {
	After  int64 // only entries with a higher number
	Before int64 // only entries with a lower number
	Limit  int   // at most so many; see DefaultEntries and MaxEntries
	Newest bool  // from the newest to the oldest
	// Action is the beginning of the action: "node." selects node.create and others.
	Action    string
	Target    string // exactly
	ActorName string // exactly
	Since     time.Time
	Until     time.Time // exclusive
}

// LockTailnet returns the head of a tailnet's journal and keeps all other writers
// away from the tailnet until the transaction ends. ServerTailnet has a head, too.
func (tx *Tx) LockTailnet(id selvage.TailnetID) (Head, error) {
	return tx.head("lock", tx.db.dialect.lockTailnet, id)
}

// Head returns the head of a tailnet's journal without a lock.
func (tx *Tx) Head(id selvage.TailnetID) (Head, error) { return tx.head("read", headQuery, id) }

func (tx *Tx) head(act, query string, id selvage.TailnetID) (Head, error) {
	h, ok, err := one(tx, func(rows *sql.Rows) (h Head, err error) {
		err = rows.Scan(&h.Seq, &h.Hash)
		return h, err
	}, query, int64(id))
	if err != nil {
		return Head{}, fmt.Errorf("%s head of tailnet %d: %w", act, id, err)
	}
	if !ok {
		return Head{}, selvage.Errorf(selvage.KindNotFound, "tailnet %d is not there", id)
	}
	return h, nil
}

const entryColumns = "tailnet, seq, time, actor_kind, actor_id, actor_name, actor_address, action, target, old_json, new_json, hash"

// InsertEntry adds an entry to the journal of its tailnet and makes it the head. Its
// number follows that of the head, which the caller has from LockTailnet; any other
// number is an error of KindConflict. Package journal fills in number and hash.
func (tx *Tx) InsertEntry(e *selvage.Entry) error {
	n, err := tx.exec("UPDATE tailnets SET seq = $1, hash = $2 WHERE id = $3 AND seq = $4", e.Seq, e.Hash, int64(e.Tailnet), e.Seq-1)
	if err != nil {
		return fmt.Errorf("save head %d of tailnet %d: %w", e.Seq, e.Tailnet, err)
	}
	if n == 0 {
		return selvage.Errorf(selvage.KindConflict, "entry %d does not follow the last one of tailnet %d", e.Seq, e.Tailnet)
	}
	_, err = tx.exec("INSERT INTO entries ("+entryColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
		int64(e.Tailnet), e.Seq, nanos(e.Time), string(e.Kind), e.ID, e.Name, e.Address, e.Action, e.Target, string(e.Old), string(e.New), e.Hash)
	if err != nil {
		return fmt.Errorf("save entry %d of tailnet %d: %w", e.Seq, e.Tailnet, err)
	}
	if tx.wake == nil {
		tx.wake = map[selvage.TailnetID]struct{}{}
	}
	tx.wake[e.Tailnet] = struct{}{}
	return nil
}

// Entries returns entries of a tailnet's journal.
func (tx *Tx) Entries(tailnet selvage.TailnetID, q Query) ([]*selvage.Entry, error) {
	where, args := q.where(tailnet)
	limit := q.Limit
	if limit <= 0 {
		limit = DefaultEntries
	}
	args = append(args, min(limit, MaxEntries))
	order := "seq"
	if q.Newest {
		order = "seq DESC"
	}
	query := fmt.Sprintf("SELECT %s FROM entries WHERE %s ORDER BY %s LIMIT $%d", entryColumns, where, order, len(args))
	list, err := all(tx, scanEntry, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read entries of tailnet %d: %w", tailnet, err)
	}
	return list, nil
}

// where returns the condition of the query and its arguments. It consists of
// constant pieces; values go into arguments.
func (q Query) where(tailnet selvage.TailnetID) (string, []any) {
	parts := []string{"tailnet = $1"}
	args := []any{int64(tailnet)}
	add := func(set bool, condition string, value any) {
		if set {
			args = append(args, value)
			parts = append(parts, strings.ReplaceAll(condition, "?", fmt.Sprintf("$%d", len(args))))
		}
	}
	add(q.After > 0, "seq > ?", q.After)
	add(q.Before > 0, "seq < ?", q.Before)
	// Not LIKE: "_" and "%" are no wildcards here.
	add(q.Action != "", "substr(action, 1, length(CAST(? AS TEXT))) = CAST(? AS TEXT)", q.Action)
	add(q.Target != "", "target = ?", q.Target)
	add(q.ActorName != "", "actor_name = ?", q.ActorName)
	add(!q.Since.IsZero(), "time >= ?", nanos(q.Since))
	add(!q.Until.IsZero(), "time < ?", nanos(q.Until))
	return strings.Join(parts, " AND "), args
}

func scanEntry(rows *sql.Rows) (*selvage.Entry, error) {
	var e selvage.Entry
	var at int64
	var before, after string
	err := rows.Scan(&e.Tailnet, &e.Seq, &at, &e.Kind, &e.ID, &e.Name, &e.Address, &e.Action, &e.Target, &before, &after, &e.Hash)
	e.Time = timeOf(at)
	if before != "" {
		e.Old = json.RawMessage(before)
	}
	if after != "" {
		e.New = json.RawMessage(after)
	}
	return &e, err
}

// Cursor returns the number that PutCursor saved under the name, 0 if there is none.
func (tx *Tx) Cursor(name string) (int64, error) {
	seq, _, err := one(tx, scanInt, "SELECT seq FROM cursors WHERE name = $1", name)
	if err != nil {
		return 0, fmt.Errorf("read cursor %s: %w", name, err)
	}
	return seq, nil
}

// PutCursor notes how far the reader of that name has come.
func (tx *Tx) PutCursor(name string, seq int64) error {
	_, err := tx.exec("INSERT INTO cursors (name, seq) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET seq = excluded.seq", name, seq)
	if err != nil {
		return fmt.Errorf("save cursor %s: %w", name, err)
	}
	return nil
}
