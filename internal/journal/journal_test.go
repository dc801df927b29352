package journal_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/journal"
	"selvage/internal/store"
	"selvage/internal/store/storetest"
)

var epoch = time.Date(2026, 3, 4, 5, 6, 7, 89, time.FixedZone("X", 3600))

// timeout is far more than any wait of a test; only a failure takes so long.
const timeout = 30 * time.Second

func write(t testing.TB, db *store.DB, f func(tx *store.Tx) error) {
	t.Helper()
	if err := db.Tx(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func appendTo(t testing.TB, db *store.DB, tailnet selvage.TailnetID, changes ...journal.Change) (entries []*selvage.Entry) {
	t.Helper()
	write(t, db, func(tx *store.Tx) (err error) {
		entries, err = journal.Append(tx, epoch, selvage.Local(), tailnet, changes)
		return err
	})
	return entries
}

// events appends n entries to the journal of the server.
func events(t testing.TB, db *store.DB, n int) {
	t.Helper()
	changes := make([]journal.Change, n)
	for i := range changes {
		changes[i] = journal.Change{Action: journal.RelayCreate, Target: journal.Target("relay", i)}
	}
	appendTo(t, db, store.ServerTailnet, changes...)
}

func stored(t testing.TB, db *store.DB, q store.Query) (entries []*selvage.Entry) {
	t.Helper()
	err := db.Read(t.Context(), func(tx *store.Tx) (err error) {
		entries, err = tx.Entries(store.ServerTailnet, q)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestAppend(t *testing.T) {
	type value struct {
		Name   string `json:"name"`
		Secret string `json:"-"`
	}
	a, b := &value{"a", "x"}, &value{"b", "y"}
	tests := []struct {
		name    string
		change  journal.Change
		dropped bool
		before  string
		after   string
	}{
		{"new", journal.Change{New: a}, false, "", `{"name":"a"}`},
		{"gone", journal.Change{Old: a, New: (*value)(nil)}, false, `{"name":"a"}`, ""},
		{"changed", journal.Change{Old: a, New: b}, false, `{"name":"a"}`, `{"name":"b"}`},
		{"event", journal.Change{}, false, "", ""},
		{"no change", journal.Change{Old: a, New: &value{"a", "z"}}, true, "", ""},
		{"sorted keys", journal.Change{New: map[string]int{"b": 1, "a": 2}}, false, "", `{"a":2,"b":1}`},
	}
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				test.change.Action, test.change.Target = journal.NodeUpdate, journal.Target("node", selvage.NodeID(7))
				entries := appendTo(t, db, store.ServerTailnet, test.change)
				if test.dropped {
					if len(entries) != 0 {
						t.Errorf("got %d entries, want none", len(entries))
					}
					return
				}
				if len(entries) != 1 {
					t.Fatalf("got %d entries, want one", len(entries))
				}
				e := entries[0]
				if string(e.Old) != test.before || string(e.New) != test.after || e.Target != "node:7" || !e.Time.Equal(epoch) {
					t.Errorf("got %+v, want old %s and new %s", e, test.before, test.after)
				}
				last := stored(t, db, store.Query{Newest: true, Limit: 1})[0]
				e.Role = "" // not written down
				if diff := cmp.Diff(e, last); diff != "" {
					t.Errorf("entry as returned and as stored (-returned +stored):\n%s", diff)
				}
			})
		}
	})
}

func TestAppendRefuses(t *testing.T) {
	tests := []struct {
		name    string
		tailnet selvage.TailnetID
		value   any
		kind    selvage.Kind
	}{
		{"unknown tailnet", 9, "x", selvage.KindNotFound},
		{"too large", 0, strings.Repeat("x", journal.MaxValue), selvage.KindInvalid},
		{"not JSON", 0, func() {}, selvage.KindInternal},
	}
	db := storetest.New(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := db.Tx(t.Context(), func(tx *store.Tx) error {
				_, err := journal.Append(tx, epoch, selvage.System(), test.tailnet, []journal.Change{{Action: journal.DNSSet, Target: "dns", New: test.value}})
				return err
			})
			if err == nil || selvage.KindOf(err) != test.kind {
				t.Errorf("got %v, want an error of kind %v", err, test.kind)
			}
		})
	}
}

func TestActions(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range journal.Actions() {
		if seen[a] || strings.Count(a, ".") != 1 || strings.ToLower(a) != a {
			t.Errorf("action %q: want another one, in lower case, with one point", a)
		}
		seen[a] = true
	}
}

// Appends by several at once are numbered without gaps, on both databases.
func TestAppendConcurrently(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const writers, each = 4, 10
		done := make(chan error, writers)
		for range writers {
			go func() {
				for range each {
					err := db.Tx(t.Context(), func(tx *store.Tx) error {
						_, err := journal.Append(tx, epoch, selvage.System(), store.ServerTailnet, []journal.Change{{Action: journal.RelayDelete}})
						return err
					})
					if err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range writers {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		v, err := journal.Verify(t.Context(), db, store.ServerTailnet)
		if err != nil || v.Bad != 0 || v.Entries != writers*each {
			t.Errorf("got %+v, %v, want %d good entries", v, err, writers*each)
		}
	})
}

// tamper changes the file behind the store's back.
func tamper(t *testing.T, path, statement string) {
	t.Helper()
	raw, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if _, err := raw.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

func TestVerify(t *testing.T) {
	tests := []struct {
		name, statement string
		bad             int64
		problem         string
	}{
		{"untouched", "", 0, ""},
		{"other text", "UPDATE entries SET target = 'x' WHERE seq = 3", 3, "does not fit"},
		{"other time", "UPDATE entries SET time = time + 1 WHERE seq = 600", 600, "does not fit"},
		{"field moved", "UPDATE entries SET actor_name = actor_id || actor_name || 'l', actor_id = '' WHERE seq = 4", 4, "does not fit"},
		{"other hash", "UPDATE entries SET hash = x'00' WHERE seq = 600", 600, "does not fit"},
		{"removed in the middle", "DELETE FROM entries WHERE seq = 5", 5, "missing"},
		{"first removed", "DELETE FROM entries WHERE seq = 1", 1, "missing"},
		{"last removed", "DELETE FROM entries WHERE seq = 601", 601, "missing"},
		{"all removed", "DELETE FROM entries", 1, "missing"},
		{"head moved back", "UPDATE tailnets SET seq = 600, hash = (SELECT hash FROM entries WHERE seq = 600) WHERE id = 0", 601, "after the entry"},
		{"other head", "UPDATE tailnets SET hash = x'00' WHERE id = 0", 601, "noted as the last"},
		{"gap closed", "DELETE FROM entries WHERE seq = 601; UPDATE tailnets SET seq = 600 WHERE id = 0", 600, "noted as the last"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			db := storetest.Open(t, "sqlite:"+path)
			events(t, db, 601) // more than one batch
			if test.statement != "" {
				tamper(t, path, test.statement)
			}
			v, err := journal.Verify(t.Context(), db, store.ServerTailnet)
			if err != nil || v.Bad != test.bad || !strings.Contains(v.Problem, test.problem) {
				t.Errorf("got %+v, %v, want entry %d: %q", v, err, test.bad, test.problem)
			}
		})
	}
}

// Every field is part of the hash, and none can be moved into another.
func TestHashCoversFields(t *testing.T) {
	db := storetest.New(t)
	write(t, db, func(tx *store.Tx) error {
		return tx.PutTailnet(&selvage.Tailnet{ID: 1, Name: "a", Settings: selvage.DefaultSettings("a.ts")})
	})
	hashes := map[string]string{}
	undo := errors.New("undo")
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringOfN(rapid.RuneFrom([]rune("ab")), 0, 2, -1)
		actor := selvage.Actor{Kind: selvage.ActorKind(word.Draw(t, "kind")), ID: word.Draw(t, "id"), Name: word.Draw(t, "name"), Address: word.Draw(t, "address")}
		c := journal.Change{Action: word.Draw(t, "action"), Target: word.Draw(t, "target"), New: word.Draw(t, "new")}
		at := time.Unix(0, rapid.Int64Range(0, 3).Draw(t, "time"))
		tailnet := selvage.TailnetID(rapid.IntRange(0, 1).Draw(t, "tailnet"))
		err := db.Tx(context.Background(), func(tx *store.Tx) error {
			entries, err := journal.Append(tx, at, actor, tailnet, []journal.Change{c})
			if err != nil {
				return err
			}
			text := fmt.Sprintf("%q", []any{at.UnixNano(), actor.Kind, actor.ID, actor.Name, actor.Address, c.Action, c.Target, c.New, tailnet})
			hash := string(entries[0].Hash)
			if other, ok := hashes[hash]; ok && other != text {
				t.Fatalf("one hash for %s and %s", other, text)
			}
			hashes[hash] = text
			return undo
		})
		if err != undo {
			t.Fatal(err)
		}
	})
}

func TestFollow(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		events(t, db, 3)
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		var got []int64
		for e, err := range journal.Follow(ctx, db, store.ServerTailnet, 1) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Seq)
			switch e.Seq {
			case 3: // all that there is: the next one is waited for
				go func() {
					db.Tx(t.Context(), func(tx *store.Tx) error {
						_, err := journal.Append(tx, epoch, selvage.System(), store.ServerTailnet, []journal.Change{{}, {}})
						return err
					})
				}()
			case 5:
				cancel() // ends the loop
			}
		}
		if want := []int64{2, 3, 4, 5}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// What another process wrote is seen, too, a little later.
func TestFollowPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dsn := storetest.SQLite(t)
		db, other := storetest.Open(t, dsn), storetest.Open(t, dsn)
		start := time.Now()
		go func() {
			<-time.After(time.Second)
			events(t, other, 1)
		}()
		for e, err := range journal.Follow(t.Context(), db, store.ServerTailnet, 0) {
			if err != nil || e.Seq != 1 {
				t.Errorf("got %v, %v, want entry 1", e, err)
			}
			break
		}
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("seen after %v, want the next poll, after 2s", d)
		}
	})
}

// Whatever the time of an entry, its hash fits what the database gives back.
func TestTimesKeepHash(t *testing.T) {
	for _, at := range []time.Time{{}, time.Unix(0, 0), time.Unix(0, -1), epoch, time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)} {
		t.Run(at.String(), func(t *testing.T) {
			db := storetest.New(t)
			write(t, db, func(tx *store.Tx) error {
				_, err := journal.Append(tx, at, selvage.System(), store.ServerTailnet, []journal.Change{{Action: journal.RelayDelete}})
				return err
			})
			v, err := journal.Verify(t.Context(), db, store.ServerTailnet)
			if err != nil || v.Bad != 0 || v.Entries != 1 {
				t.Errorf("got %+v, %v, want one good entry", v, err)
			}
		})
	}
}

func TestFollowEndsAfterError(t *testing.T) {
	db := storetest.New(t)
	db.Close()
	n := 0
	for e, err := range journal.Follow(t.Context(), db, store.ServerTailnet, 0) {
		n++
		if e != nil || !selvage.Is(err, selvage.KindBusy) {
			t.Errorf("got %v, %v, want an error of kind busy", e, err)
		}
	}
	if n != 1 {
		t.Errorf("got %d values, want one error", n)
	}
}

// A reader that stops before it noted what it handled gets that again, and nothing
// before it.
func TestReaderGoesOn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var got []int64
		run := func(stopAt int64) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			r := journal.NewReader(db, slog.New(slog.DiscardHandler), store.ServerTailnet, "test", func(_ context.Context, entries []*selvage.Entry) error {
				for _, e := range entries {
					got = append(got, e.Seq)
				}
				if entries[len(entries)-1].Seq == stopAt {
					cancel()
					return ctx.Err()
				}
				events(t, db, 1) // handed over next, after the cursor was saved
				return nil
			})
			if err := r.Run(ctx); err != nil {
				t.Error(err)
			}
		}
		events(t, db, 3)
		run(4)
		run(5)
		if want := []int64{1, 2, 3, 4, 4, 5}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestReaderTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := storetest.New(t)
		events(t, db, 2)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var waits []time.Duration
		last := time.Now()
		journal.NewReader(db, slog.New(slog.DiscardHandler), store.ServerTailnet, "test", func(_ context.Context, entries []*selvage.Entry) error {
			if len(entries) != 2 {
				t.Errorf("got %d entries, want both each time", len(entries))
			}
			waits = append(waits, time.Since(last))
			last = time.Now()
			if len(waits) == 10 {
				cancel()
			}
			return errors.New("not now")
		}).Run(ctx)
		const s = time.Second
		want := []time.Duration{0, s / 2, s, 2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s}
		if !slices.Equal(waits, want) {
			t.Errorf("got waits %v, want %v", waits, want)
		}
	})
}

// BenchmarkRegister writes what the joining of a device does: its ID, node, key and
// journal entry. The time is mostly that of the disk; cpu-ns/op is what it costs.
func BenchmarkRegister(b *testing.B) {
	db := storetest.New(b)
	write(b, db, func(tx *store.Tx) error {
		return tx.PutTailnet(&selvage.Tailnet{ID: 1, Name: "a", Settings: selvage.DefaultSettings("a.ts")})
	})
	authKey := &selvage.AuthKey{ID: "k1", Tailnet: 1, Hash: strings.Repeat("0", 64), Reusable: true}
	actor := selvage.Actor{Kind: selvage.ActorKey, ID: "k1", Address: "192.0.2.1"}
	machine := key.NewMachine().Public()
	start := cpuTime(b)
	for b.Loop() {
		write(b, db, func(tx *store.Tx) error {
			id, err := tx.NextID(store.CounterNode)
			if err != nil {
				return err
			}
			var nodeKey key.NodePublic
			if err := nodeKey.UnmarshalText(fmt.Appendf(nil, "nodekey:%064x", id)); err != nil {
				return err
			}
			n := &selvage.Node{
				ID: selvage.NodeID(id), Tailnet: 1, StableID: selvage.NewStableID(), Machine: machine,
				Key: nodeKey, Name: fmt.Sprint("n", id), User: 1, Created: epoch, Approved: true,
				IPv4: netip.AddrFrom4([4]byte{100, byte(id >> 16), byte(id >> 8), byte(id)}), IPv6: netip.AddrFrom16([16]byte{0xfd, 12: byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}),
			}
			authKey.Uses++
			if err := tx.PutAuthKey(authKey); err != nil {
				return err
			}
			if err := tx.PutNode(n); err != nil {
				return err
			}
			_, err = journal.Append(tx, epoch, actor, 1, []journal.Change{{Action: journal.NodeCreate, Target: journal.Target("node", n.ID), New: n}})
			return err
		})
	}
	b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N), "cpu-ns/op")
}

// cpuTime returns the CPU time of the process.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
