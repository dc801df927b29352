// Package journal owns the record of who changed what: it numbers the changes of a
// tailnet, chains them by hash and writes them in the transaction of the change
// itself. Who wants to react to changes reads them by number ([Follow], [Reader]).
//
// Read this file first; actions.go lists what can happen. The package doesn't know
// what changes mean, and SQL is in package store.
//
// The chain shows that entries were changed, removed or put in between, as long as
// somebody has a later hash: it does not keep whoever can write the database from
// making a new chain.
package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"selvage"
	"selvage/internal/store"
)

// MaxValue is the largest size of Change.Old and Change.New as JSON, in bytes.
const MaxValue = 4 << 20

// Change is one change of a transaction.
type Change struct {
	Action string // one of the constants of actions.go
	Target string // see Target
	// Old and New are the target before and after, nil where there was or is none.
	// They are written as encoding/json writes them; fields with secrets are left
	// out there.
	Old, New any
}

// Append writes changes to the journal of a tailnet (or of store.ServerTailnet) and
// returns their entries. A change whose Old and New are the same is none and is left
// out; one that has neither is an event and is written. Append takes the tailnet's
// lock and keeps it until the transaction ends.
func Append(tx *store.Tx, at time.Time, actor selvage.Actor, tailnet selvage.TailnetID, changes []Change) ([]*selvage.Entry, error) {
	entries, err := entriesOf(at, actor, tailnet, changes)
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	head, err := tx.LockTailnet(tailnet)
	if err != nil {
		return nil, fmt.Errorf("append to journal: %w", err)
	}
	for _, e := range entries {
		e.Seq = head.Seq + 1
		e.Hash = hashOf(head.Hash, e)
		if err := tx.InsertEntry(e); err != nil {
			return nil, fmt.Errorf("append to journal: %w", err)
		}
		head = store.Head{Seq: e.Seq, Hash: e.Hash}
	}
	return entries, nil
}

// entriesOf returns the entries of the changes, without numbers and hashes.
func entriesOf(at time.Time, actor selvage.Actor, tailnet selvage.TailnetID, changes []Change) ([]*selvage.Entry, error) {
	at = stored(at)
	var entries []*selvage.Entry
	for _, c := range changes {
		before, err := encode(c.Old)
		if err != nil {
			return nil, fmt.Errorf("encode old value of %s %s: %w", c.Action, c.Target, err)
		}
		after, err := encode(c.New)
		if err != nil {
			return nil, fmt.Errorf("encode new value of %s %s: %w", c.Action, c.Target, err)
		}
		if before != nil && bytes.Equal(before, after) {
			continue
		}
		entries = append(entries, &selvage.Entry{
			Tailnet: tailnet, Time: at, Actor: actor, Action: c.Action, Target: c.Target, Old: before, New: after,
		})
	}
	return entries, nil
}

// stored returns a time as the database gives it back: in UTC, to the nanosecond, and
// with 1970 standing for no time. The hash has to be the same before and after.
func stored(at time.Time) time.Time {
	if at.IsZero() || at.UnixNano() == 0 {
		return time.Time{}
	}
	return time.Unix(0, at.UnixNano()).UTC()
}

// encode returns the JSON of a value, nil if it is nil or a nil pointer.
func encode(v any) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	b, err := json.Marshal(v)
	switch {
	case err != nil:
		return nil, err
	case len(b) > MaxValue:
		return nil, selvage.Errorf(selvage.KindInvalid, "the value has %d bytes: at most %d can be kept", len(b), MaxValue)
	case string(b) == "null":
		return nil, nil
	}
	return b, nil
}

// Target names what a change is about: Target("node", 12) is "node:12".
func Target(kind string, id any) string { return fmt.Sprint(kind, ":", id) }

// chainVersion begins the encoding of an entry, so that another encoding, should one
// be needed, can't be mistaken for this one.
const chainVersion = "selvage journal 1"

// hashOf returns the SHA-256 over the previous entry's hash and each field of the
// entry but its own hash. Before each field goes its length, so that no two entries
// have the same encoding.
func hashOf(previous []byte, e *selvage.Entry) []byte {
	var b []byte
	field := func(data []byte) {
		b = binary.BigEndian.AppendUint64(b, uint64(len(data)))
		b = append(b, data...)
	}
	number := func(n int64) { field(binary.BigEndian.AppendUint64(nil, uint64(n))) }
	field([]byte(chainVersion))
	field(previous)
	number(int64(e.Tailnet))
	number(e.Seq)
	number(e.Time.UnixNano())
	for _, text := range []string{string(e.Kind), e.ID, e.Name, e.Address, e.Action, e.Target} {
		field([]byte(text))
	}
	field(e.Old)
	field(e.New)
	sum := sha256.Sum256(b)
	return sum[:]
}

// batch is how many entries are read at once.
const batch = 500

// Verification is what Verify found.
type Verification struct {
	// Entries is how many entries are in order, from the first.
	Entries int64
	// Bad is the number of the first entry that is not, 0 if all are.
	Bad int64
	// Problem says what is wrong with it.
	Problem string
	// Head is the hash of the last entry that is in order. Who keeps it elsewhere
	// can tell later whether these entries are still the same.
	Head []byte
}

// Verify checks the whole journal of a tailnet: numbers, hashes and the head. The
// error is about reading it; what is wrong with the entries is in the Verification.
func Verify(ctx context.Context, db *store.DB, tailnet selvage.TailnetID) (Verification, error) {
	var v Verification
	// The entries up to the head of now; more may come meanwhile.
	head, err := headOf(ctx, db, tailnet)
	if err != nil {
		return v, err
	}
	for v.Entries < head.Seq && v.Bad == 0 {
		entries, err := read(ctx, db, tailnet, store.Query{After: v.Entries, Before: head.Seq + 1, Limit: batch})
		if err != nil {
			return v, err
		}
		if len(entries) == 0 {
			v.Bad, v.Problem = v.Entries+1, fmt.Sprintf("it is missing: the journal should end with entry %d", head.Seq)
			return v, nil
		}
		v.check(entries)
	}
	if v.Bad == 0 && !bytes.Equal(v.Head, head.Hash) {
		v.Bad, v.Problem = head.Seq, "its hash is not the one that was noted as the last"
	}
	if v.Bad != 0 {
		return v, nil
	}
	return v, v.checkEnd(ctx, db, tailnet)
}

// check goes on with the entries that follow.
func (v *Verification) check(entries []*selvage.Entry) {
	for _, e := range entries {
		if e.Seq != v.Entries+1 {
			v.Bad, v.Problem = v.Entries+1, fmt.Sprintf("it is missing: after entry %d comes %d", v.Entries, e.Seq)
			return
		}
		if !bytes.Equal(e.Hash, hashOf(v.Head, e)) {
			v.Bad, v.Problem = e.Seq, "its content does not fit its hash"
			return
		}
		v.Entries, v.Head = e.Seq, e.Hash
	}
}

// checkEnd looks for entries after the head.
func (v *Verification) checkEnd(ctx context.Context, db *store.DB, tailnet selvage.TailnetID) error {
	return db.Read(ctx, func(tx *store.Tx) error {
		head, err := tx.Head(tailnet)
		if err != nil {
			return fmt.Errorf("verify journal: %w", err)
		}
		extra, err := tx.Entries(tailnet, store.Query{After: head.Seq, Limit: 1})
		if err != nil {
			return fmt.Errorf("verify journal: %w", err)
		}
		if len(extra) > 0 {
			v.Bad, v.Problem = extra[0].Seq, "it stands after the entry that was noted as the last"
		}
		return nil
	})
}

func headOf(ctx context.Context, db *store.DB, tailnet selvage.TailnetID) (store.Head, error) {
	var head store.Head
	err := db.Read(ctx, func(tx *store.Tx) (err error) {
		head, err = tx.Head(tailnet)
		return err
	})
	if err != nil {
		return head, fmt.Errorf("read journal: %w", err)
	}
	return head, nil
}

func read(ctx context.Context, db *store.DB, tailnet selvage.TailnetID, q store.Query) ([]*selvage.Entry, error) {
	var entries []*selvage.Entry
	err := db.Read(ctx, func(tx *store.Tx) (err error) {
		entries, err = tx.Entries(tailnet, q)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return entries, nil
}
