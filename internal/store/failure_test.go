package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"selvage"
	"selvage/internal/store"
	"selvage/internal/store/storetest"
)

var options = store.Options{MasterKey: storetest.MasterKey()}

// raw runs statements in a SQLite file behind the store's back.
func raw(t testing.TB, path, statements string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statements); err != nil {
		t.Fatal(err)
	}
}

// closedFile returns the path of a database with something in it that nobody has open.
func closedFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "selvage.db")
	db, err := store.Open(t.Context(), "sqlite:"+path, options)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenTellsWhatIsWrong(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(t *testing.T) (dsn string, o store.Options)
		kind    selvage.Kind
		want    string // PATH stands for the file
	}{
		{"short master key", func(t *testing.T) (string, store.Options) {
			return storetest.SQLite(t), store.Options{MasterKey: []byte("x")}
		}, selvage.KindInvalid, "the master key has 1 bytes: want 32"},
		{"unknown scheme", func(t *testing.T) (string, store.Options) {
			return "mysql://root:secret@host", options
		}, selvage.KindInvalid, "must begin with sqlite:"},
		{"no path", func(t *testing.T) (string, store.Options) {
			return "sqlite:", options
		}, selvage.KindInvalid, "names no file"},
		{"no directory", func(t *testing.T) (string, store.Options) {
			return "sqlite:" + t.TempDir() + "/none/x.db", options
		}, selvage.KindInvalid, "does not exist: make it"},
		{"directory is a file", func(t *testing.T) (string, store.Options) {
			return "sqlite:" + closedFile(t) + "/x.db", options
		}, selvage.KindInvalid, "must be writable"},
		{"file is a directory", func(t *testing.T) (string, store.Options) {
			return "sqlite:" + t.TempDir(), options
		}, selvage.KindBusy, "can't be written"},
		{"wrong master key", func(t *testing.T) (string, store.Options) {
			return "sqlite:" + closedFile(t), store.Options{MasterKey: make([]byte, 32)}
		}, selvage.KindInvalid, "the master key does not fit database PATH"},
		{"newer schema", func(t *testing.T) (string, store.Options) {
			path := closedFile(t)
			raw(t, path, "UPDATE meta SET value = '999' WHERE name = 'schema'")
			return "sqlite:" + path, options
		}, selvage.KindInvalid, "has schema version 999 and this program knows version 1"},
		{"another program's", func(t *testing.T) (string, store.Options) {
			path := filepath.Join(t.TempDir(), "x.db")
			raw(t, path, "CREATE TABLE horses (id INT)")
			return "sqlite:" + path, options
		}, selvage.KindInvalid, "tables of another program (horses)"},
		{"no database", func(t *testing.T) (string, store.Options) {
			path := filepath.Join(t.TempDir(), "x.db")
			if err := os.WriteFile(path, bytes.Repeat([]byte("horse"), 1000), 0o600); err != nil {
				t.Fatal(err)
			}
			return "sqlite:" + path, options
		}, selvage.KindInternal, "database PATH is damaged: stop the server, then restore a backup into an empty directory (selvage restore BACKUP) or save what is left (sqlite3 PATH .recover)"},
		{"PostgreSQL away", func(t *testing.T) (string, store.Options) {
			return "postgres://u:geheim@/db?host=" + t.TempDir(), options
		}, selvage.KindBusy, "can't be reached: check that it runs"},
		{"PostgreSQL address", func(t *testing.T) (string, store.Options) {
			return "postgres://u:geheim@host:port/db", options
		}, selvage.KindInvalid, "can't be read: want postgres://"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dsn, o := test.prepare(t)
			db, err := store.Open(t.Context(), dsn, o)
			if err == nil {
				db.Close()
			}
			wantKind(t, err, test.kind, strings.ReplaceAll(test.want, "PATH", strings.TrimPrefix(dsn, "sqlite:")))
			if err != nil && strings.Contains(err.Error(), "geheim") {
				t.Errorf("the password is in the message: %v", err)
			}
		})
	}
}

// A file that was not closed is checked at the next start; one that was, is not.
func TestUncleanEndIsChecked(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(t *testing.T, path string)
		damaged bool
		logged  string
	}{
		{"clean", func(*testing.T, string) {}, false, ""},
		{"unclean", func(t *testing.T, path string) {
			raw(t, path, "UPDATE meta SET value = 'yes' WHERE name = 'open'")
		}, false, "checked and is whole"},
		{"unclean and damaged", func(t *testing.T, path string) {
			raw(t, path, "UPDATE meta SET value = 'yes' WHERE name = 'open'")
			damage(t, path)
		}, true, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := closedFile(t)
			test.prepare(t, path)
			var log bytes.Buffer
			db, err := store.Open(t.Context(), "sqlite:"+path, store.Options{MasterKey: storetest.MasterKey(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if test.damaged {
				wantKind(t, err, selvage.KindInternal, "is damaged")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if (test.logged == "") != (log.Len() == 0) || !strings.Contains(log.String(), test.logged) {
				t.Errorf("got the log %q, want %q in it", log.String(), test.logged)
			}
		})
	}
}

// damage overwrites the page that the table of policies begins with.
func damage(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var page, size int64
	if err := db.QueryRow("SELECT rootpage FROM sqlite_master WHERE name = 'policies'").Scan(&page); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRow("PRAGMA page_size").Scan(&size); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xaa}, int(size)), (page-1)*size); err != nil {
		t.Fatal(err)
	}
}

func TestDamageIsToldWhenMet(t *testing.T) {
	path := closedFile(t)
	damage(t, path)
	db := storetest.Open(t, "sqlite:"+path)
	err := db.Read(t.Context(), func(tx *store.Tx) error { _, err := tx.Policy(1); return err })
	wantKind(t, err, selvage.KindInternal, "sqlite3 "+path+" .recover")
	write(t, db, func(tx *store.Tx) error { return tx.PutCursor("other", 1) }) // the rest goes on
}

// Several servers that start over one empty database at the same time don't get in
// each other's way.
func TestOpenAtTheSameTime(t *testing.T) {
	storetest.EachDSN(t, func(t *testing.T, newDSN func() string) {
		dsn := newDSN()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				db, err := store.Open(t.Context(), dsn, options)
				if err != nil {
					t.Error(err)
					return
				}
				db.Close()
			})
		}
		wg.Wait()
	})
}

func TestPing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		if err := db.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		wantKind(t, db.Ping(t.Context()), selvage.KindBusy, "")
	})
}

func TestTxRollsBack(t *testing.T) {
	failure := errors.New("changed my mind")
	tests := []struct {
		name string
		f    func(tx *store.Tx) error
		want string
	}{
		{"error", func(tx *store.Tx) error { return failure }, "changed my mind"},
		{"panic", func(tx *store.Tx) error { panic(failure) }, "changed my mind"},
		{"error of a statement that was ignored", func(tx *store.Tx) error {
			tx.PutUser(&selvage.User{ID: 1, Tailnet: 99})
			return nil
		}, "is not there any more"},
		{"statement after one that failed", func(tx *store.Tx) error {
			tx.PutUser(&selvage.User{ID: 1, Tailnet: 99})
			return tx.PutCursor("a", 2)
		}, "is not there any more"},
	}
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				err := func() (err error) {
					defer func() {
						if p := recover(); p != nil {
							err = p.(error)
						}
					}()
					return db.Tx(t.Context(), func(tx *store.Tx) error {
						if err := tx.PutCursor("a", 1); err != nil {
							return err
						}
						return test.f(tx)
					})
				}()
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
				got := read(t, db, func(tx *store.Tx) (int64, error) { return tx.Cursor("a") })
				same(t, "cursor", got, 0)
			})
		}
	})
}

func TestReadCannotWrite(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		err := db.Read(t.Context(), func(tx *store.Tx) error { return tx.PutCursor("a", 1) })
		wantKind(t, err, selvage.KindBusy, "can't be written")
	})
}

func TestReadSeesOneState(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		cursor := func(tx *store.Tx) (int64, error) { return tx.Cursor("a") }
		err := db.Read(t.Context(), func(tx *store.Tx) error {
			before, err := cursor(tx)
			if err != nil {
				return err
			}
			write(t, db, func(tx *store.Tx) error { return tx.PutCursor("a", 1) })
			after, err := cursor(tx)
			if before != 0 || after != 0 {
				t.Errorf("got %d and then %d, want 0 both times", before, after)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		same(t, "afterwards", read(t, db, cursor), 1)
	})
}

func TestTextThatCannotBeStored(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		for _, text := range []string{"a\x00b", "a\xffb"} {
			err := db.Tx(t.Context(), func(tx *store.Tx) error { return tx.PutCursor(text, 1) })
			wantKind(t, err, selvage.KindInvalid, "zero byte or is not UTF-8")
		}
	})
}

func TestTxEndsWithContext(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		called := false
		f := func(tx *store.Tx) error { called = true; return nil }
		for name, err := range map[string]error{"Tx": db.Tx(ctx, f), "Read": db.Read(ctx, f)} {
			if !errors.Is(err, context.Canceled) || called {
				t.Errorf("%s: got %v, called %v, want a cancelled context and no call", name, err, called)
			}
		}
	})
}

// Writers that read and then write what they computed don't lose one another's work,
// if they take the tailnet's lock.
func TestLockTailnetSerializes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const writers, each = 8, 10
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for range each {
					err := db.Tx(t.Context(), func(tx *store.Tx) error {
						if _, err := tx.LockTailnet(store.ServerTailnet); err != nil {
							return err
						}
						n, err := tx.Cursor("sum")
						if err != nil {
							return err
						}
						return tx.PutCursor("sum", n+1)
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		same(t, "sum", read(t, db, func(tx *store.Tx) (int64, error) { return tx.Cursor("sum") }), writers*each)
	})
}

// Two transactions that lock the same two rows in different order are both done in
// the end: PostgreSQL ends one of them, and it is tried again.
func TestDeadlockIsTriedAgain(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		withTailnet(t, db)
		manyWriters := !strings.HasSuffix(db.Place(), ".db") // SQLite lets one begin at a time
		var meet sync.WaitGroup
		meet.Add(2)
		run := func(first, second selvage.TailnetID) error {
			tries := 0
			return db.Tx(t.Context(), func(tx *store.Tx) error {
				tries++
				if _, err := tx.LockTailnet(first); err != nil {
					return err
				}
				if tries == 1 && manyWriters {
					meet.Done()
					meet.Wait() // both hold their first lock
				}
				if _, err := tx.LockTailnet(second); err != nil {
					return err
				}
				return tx.PutCursor(fmt.Sprint(first), 1)
			})
		}
		errs := make(chan error, 2)
		go func() { errs <- run(0, 1) }()
		go func() { errs <- run(1, 0) }()
		for range 2 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestObserve(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]bool{}
	o := options
	o.Observe = func(op string, d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		seen[op] = d >= 0
	}
	db, err := store.Open(t.Context(), storetest.SQLite(t), o)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	export(t, db)
	mu.Lock()
	defer mu.Unlock()
	same(t, "operations", seen, map[string]bool{"wait": true, "write": true, "read": true, "export": true})
}
