package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/jackc/pgx/v5/pgconn"

	"selvage"
)

// A full disk is told, loses nothing that was saved, and is over when there is space
// again. A limit on the size of the file stands in for the disk: SQLite reports both
// by the same code.
func TestFullDisk(t *testing.T) {
	db := open(t)
	limit := func(pages int) {
		t.Helper()
		err := db.Tx(t.Context(), func(tx *Tx) error {
			return tx.session.script(tx.ctx, fmt.Sprintf("PRAGMA max_page_count = %d", pages))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	save := func(rev int64, size int) error {
		return db.Tx(t.Context(), func(tx *Tx) error {
			return tx.PutPolicy(&selvage.PolicyRevision{Rev: rev, Text: strings.Repeat("x", size)})
		})
	}
	if err := save(1, 10); err != nil {
		t.Fatal(err)
	}
	limit(1) // SQLite takes the present size where the limit is lower
	err := save(2, 1<<20)
	if !selvage.Is(err, selvage.KindBusy) || !strings.Contains(err.Error(), "disk of database "+db.Place()+" is full") {
		t.Errorf("got %v, want an error of kind busy about a full disk", err)
	}
	limit(1 << 30)
	if err := save(2, 1<<20); err != nil {
		t.Errorf("after there is space again: %v", err)
	}
	var revisions []*selvage.PolicyRevision
	err = db.Read(t.Context(), func(tx *Tx) (err error) {
		revisions, err = tx.Policies(0, 10)
		return err
	})
	if err != nil || len(revisions) != 2 {
		t.Errorf("got %d revisions, %v, want both", len(revisions), err)
	}
}

// A writer does not wait for ever for another.
func TestWaitForWriterEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := open(t)
		err := db.Tx(t.Context(), func(*Tx) error {
			return db.Tx(context.WithoutCancel(t.Context()), func(*Tx) error { return errors.New("began inside another") })
		})
		if !selvage.Is(err, selvage.KindBusy) || !strings.Contains(err.Error(), "did not answer within 30s") {
			t.Errorf("got %v, want an error of kind busy", err)
		}
	})
}

func TestFileIsPrivate(t *testing.T) {
	db := open(t)
	for _, name := range []string{db.Place(), db.Place() + "-wal"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", name, info.Mode().Perm())
		}
	}
}

// A row that can't be read costs its node's facts, and no more.
func TestSoftSurvivesBadRow(t *testing.T) {
	db := open(t)
	err := db.Tx(t.Context(), func(tx *Tx) error {
		for id := selvage.NodeID(1); id <= 2; id++ {
			if err := tx.PutNode(&selvage.Node{ID: id, StableID: id.String(), Name: id.String()}); err != nil {
				return err
			}
		}
		_, err := tx.exec("UPDATE soft SET hostinfo = '{', endpoints = '[1]', disco = 'x', home_derp = node")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Read(t.Context(), func(tx *Tx) error {
		soft, err := tx.Soft(ServerTailnet)
		if len(soft) != 2 || soft[1].Hostinfo == nil || soft[2].HomeDERP != 2 {
			t.Errorf("got %v, want two nodes with what could be read", soft)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestClassifyPostgres(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want diagnosis
	}{
		{"unique", &pgconn.PgError{Code: "23505", ConstraintName: "nodes_name"}, diagnosis{troubleUnique, "nodes_name"}},
		{"reference", &pgconn.PgError{Code: "23503"}, diagnosis{trouble: troubleReference}},
		{"serialization", &pgconn.PgError{Code: "40001"}, diagnosis{trouble: troubleRetry}},
		{"deadlock", fmt.Errorf("commit: %w", &pgconn.PgError{Code: "40P01"}), diagnosis{trouble: troubleRetry}},
		{"disk full", &pgconn.PgError{Code: "53100"}, diagnosis{trouble: troubleFull}},
		{"standby", &pgconn.PgError{Code: "25006"}, diagnosis{trouble: troubleReadOnly}},
		{"shutting down", &pgconn.PgError{Code: "57P01"}, diagnosis{trouble: troubleUnreachable}},
		{"wrong password", &pgconn.PgError{Code: "28P01"}, diagnosis{trouble: troubleRefused}},
		{"no database", &pgconn.PgError{Code: "3D000"}, diagnosis{trouble: troubleRefused}},
		{"syntax", &pgconn.PgError{Code: "42601"}, diagnosis{}},
		{"lost connection", io.ErrUnexpectedEOF, diagnosis{trouble: troubleUnreachable}},
		{"bad connection", driver.ErrBadConn, diagnosis{trouble: troubleUnreachable}},
		{"network", &net.OpError{Op: "read", Err: errors.New("reset")}, diagnosis{trouble: troubleUnreachable}},
		{"cancelled", context.Canceled, diagnosis{}},
		{"deadline", context.DeadlineExceeded, diagnosis{}},
		{"other", errors.New("other"), diagnosis{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := classifyPostgres(test.err); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// Every unique index of the schema has a message of its own.
func TestUniqueIndexesHaveMessages(t *testing.T) {
	db := open(t)
	var names []string
	err := db.Read(t.Context(), func(tx *Tx) (err error) {
		names, err = all(tx, scanString, "SELECT name FROM sqlite_master WHERE type = 'index' AND sql LIKE 'CREATE UNIQUE%'")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		t.Fatal("found no unique index")
	}
	for _, name := range names {
		if uniqueMessage(name) == uniqueMessage("") {
			t.Errorf("index %s has no message", name)
		}
	}
}
