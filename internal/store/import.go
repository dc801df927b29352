package store

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"selvage"
)

// importTimeout bounds Import.
const importTimeout = time.Hour

// Import restores a backup into the empty database at dsn and returns the backup's
// manifest. It writes everything or, if it returns an error, nothing. A backup of an
// older version is brought up to date.
//
// o.MasterKey may be nil: the database then keeps the master key of the backup, which
// the caller finds in the manifest. With another key the secrets are encrypted anew.
func Import(ctx context.Context, dsn string, r io.Reader, o Options) (*Manifest, error) {
	a, err := openArchive(r)
	if err != nil {
		return nil, err
	}
	if o.MasterKey == nil {
		o.MasterKey = a.manifest.MasterKey
	}
	if len(o.MasterKey) != MasterKeySize {
		return nil, selvage.Errorf(selvage.KindInvalid, "the master key has %d bytes: want %d", len(o.MasterKey), MasterKeySize)
	}
	db, err := connect(ctx, dsn, o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, importTimeout)
	defer cancel()
	// Not Tx: what was read from r can't be read again.
	err = db.attempt(ctx, true, func(tx *Tx) error { return tx.restore(a) })
	if closeErr := db.backend.close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("restore into %s: %w", db.Place(), err)
	}
	return a.manifest, nil
}

func (tx *Tx) restore(a *archive) error {
	if err := tx.lockSchema(); err != nil {
		return err
	}
	names, err := tx.tableNames()
	if err != nil {
		return err
	}
	if len(names) > 0 {
		return selvage.Errorf(selvage.KindConflict, "the database is not empty: restore into a new file or a new PostgreSQL database, and nothing is lost")
	}
	if err := tx.applyAll(1, a.manifest.Schema); err != nil {
		return err
	}
	// What the schema itself puts in is in the backup, too.
	for _, t := range slices.Backward(a.manifest.Tables) {
		if _, err := tx.exec("DELETE FROM " + t.Name); err != nil {
			return fmt.Errorf("clear table %s: %w", t.Name, err)
		}
	}
	for _, t := range a.manifest.Tables {
		if err := tx.load(a, t); err != nil {
			return err
		}
	}
	if err := a.end(); err != nil {
		return err
	}
	if err := tx.applyAll(a.manifest.Schema+1, lastVersion()); err != nil {
		return err
	}
	if err := tx.reseal(a.manifest.MasterKey); err != nil {
		return err
	}
	return tx.checkMasterKey()
}

// applyAll runs the schema files of a range of versions.
func (tx *Tx) applyAll(first, last int) error {
	for _, m := range migrations() {
		if m.version < first || m.version > last {
			continue
		}
		if err := tx.apply(m); err != nil {
			return fmt.Errorf("make tables with %s: %w", m.name, err)
		}
	}
	return nil
}

// load fills a table.
func (tx *Tx) load(a *archive, table TableCount) error {
	columns, err := tx.columns(table.Name)
	if err != nil {
		return err
	}
	names, params := make([]string, len(columns)), make([]string, len(columns))
	for i, c := range columns {
		names[i], params[i] = c.name, fmt.Sprintf("$%d", i+1)
	}
	query := fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", table.Name, strings.Join(names, ", "), strings.Join(params, ", "))
	return a.rows(table, func(line []byte) error {
		if err := tx.ctx.Err(); err != nil {
			return err
		}
		values, err := parseRow(line, columns)
		if err != nil {
			return err
		}
		_, err = tx.exec(query, values...)
		return err
	})
}

// columns returns the columns of a table.
func (tx *Tx) columns(table string) ([]column, error) {
	if err := tx.check(nil); err != nil {
		return nil, err
	}
	rows, err := tx.session.query(tx.ctx, "SELECT * FROM "+table+" WHERE 1 = 0", nil)
	if err != nil {
		return nil, tx.fail(err)
	}
	defer rows.Close()
	columns, err := columnsOf(rows)
	if err != nil {
		return nil, fmt.Errorf("look at table %s: %w", table, err)
	}
	return columns, rows.Err()
}

// reseal encrypts the secrets under the master key of the database, if that is not
// the one of the backup.
func (tx *Tx) reseal(key []byte) error {
	if subtle.ConstantTimeCompare(key, tx.db.vault.key) == 1 {
		return nil
	}
	old, err := newVault(key)
	if err != nil {
		return err
	}
	type secret struct {
		name   string
		sealed []byte
	}
	secrets, err := all(tx, func(rows *sql.Rows) (s secret, err error) {
		err = rows.Scan(&s.name, &s.sealed)
		return s, err
	}, "SELECT name, sealed FROM secrets ORDER BY name")
	if err != nil {
		return fmt.Errorf("read secrets: %w", err)
	}
	for _, s := range secrets {
		plain, err := old.open(s.name, s.sealed)
		if err != nil {
			return selvage.Errorf(selvage.KindInvalid, "the master key in the backup does not fit its secrets: %w", err)
		}
		if err := tx.putSealed(s.name, tx.db.vault.seal(s.name, plain)); err != nil {
			return err
		}
	}
	return nil
}
