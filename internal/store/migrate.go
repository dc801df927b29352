package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"selvage"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// Names in the table meta.
const (
	metaSchema = "schema" // number of the last schema file that was applied
	metaOpen   = "open"   // "yes" while a program has the SQLite file open
)

// migration is one schema file.
type migration struct {
	version int // the number that the name begins with
	name    string
	text    string
}

// migrations returns the schema files in order. They number from 1 without gaps: a
// test sees to it.
func migrations() []migration {
	names, err := fs.Glob(schemaFiles, "schema/*.sql")
	if err != nil {
		panic(err) // the pattern is constant
	}
	slices.Sort(names)
	var list []migration
	for _, name := range names {
		text, err := schemaFiles.ReadFile(name)
		if err != nil {
			panic(err) // it is part of the program
		}
		number, _, _ := strings.Cut(strings.TrimPrefix(name, "schema/"), "_")
		version, err := strconv.Atoi(number)
		if err != nil {
			panic(err)
		}
		list = append(list, migration{version, name, string(text)})
	}
	return list
}

// lastVersion is the version of the tables that this program works with.
func lastVersion() int { return len(migrations()) }

// migrate applies the schema files up to the given one, each in a transaction.
func (db *DB) migrate(ctx context.Context, last int) error {
	version, err := db.schemaVersion(ctx)
	if err != nil {
		return err
	}
	if version == last {
		return nil // the usual case, and no need for a lock
	}
	for _, m := range migrations() {
		if m.version > last {
			break
		}
		err := db.Tx(ctx, func(tx *Tx) error { return tx.apply(m) })
		if err != nil {
			return fmt.Errorf("update tables of database %s with %s: %w", db.Place(), m.name, err)
		}
	}
	return nil
}

// apply runs a schema file, unless it was run before.
func (tx *Tx) apply(m migration) error {
	if err := tx.lockSchema(); err != nil {
		return err
	}
	version, err := tx.schemaVersion()
	if err != nil || version >= m.version {
		return err
	}
	text := strings.ReplaceAll(m.text, " BLOB", " "+tx.db.dialect.blob)
	if err := tx.session.script(tx.ctx, text); err != nil {
		return tx.fail(err)
	}
	return tx.putMeta(metaSchema, strconv.Itoa(m.version))
}

// lockSchema keeps other programs from setting up the database until the
// transaction ends.
func (tx *Tx) lockSchema() error {
	if tx.db.dialect.lockSchema == "" {
		return nil
	}
	_, err := tx.exec(tx.db.dialect.lockSchema)
	return err
}

// schemaVersion returns the version of the tables, 0 for an empty database, and an
// error if it is not a version of this program.
func (db *DB) schemaVersion(ctx context.Context) (int, error) {
	var version int
	err := db.Read(ctx, func(tx *Tx) (err error) {
		version, err = tx.schemaVersion()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("read version of database: %w", err)
	}
	return version, nil
}

func (tx *Tx) schemaVersion() (int, error) {
	tables, err := tx.tableNames()
	if err != nil || len(tables) == 0 {
		return 0, err
	}
	place := tx.db.Place()
	if !slices.Contains(tables, "meta") || !slices.Contains(tables, "tailnets") {
		return 0, selvage.Errorf(selvage.KindInvalid, "database %s holds tables of another program (%s): use an empty one", place, tables[0])
	}
	text, err := tx.meta(metaSchema)
	if err != nil {
		return 0, err
	}
	version, err := strconv.Atoi(text)
	if err != nil || version < 1 {
		return 0, fmt.Errorf("database %s has the schema version %q: want a number", place, text)
	}
	if version > lastVersion() {
		return 0, selvage.Errorf(selvage.KindInvalid, "database %s has schema version %d and this program knows version %d: "+
			"it was used by a newer program; install that version again, or restore a backup of the older one", place, version, lastVersion())
	}
	return version, nil
}

// tableNames returns the names of all tables of the database, in order.
func (tx *Tx) tableNames() ([]string, error) {
	names, err := all(tx, scanString, tx.db.dialect.tables)
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

// meta returns a fact about the database, "" if there is none.
func (tx *Tx) meta(name string) (string, error) {
	value, _, err := one(tx, scanString, "SELECT value FROM meta WHERE name = $1", name)
	return value, err
}

func (tx *Tx) putMeta(name, value string) error {
	_, err := tx.exec("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)
	return err
}

// markOpen notes in a SQLite file that it is in use, and checks the file if the
// last user did not note that it was done: the machine may have stopped while it
// was writing.
func (db *DB) markOpen(ctx context.Context) error {
	file, ok := db.backend.(*sqliteBackend)
	if !ok {
		return nil
	}
	unclean := false
	err := db.Tx(ctx, func(tx *Tx) error {
		open, err := tx.meta(metaOpen)
		if err != nil {
			return err
		}
		unclean = open == "yes"
		return tx.putMeta(metaOpen, "yes")
	})
	if err != nil {
		return fmt.Errorf("mark database as open: %w", err)
	}
	if !unclean {
		return nil
	}
	err = file.quickCheck(ctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		db.log.Warn("database was not closed properly and is too large to be checked at start", "file", file.path, "limit", quickCheckTimeout)
		return nil
	case err != nil:
		return db.translate(ctx, err)
	}
	db.log.Info("database was not closed properly; it was checked and is whole", "file", file.path)
	return nil
}

// markClean takes the note of markOpen back.
func (db *DB) markClean(ctx context.Context) error {
	if db.dialect.name != sqliteDialect.name {
		return nil
	}
	err := db.Tx(ctx, func(tx *Tx) error { return tx.putMeta(metaOpen, "no") })
	if err != nil {
		return fmt.Errorf("mark database as closed: %w", err)
	}
	return nil
}

func scanString(rows *sql.Rows) (string, error) {
	var s string
	err := rows.Scan(&s)
	return s, err
}

func scanInt(rows *sql.Rows) (int64, error) {
	var n int64
	err := rows.Scan(&n)
	return n, err
}
