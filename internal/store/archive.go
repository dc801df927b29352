package store

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"selvage"
)

// A backup is a gzip'd tar of manifest.json and then, in this order, a file
// tables/NAME.jsonl for each table, with a JSON object for each row. Numbers are
// numbers, texts are strings, bytes are strings of base64.

const (
	archiveProduct = "selvage"
	archiveFormat  = 1
	manifestName   = "manifest.json"
)

// Bounds of an archive.
const (
	maxManifest = 1 << 20   // bytes
	maxLine     = 64 << 20  // bytes of a row: two values of a journal entry, escaped
	maxArchive  = 256 << 30 // bytes, unpacked
	maxRows     = 1 << 40   // of one table
)

// Manifest says what a backup holds.
type Manifest struct {
	Product string    `json:"product"`
	Format  int       `json:"format"`
	Schema  int       `json:"schema"` // version of the tables
	Created time.Time `json:"created"`
	// MasterKey decrypts the secrets in the archive. It is in there so that a
	// backup is enough to restore a server, which makes the archive as secret as
	// the server: whoever has it can be the server. It has to be kept like a key.
	MasterKey []byte       `json:"masterKey"`
	Tables    []TableCount `json:"tables"`
}

// TableCount is how many rows a table has in a backup.
type TableCount struct {
	Name string `json:"name"`
	Rows int64  `json:"rows"`
}

// tables are the tables of a backup: those that others refer to come first. meta is
// not among them: it is about one database.
var tables = []struct {
	name  string
	order string // sorts the rows
	since int    // schema version that brought it
}{
	{"counters", "name", 1},
	{"tailnets", "id", 1},
	{"users", "id", 1},
	{"nodes", "id", 1},
	{"soft", "node", 1},
	{"auth_keys", "id", 1},
	{"tokens", "id", 1},
	{"policies", "tailnet, rev", 1},
	{"secrets", "name", 1},
	{"links", "hash", 1},
	{"sessions", "hash", 1},
	{"relays", "name", 1},
	{"entries", "tailnet, seq", 1},
	{"cursors", "name", 1},
}

// check refuses what this program can't restore.
func (m *Manifest) check() error {
	switch {
	case m.Product != archiveProduct:
		return selvage.Errorf(selvage.KindInvalid, "this is no backup of selvage: its manifest is of %.40q", m.Product)
	case m.Format > archiveFormat || m.Schema > lastVersion():
		return selvage.Errorf(selvage.KindInvalid, "the backup was made by a newer program (format %d, schema version %d; this program knows format %d, version %d): "+
			"restore it with that version", m.Format, m.Schema, archiveFormat, lastVersion())
	case m.Format < 1 || m.Schema < 1:
		return selvage.Errorf(selvage.KindInvalid, "the manifest of the backup has format %d and schema version %d: want numbers from 1", m.Format, m.Schema)
	case len(m.MasterKey) != MasterKeySize:
		return selvage.Errorf(selvage.KindInvalid, "the manifest of the backup has a master key of %d bytes: want %d", len(m.MasterKey), MasterKeySize)
	}
	var want, got []string
	for _, t := range tables {
		if t.since <= m.Schema {
			want = append(want, t.name)
		}
	}
	for _, t := range m.Tables {
		if t.Rows < 0 || t.Rows > maxRows {
			return selvage.Errorf(selvage.KindInvalid, "the manifest of the backup gives table %.40q %d rows", t.Name, t.Rows)
		}
		got = append(got, t.Name)
	}
	if !slices.Equal(want, got) {
		return selvage.Errorf(selvage.KindInvalid, "the manifest of the backup lists the tables %.400q: want %q", got, want)
	}
	return nil
}

// ReadManifest reads the manifest of a backup and no more: enough to get the master
// key. It checks that this program can restore the backup.
func ReadManifest(r io.Reader) (*Manifest, error) {
	a, err := openArchive(r)
	if err != nil {
		return nil, err
	}
	return a.manifest, nil
}

// archive reads a backup. What it reads may have been made by anybody.
type archive struct {
	manifest *Manifest
	gzip     io.Reader // nil if there is none, in tests
	tar      *tar.Reader
}

func openArchive(r io.Reader) (*archive, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, broken(err)
	}
	limited := io.LimitReader(z, maxArchive)
	a, err := openTar(limited)
	if err != nil {
		return nil, err
	}
	a.gzip = limited
	return a, nil
}

func openTar(r io.Reader) (*archive, error) {
	a := &archive{tar: tar.NewReader(r)}
	if err := a.file(manifestName); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(a.tar, maxManifest+1))
	if err != nil {
		return nil, broken(err)
	}
	if len(text) > maxManifest {
		return nil, selvage.Errorf(selvage.KindInvalid, "the manifest of the backup is larger than %d bytes", maxManifest)
	}
	a.manifest = new(Manifest)
	if err := json.Unmarshal(text, a.manifest); err != nil {
		return nil, selvage.Errorf(selvage.KindInvalid, "the manifest of the backup can't be read: %w", err)
	}
	if err := a.manifest.check(); err != nil {
		return nil, err
	}
	return a, nil
}

// file goes to the next file, which must have the given name.
func (a *archive) file(name string) error {
	h, err := a.tar.Next()
	switch {
	case errors.Is(err, io.EOF):
		return selvage.Errorf(selvage.KindInvalid, "the backup ends before %s: it is not complete", name)
	case err != nil:
		return broken(err)
	case h.Name != name || h.Typeflag != tar.TypeReg:
		return selvage.Errorf(selvage.KindInvalid, "the backup holds %.80q where %s should be", h.Name, name)
	}
	return nil
}

// rows calls f with each row of a table, which must be the next one. The line is
// valid until f returns.
func (a *archive) rows(table TableCount, f func(line []byte) error) error {
	if err := a.file(tableFile(table.Name)); err != nil {
		return err
	}
	lines := bufio.NewScanner(a.tar)
	lines.Buffer(nil, maxLine+1)
	lines.Split(wholeLines)
	var n int64
	for lines.Scan() {
		if n++; n > table.Rows {
			return selvage.Errorf(selvage.KindInvalid, "the backup has more than the %d rows of table %s that its manifest tells of", table.Rows, table.Name)
		}
		if err := f(lines.Bytes()); err != nil {
			return fmt.Errorf("row %d of table %s: %w", n, table.Name, err)
		}
	}
	if err := lines.Err(); err != nil {
		return broken(err)
	}
	if n < table.Rows {
		return selvage.Errorf(selvage.KindInvalid, "the backup has %d rows of table %s and its manifest tells of %d: it is not complete", n, table.Name, table.Rows)
	}
	return nil
}

// wholeLines is bufio.ScanLines without the last line that has no end: it would be
// a part of one.
func wholeLines(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return 0, nil, nil
}

// end checks that nothing follows and that the checksum is right.
func (a *archive) end() error {
	h, err := a.tar.Next()
	if err == nil {
		return selvage.Errorf(selvage.KindInvalid, "the backup holds %.80q where it should end", h.Name)
	}
	if !errors.Is(err, io.EOF) {
		return broken(err)
	}
	if a.gzip == nil {
		return nil
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(a.gzip, maxManifest)); err != nil {
		return broken(err)
	} else if n == maxManifest {
		return selvage.Errorf(selvage.KindInvalid, "the backup goes on after its end")
	}
	return nil
}

// broken is the error for an archive that can't be unpacked.
func broken(err error) error {
	return selvage.Errorf(selvage.KindInvalid, "the backup is damaged or not complete: %w", err)
}

func tableFile(table string) string { return "tables/" + table + ".jsonl" }

// columnType is the type of a column in an archive.
type columnType int

const (
	columnInt columnType = iota
	columnText
	columnBool
	columnBytes
)

// column is a column of a table.
type column struct {
	name string
	kind columnType
}

// columnKind finds the type by the name that a driver gives it.
func columnKind(database string) (columnType, error) {
	switch strings.ToUpper(database) {
	case "BIGINT", "INT8":
		return columnInt, nil
	case "TEXT":
		return columnText, nil
	case "BOOLEAN", "BOOL":
		return columnBool, nil
	case "BLOB", "BYTEA":
		return columnBytes, nil
	}
	return 0, fmt.Errorf("column type %q is not known to backups", database)
}

// appendRow appends the line of a row; values are as the drivers give them.
func appendRow(b []byte, columns []column, values []any) ([]byte, error) {
	for i, c := range columns {
		sep := byte(',')
		if i == 0 {
			sep = '{'
		}
		v, err := c.encode(values[i])
		if err != nil {
			return nil, err
		}
		name, err := json.Marshal(c.name)
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		b = append(b, sep)
		b = append(b, name...)
		b = append(b, ':')
		b = append(b, text...)
	}
	return append(b, '}', '\n'), nil
}

// encode returns the value for JSON.
func (c column) encode(v any) (any, error) {
	switch v := v.(type) {
	case nil, string:
		return v, nil
	case bool:
		return v, nil
	case int64:
		if c.kind == columnBool { // SQLite has no booleans
			return v != 0, nil
		}
		return v, nil
	case []byte:
		if c.kind == columnText {
			return string(v), nil
		}
		return base64.StdEncoding.EncodeToString(v), nil
	}
	return nil, fmt.Errorf("column %s: unexpected type %T", c.name, v)
}

// parseRow reads a line into values for the columns: each must be there, and no
// other.
func parseRow(line []byte, columns []column) ([]any, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var row map[string]any
	if err := d.Decode(&row); err != nil {
		return nil, selvage.Errorf(selvage.KindInvalid, "it is no JSON object: %w", err)
	}
	if len(row) != len(columns) {
		return nil, selvage.Errorf(selvage.KindInvalid, "it has %d columns: want %d", len(row), len(columns))
	}
	values := make([]any, len(columns))
	for i, c := range columns {
		v, ok := row[c.name]
		if !ok {
			return nil, selvage.Errorf(selvage.KindInvalid, "column %s is missing", c.name)
		}
		var err error
		if values[i], err = c.decode(v); err != nil {
			return nil, selvage.Errorf(selvage.KindInvalid, "column %s: %w", c.name, err)
		}
	}
	return values, nil
}

// decode is the inverse of encode.
func (c column) decode(v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case bool:
		if c.kind == columnBool {
			return v, nil
		}
	case json.Number:
		if c.kind == columnInt {
			return v.Int64()
		}
	case string:
		switch c.kind {
		case columnText:
			return v, nil
		case columnBytes:
			return base64.StdEncoding.DecodeString(v)
		}
	}
	return nil, fmt.Errorf("a value of type %T does not fit", v)
}
