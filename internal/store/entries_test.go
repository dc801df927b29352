package store_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"selvage"
	"selvage/internal/store"
	"selvage/internal/store/storetest"
)

func TestEntries(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		withTailnet(t, db)
		var want []*selvage.Entry
		for i := range 20 {
			e := &selvage.Entry{
				Tailnet: 1, Seq: int64(i + 1), Time: epoch.Add(time.Duration(i) * time.Minute),
				Actor:  selvage.Actor{Kind: selvage.ActorUser, ID: "3", Name: fmt.Sprint("user", i%2), Address: "10.0.0.1"},
				Action: []string{"node.create", "node_x", "policy.set"}[i%3], Target: fmt.Sprint("node:", i%5), Hash: []byte{byte(i), 1},
			}
			if i%2 == 0 {
				e.Old, e.New = json.RawMessage(`{"a":"\u0000"}`), json.RawMessage(`[]`)
			}
			want = append(want, e)
			write(t, db, func(tx *store.Tx) error { return tx.InsertEntry(e) })
		}
		tests := []struct {
			name  string
			query store.Query
			match func(e *selvage.Entry) bool
		}{
			{"all", store.Query{}, func(*selvage.Entry) bool { return true }},
			{"after", store.Query{After: 15}, func(e *selvage.Entry) bool { return e.Seq > 15 }},
			{"before", store.Query{Before: 3}, func(e *selvage.Entry) bool { return e.Seq < 3 }},
			{"limit", store.Query{Limit: 3}, func(e *selvage.Entry) bool { return e.Seq <= 3 }},
			{"newest", store.Query{Limit: 3, Newest: true}, func(e *selvage.Entry) bool { return e.Seq > 17 }},
			{"action", store.Query{Action: "policy.set"}, func(e *selvage.Entry) bool { return e.Action == "policy.set" }},
			{"action prefix", store.Query{Action: "node"}, func(e *selvage.Entry) bool { return e.Action != "policy.set" }},
			{"prefix is no pattern", store.Query{Action: "node_"}, func(e *selvage.Entry) bool { return e.Action == "node_x" }},
			{"target", store.Query{Target: "node:2"}, func(e *selvage.Entry) bool { return e.Target == "node:2" }},
			{"actor", store.Query{ActorName: "user1"}, func(e *selvage.Entry) bool { return e.Name == "user1" }},
			{"time", store.Query{Since: epoch.Add(5 * time.Minute), Until: epoch.Add(7 * time.Minute)}, func(e *selvage.Entry) bool { return e.Seq == 6 || e.Seq == 7 }},
			{"several", store.Query{Action: "node", Target: "node:1", After: 2, Limit: 1}, func(e *selvage.Entry) bool { return e.Seq == 7 }},
		}
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				var match []*selvage.Entry
				for _, e := range want {
					if test.match(e) {
						match = append(match, e)
					}
				}
				got := read(t, db, func(tx *store.Tx) ([]*selvage.Entry, error) { return tx.Entries(1, test.query) })
				if test.query.Newest {
					for i, j := 0, len(got)-1; i < j; i, j = i+1, j-1 {
						got[i], got[j] = got[j], got[i]
					}
				}
				same(t, "entries", got, match)
			})
		}
	})
}

func TestHead(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		withTailnet(t, db)
		entry := func(tailnet selvage.TailnetID, seq int64) error {
			return db.Tx(t.Context(), func(tx *store.Tx) error {
				if _, err := tx.LockTailnet(tailnet); err != nil {
					return err
				}
				return tx.InsertEntry(&selvage.Entry{Tailnet: tailnet, Seq: seq, Hash: []byte{byte(seq)}})
			})
		}
		head := func(id selvage.TailnetID) store.Head {
			return read(t, db, func(tx *store.Tx) (store.Head, error) { return tx.Head(id) })
		}
		for _, id := range []selvage.TailnetID{store.ServerTailnet, 1} {
			same(t, "head of an empty journal", head(id), store.Head{})
			wantKind(t, entry(id, 2), selvage.KindConflict, "entry 2 does not follow")
			if err := entry(id, 1); err != nil {
				t.Fatal(err)
			}
			same(t, "head", head(id), store.Head{Seq: 1, Hash: []byte{1}})
			wantKind(t, entry(id, 1), selvage.KindConflict, "entry 1 does not follow")
		}
		// A changed tailnet keeps its head.
		write(t, db, func(tx *store.Tx) error { return tx.PutTailnet(newTailnet(1, "renamed")) })
		same(t, "head", head(1), store.Head{Seq: 1, Hash: []byte{1}})
		wantKind(t, entry(5, 1), selvage.KindNotFound, "tailnet 5 is not there")
	})
}

func TestCursor(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		cursor := func() int64 {
			return read(t, db, func(tx *store.Tx) (int64, error) { return tx.Cursor("webhook:1") })
		}
		same(t, "unknown cursor", cursor(), 0)
		for _, seq := range []int64{5, 9} {
			write(t, db, func(tx *store.Tx) error { return tx.PutCursor("webhook:1", seq) })
			same(t, "cursor", cursor(), seq)
		}
	})
}

func TestCommittedWakes(t *testing.T) {
	db := withTailnet(t, storetest.New(t))
	one, zero := db.Committed(1), db.Committed(0)
	insert := func(tx *store.Tx) error {
		return tx.InsertEntry(&selvage.Entry{Tailnet: 1, Seq: 1, Hash: []byte{1}})
	}
	woken := func(ch <-chan struct{}) bool {
		select {
		case <-ch:
			return true
		default:
			return false
		}
	}
	failure := fmt.Errorf("changed my mind")
	if err := db.Tx(t.Context(), func(tx *store.Tx) error { insert(tx); return failure }); err != failure {
		t.Fatalf("got %v, want %v", err, failure)
	}
	if woken(one) {
		t.Error("woken by a transaction that was rolled back")
	}
	write(t, db, insert)
	if !woken(one) {
		t.Error("not woken by a commit")
	}
	if woken(zero) {
		t.Error("woken by a commit of another tailnet")
	}
	if woken(db.Committed(1)) {
		t.Error("woken by an old commit")
	}
}
