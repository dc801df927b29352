package store

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// exportTimeout bounds Export: as long as it reads, the database keeps what others
// change meanwhile apart.
const exportTimeout = time.Hour

// Export writes a backup of everything in the database, as it is at one moment; the
// server may run on. The backup holds the master key and is as secret as the server.
// It fits both kinds of database.
//
// w should not be slow: see exportTimeout. After an error, what was written is of no
// use, and Import refuses it.
func (db *DB) Export(ctx context.Context, w io.Writer) error {
	start := time.Now()
	defer func() { db.observe("export", time.Since(start)) }()
	ctx, cancel := context.WithTimeout(ctx, exportTimeout)
	defer cancel()
	err := db.attempt(ctx, false, func(tx *Tx) error {
		z := gzip.NewWriter(w)
		t := tar.NewWriter(z)
		if err := tx.export(t); err != nil {
			return err
		}
		if err := t.Close(); err != nil {
			return err
		}
		return z.Close()
	})
	if err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	return nil
}

// export reads each table twice: a tar tells the size of a file before the file, and
// the manifest comes first. In one snapshot both give the same.
func (tx *Tx) export(t *tar.Writer) error {
	schema, err := tx.schemaVersion()
	if err != nil {
		return err
	}
	m := &Manifest{
		Product: archiveProduct, Format: archiveFormat, Schema: schema, Created: time.Now().UTC(), MasterKey: tx.db.vault.key,
	}
	sizes := make([]int64, len(tables))
	for i, table := range tables {
		count := TableCount{Name: table.name}
		err := tx.eachLine(table.name, table.order, func(line []byte) error {
			if len(line) > maxLine {
				return fmt.Errorf("row %d of table %s has %d bytes: at most %d can be restored", count.Rows+1, table.name, len(line), maxLine)
			}
			count.Rows++
			sizes[i] += int64(len(line))
			return nil
		})
		if err != nil {
			return err
		}
		m.Tables = append(m.Tables, count)
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := t.WriteHeader(fileHeader(manifestName, int64(len(text)), m.Created)); err != nil {
		return err
	}
	if _, err := t.Write(text); err != nil {
		return err
	}
	for i, table := range tables {
		if err := t.WriteHeader(fileHeader(tableFile(table.name), sizes[i], m.Created)); err != nil {
			return err
		}
		err := tx.eachLine(table.name, table.order, func(line []byte) error {
			_, err := t.Write(line)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func fileHeader(name string, size int64, modified time.Time) *tar.Header {
	return &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600, Size: size, ModTime: modified}
}

// eachLine calls f with each row of a table as a line of JSON, valid until f returns.
func (tx *Tx) eachLine(table, order string, f func(line []byte) error) error {
	var columns []column
	var values, pointers []any
	var line []byte
	err := tx.each(func(rows *sql.Rows) error {
		if err := tx.ctx.Err(); err != nil {
			return err
		}
		if columns == nil {
			var err error
			if columns, err = columnsOf(rows); err != nil {
				return err
			}
			values, pointers = make([]any, len(columns)), make([]any, len(columns))
			for i := range values {
				pointers[i] = &values[i]
			}
		}
		if err := rows.Scan(pointers...); err != nil {
			return err
		}
		var err error
		if line, err = appendRow(line[:0], columns, values); err != nil {
			return err
		}
		return f(line)
	}, "SELECT * FROM "+table+" ORDER BY "+order)
	if err != nil {
		return fmt.Errorf("read table %s: %w", table, err)
	}
	return nil
}

// columnsOf returns the columns of a result.
func columnsOf(rows *sql.Rows) ([]column, error) {
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, err
	}
	columns := make([]column, len(types))
	for i, t := range types {
		kind, err := columnKind(t.DatabaseTypeName())
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", t.Name(), err)
		}
		columns[i] = column{t.Name(), kind}
	}
	return columns, nil
}
