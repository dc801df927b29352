package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
	"unicode/utf8"

	"selvage"
)

// Bounds of a transaction.
const (
	txTimeout = 30 * time.Second // from the call to the commit, waiting and retries included
	maxTries  = 5                // times that a write is tried when others are in its way
	firstWait = 5 * time.Millisecond
)

var errTxTimeout = errors.New("transaction deadline")

// Tx is a transaction. It is for one goroutine and ends when the function that got
// it returns. After a statement failed, every later one returns the same error and
// the transaction is not committed, even if the function returns nil: PostgreSQL
// works that way, and SQLite is made to.
type Tx struct {
	ctx     context.Context
	db      *DB
	session session
	failed  error // the first error of a statement
	wake    map[selvage.TailnetID]struct{}
}

// Context returns the context of the transaction.
func (tx *Tx) Context() context.Context { return tx.ctx }

// Tx calls f in a transaction that may write, and commits if f returns nil. If
// another transaction was in the way, everything is rolled back and f is called
// again, so f must not change anything but through its Tx, or set it anew each time.
//
// PostgreSQL runs it as READ COMMITTED: who decides from what it read takes the
// tailnet's lock first, by LockTailnet. On SQLite write transactions run one by one.
func (db *DB) Tx(ctx context.Context, f func(*Tx) error) error {
	start := time.Now()
	defer func() { db.observe("write", time.Since(start)) }()
	ctx, cancel := context.WithTimeoutCause(ctx, txTimeout, errTxTimeout)
	defer cancel()
	wait := firstWait
	for try := 1; ; try++ {
		err := db.attempt(ctx, true, f)
		if err == nil || try == maxTries || db.dialect.classify(err).trouble != troubleRetry {
			return err
		}
		// Up to half as much again, so that two that collided don't collide again.
		timer := time.NewTimer(wait + rand.N(wait/2))
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
		wait *= 4
	}
}

// Read calls f in a transaction that can't write and sees one state of the whole
// database, whatever others commit meanwhile.
func (db *DB) Read(ctx context.Context, f func(*Tx) error) error {
	start := time.Now()
	defer func() { db.observe("read", time.Since(start)) }()
	ctx, cancel := context.WithTimeoutCause(ctx, txTimeout, errTxTimeout)
	defer cancel()
	return db.attempt(ctx, false, f)
}

// attempt runs f in one transaction, once.
func (db *DB) attempt(ctx context.Context, write bool, f func(*Tx) error) error {
	start := time.Now()
	s, err := db.backend.begin(ctx, write)
	if err != nil {
		return db.translate(ctx, err)
	}
	if write {
		db.observe("wait", time.Since(start))
	}
	tx := &Tx{ctx: ctx, db: db, session: s}
	ended := false
	defer func() {
		if !ended { // f panicked
			s.rollback()
		}
	}()
	err = f(tx)
	ended = true
	if tx.failed != nil && err == nil {
		err = tx.failed
	}
	if err != nil {
		// The error that f returned tells more than that of a rollback, and a
		// connection that can't roll back is thrown away below.
		s.rollback()
		return err
	}
	if err := s.commit(); err != nil {
		return db.translate(ctx, fmt.Errorf("commit: %w", err))
	}
	if len(tx.wake) > 0 {
		db.wake(tx.wake)
	}
	return nil
}

// exec runs a statement and returns how many rows it changed.
func (tx *Tx) exec(query string, args ...any) (int64, error) {
	if err := tx.check(args); err != nil {
		return 0, err
	}
	res, err := tx.session.exec(tx.ctx, query, args)
	if err != nil {
		return 0, tx.fail(err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, tx.fail(err)
	}
	return n, nil
}

// each calls scan for each row of the answer.
func (tx *Tx) each(scan func(*sql.Rows) error, query string, args ...any) (err error) {
	if err := tx.check(args); err != nil {
		return err
	}
	rows, err := tx.session.query(tx.ctx, query, args)
	if err != nil {
		return tx.fail(err)
	}
	defer func() {
		if e := rows.Close(); e != nil && err == nil {
			err = tx.fail(e)
		}
	}()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return tx.fail(err)
	}
	return nil
}

// all returns the rows of the answer, each read by scan.
func all[T any](tx *Tx, scan func(*sql.Rows) (T, error), query string, args ...any) ([]T, error) {
	var list []T
	err := tx.each(func(rows *sql.Rows) error {
		v, err := scan(rows)
		if err != nil {
			return err
		}
		list = append(list, v)
		return nil
	}, query, args...)
	if err != nil {
		return nil, err
	}
	return list, nil
}

// one returns the first row of the answer, and false if there is none.
func one[T any](tx *Tx, scan func(*sql.Rows) (T, error), query string, args ...any) (v T, ok bool, err error) {
	list, err := all(tx, scan, query, args...)
	if err != nil || len(list) == 0 {
		return v, false, err
	}
	return list[0], true, nil
}

// remove runs a DELETE and fails if what it names is not there.
func (tx *Tx) remove(what string, query string, args ...any) error {
	n, err := tx.exec(query, args...)
	if err != nil {
		return fmt.Errorf("delete %s: %w", what, err)
	}
	if n == 0 {
		return selvage.Errorf(selvage.KindNotFound, "%s is not there", what)
	}
	return nil
}

// check refuses text that PostgreSQL can't hold, for both databases alike.
func (tx *Tx) check(args []any) error {
	if tx.failed != nil {
		return tx.failed
	}
	for _, a := range args {
		if s, ok := a.(string); ok && (!utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0) {
			return selvage.Errorf(selvage.KindInvalid, "text holds a zero byte or is not UTF-8: %.40q", s)
		}
	}
	return nil
}

// fail translates the error of a statement and keeps it.
func (tx *Tx) fail(err error) error {
	tx.failed = tx.db.translate(tx.ctx, err)
	return tx.failed
}
