// Package store owns the database: it holds the only SQL of the program, and turns
// SQL errors into the kinds of error of package selvage. SQLite is the default and
// PostgreSQL is for several servers over one database; nothing above knows which
// of the two it is.
//
// Read tx.go first: everything is read and written in a transaction, [DB.Tx] or
// [DB.Read], by methods of [Tx], one file per topic. The tables are in schema/.
// Export and Import, the backup, are the same for both databases.
//
// The package must not know what the data is for: it checks uniqueness and that
// references lead somewhere, and no rule of the product.
package store

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"selvage"
)

// MasterKeySize is the length of Options.MasterKey in bytes.
const MasterKeySize = 32

// closeTimeout is how long Close waits for transactions that still run.
const closeTimeout = 5 * time.Second

var errClosed = selvage.Errorf(selvage.KindBusy, "the database is closed: the server is shutting down")

// Options are what Open needs beside the address of the database.
type Options struct {
	// MasterKey has MasterKeySize bytes. It encrypts what PutSecret saves.
	MasterKey []byte
	// Logger gets what an operator should know and no caller is told; nil discards.
	Logger *slog.Logger
	// Observe, if set, is told how long each transaction took, by operation: "wait"
	// is the time until a write began, "write" and "read" the whole transaction,
	// "export" a backup. It must be quick and safe for concurrent use.
	Observe func(op string, d time.Duration)
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	dialect dialect
	backend backend
	vault   *vault
	log     *slog.Logger
	observe func(op string, d time.Duration)

	mu sync.Mutex
	// waiters are closed at the next commit of an entry of the tailnet; guarded by mu.
	waiters map[selvage.TailnetID]chan struct{}
	closed  bool // guarded by mu
}

// backend is one of the two kinds of database: how it is reached and how a
// transaction begins.
type backend interface {
	// begin starts a transaction; it waits no longer than ctx allows.
	begin(ctx context.Context, write bool) (session, error)
	// place names the database for people: a file, or a host and a database name.
	place() string
	close() error
}

// session is one running transaction.
type session interface {
	exec(ctx context.Context, query string, args []any) (sql.Result, error)
	// script runs several statements that take no arguments.
	script(ctx context.Context, text string) error
	query(ctx context.Context, query string, args []any) (*sql.Rows, error)
	// commit and rollback end the transaction; one of them is called, once.
	commit() error
	rollback() error
}

// Open opens the database at dsn, "sqlite:PATH", "postgres://..." or
// "postgresql://...", and creates or updates its tables. SQLite makes the file, not
// its directory. The errors are for operators: they say what to do.
func Open(ctx context.Context, dsn string, o Options) (*DB, error) {
	if len(o.MasterKey) != MasterKeySize {
		return nil, selvage.Errorf(selvage.KindInvalid, "the master key has %d bytes: want %d", len(o.MasterKey), MasterKeySize)
	}
	db, err := connect(ctx, dsn, o)
	if err != nil {
		return nil, err
	}
	if err := db.setUp(ctx); err != nil {
		db.backend.close()
		return nil, err
	}
	return db, nil
}

// connect opens the database as it is, without looking at its tables.
func connect(ctx context.Context, dsn string, o Options) (*DB, error) {
	db := &DB{log: o.Logger, observe: o.Observe, waiters: map[selvage.TailnetID]chan struct{}{}}
	if db.log == nil {
		db.log = slog.New(slog.DiscardHandler)
	}
	if db.observe == nil {
		db.observe = func(string, time.Duration) {}
	}
	var err error
	if db.vault, err = newVault(o.MasterKey); err != nil {
		return nil, err
	}
	if path, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		db.dialect = sqliteDialect
		db.backend, err = openSQLite(path)
	} else if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		db.dialect = postgresDialect
		db.backend, err = openPostgres(ctx, dsn)
	} else {
		// The text may hold a password, so it is not repeated.
		return nil, selvage.Errorf(selvage.KindInvalid, "the database address must begin with sqlite:, postgres:// or postgresql://")
	}
	if err != nil {
		return nil, err
	}
	return db, nil
}

// setUp brings the tables to this program's version and checks that the data is
// whole and the master key the right one.
func (db *DB) setUp(ctx context.Context) error {
	if err := db.migrate(ctx, lastVersion()); err != nil {
		return err
	}
	if err := db.markOpen(ctx); err != nil {
		return err
	}
	return db.Tx(ctx, (*Tx).checkMasterKey)
}

// Close ends the use of the database. Callers end their transactions first; it waits
// closeTimeout for those that run on. Calling it again does nothing.
func (db *DB) Close() error {
	db.mu.Lock()
	closed := db.closed
	db.closed = true
	db.mu.Unlock()
	if closed {
		return nil
	}
	markErr := db.markClean(context.Background())
	if err := db.backend.close(); err != nil {
		return fmt.Errorf("close database %s: %w", db.backend.place(), err)
	}
	return markErr
}

// Ping returns nil if the database answers.
func (db *DB) Ping(ctx context.Context) error {
	return db.Read(ctx, func(tx *Tx) error {
		_, err := tx.exec("SELECT 1")
		return err
	})
}

// Place names the database for people: a file, or a host and a database name.
func (db *DB) Place() string { return db.backend.place() }

// Committed returns a channel that is closed at the next commit, made through this
// DB, of a journal entry of the tailnet. Ask for the channel before reading, so that
// no commit falls between.
func (db *DB) Committed(tailnet selvage.TailnetID) <-chan struct{} {
	db.mu.Lock()
	defer db.mu.Unlock()
	ch := db.waiters[tailnet]
	if ch == nil {
		ch = make(chan struct{})
		db.waiters[tailnet] = ch
	}
	return ch
}

// wake tells those who wait on Committed for the tailnets.
func (db *DB) wake(tailnets map[selvage.TailnetID]struct{}) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for id := range tailnets {
		if ch := db.waiters[id]; ch != nil {
			close(ch)
			delete(db.waiters, id)
		}
	}
}
