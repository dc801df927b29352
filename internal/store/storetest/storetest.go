// Package storetest opens databases for the tests of other packages: SQLite in a
// temporary directory, and PostgreSQL too when the environment variable SELVAGE_PG
// holds the address of a server. It has no opinion on what is stored.
package storetest

import (
	"bytes"
	"context"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"selvage"
	"selvage/internal/store"
)

// postgresVariable is the environment variable with the address of a PostgreSQL
// server, as in "postgres://postgres@/postgres?host=/tmp/pg".
const postgresVariable = "SELVAGE_PG"

const postgresTimeout = 30 * time.Second

// MasterKey returns the master key of the databases of tests.
func MasterKey() []byte { return bytes.Repeat([]byte{7}, store.MasterKeySize) }

// New returns an empty SQLite database that is closed when the test ends.
func New(t testing.TB) *store.DB {
	t.Helper()
	return Open(t, SQLite(t))
}

// Open opens the database at dsn with MasterKey, until the test ends.
func Open(t testing.TB, dsn string) *store.DB {
	t.Helper()
	db, err := store.Open(context.Background(), dsn, store.Options{MasterKey: MasterKey()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// Each runs the test with an empty database of each kind that there is.
func Each(t *testing.T, f func(t *testing.T, db *store.DB)) {
	t.Helper()
	EachDSN(t, func(t *testing.T, dsn func() string) { f(t, Open(t, dsn())) })
}

// EachDSN runs the test for each kind of database that there is. Every call of dsn
// returns the address of another empty database, which is gone after the test.
func EachDSN(t *testing.T, f func(t *testing.T, dsn func() string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { f(t, func() string { return SQLite(t) }) })
	if server := os.Getenv(postgresVariable); server != "" {
		t.Run("postgres", func(t *testing.T) { f(t, func() string { return postgres(t, server) }) })
	}
}

// SQLite returns the address of a file in a new temporary directory.
func SQLite(t testing.TB) string {
	return "sqlite:" + filepath.Join(t.TempDir(), "selvage.db")
}

// postgres makes a schema and returns the address that leads to it.
func postgres(t testing.TB, server string) string {
	t.Helper()
	address, err := url.Parse(server)
	if err != nil {
		t.Fatalf("%s: %v", postgresVariable, err)
	}
	name := "selvage_test_" + selvage.RandomText(12)
	execPostgres(t, server, "CREATE SCHEMA "+name)
	t.Cleanup(func() { execPostgres(t, server, "DROP SCHEMA "+name+" CASCADE") })
	query := address.Query()
	query.Set("search_path", name)
	address.RawQuery = query.Encode()
	return address.String()
}

func execPostgres(t testing.TB, server, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), postgresTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatalf("%s: %v", postgresVariable, err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}
