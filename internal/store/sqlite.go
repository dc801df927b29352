package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"selvage"
)

// Settings of SQLite.
const (
	sqliteReaders     = 4                // connections that read
	sqliteBusyTimeout = 5 * time.Second  // wait for another process that has the file locked
	sqliteCacheKiB    = 8 << 10          // page cache of each connection
	sqliteWALLimit    = 64 << 20         // bytes that the write-ahead log keeps after it was long
	quickCheckTimeout = 20 * time.Second // after that the check is given up and the server starts
)

// sqliteBackend is a database file: one connection that writes, several that read.
// Connections are kept for good, with their prepared statements.
type sqliteBackend struct {
	path    string
	writer  *sql.DB
	reader  *sql.DB
	writers chan *sqliteConn // the one connection that writes, when free
	readers chan *sqliteConn // those that read, when free
	closed  chan struct{}
}

// sqliteConn is one connection; conn is nil until it is first used.
type sqliteConn struct {
	db         *sql.DB
	free       chan *sqliteConn // where it goes back to
	conn       *sql.Conn
	statements map[string]*sql.Stmt
	begin      string
}

func openSQLite(path string) (*sqliteBackend, error) {
	if path == "" {
		return nil, selvage.Errorf(selvage.KindInvalid, "the database address names no file: want sqlite:PATH")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find database file: %w", err)
	}
	if err := createFile(path); err != nil {
		return nil, err
	}
	writer, err := sql.Open("sqlite", sqliteURL(path, false))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	reader, err := sql.Open("sqlite", sqliteURL(path, true))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	b := &sqliteBackend{
		path: path, writer: writer, reader: reader, closed: make(chan struct{}),
		writers: make(chan *sqliteConn, 1), readers: make(chan *sqliteConn, sqliteReaders),
	}
	// IMMEDIATE takes the write lock at once; a transaction that reads first and
	// writes later could find that its snapshot is old, and no wait would help.
	b.writers <- &sqliteConn{db: writer, free: b.writers, begin: "BEGIN IMMEDIATE"}
	for range sqliteReaders {
		b.readers <- &sqliteConn{db: reader, free: b.readers, begin: "BEGIN"}
	}
	return b, nil
}

// createFile makes an empty database file that only its owner may read; SQLite
// would leave that to the umask.
func createFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case err == nil:
		return f.Close()
	case errors.Is(err, fs.ErrExist):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return selvage.Errorf(selvage.KindInvalid, "directory %s for the database does not exist: make it, writable for the server's user", filepath.Dir(path))
	}
	return selvage.Errorf(selvage.KindInvalid, "database file %s can't be made: the directory must be writable for the server's user: %w", path, err)
}

// sqliteURL returns the driver's address of the file with the pragmas of a
// connection.
func sqliteURL(path string, readOnly bool) string {
	pragmas := []string{
		fmt.Sprintf("busy_timeout(%d)", sqliteBusyTimeout.Milliseconds()),
		"journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)",
		fmt.Sprintf("cache_size(-%d)", sqliteCacheKiB),
		fmt.Sprintf("journal_size_limit(%d)", sqliteWALLimit),
	}
	if readOnly {
		pragmas = append(pragmas, "query_only(1)")
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{"_pragma": pragmas}.Encode()}
	return u.String()
}

func (b *sqliteBackend) place() string { return b.path }

func (b *sqliteBackend) begin(ctx context.Context, write bool) (session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	free := b.readers
	if write {
		free = b.writers
	}
	select {
	case <-b.closed:
		return nil, errClosed
	default:
	}
	select {
	case c := <-free:
		if err := c.start(ctx); err != nil {
			c.discard()
			free <- c
			return nil, err
		}
		return sqliteSession{c}, nil
	case <-b.closed:
		return nil, errClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *sqliteBackend) close() error {
	close(b.closed)
	deadline := time.After(closeTimeout)
	// The readers first: whoever closes last tidies up the write-ahead log, and a
	// reader may not.
	closeConns(b.readers, deadline)
	err := b.reader.Close()
	closeConns(b.writers, deadline)
	return errors.Join(err, b.writer.Close())
}

func closeConns(free chan *sqliteConn, deadline <-chan time.Time) {
	for range cap(free) {
		select {
		case c := <-free:
			c.discard()
		case <-deadline:
			return
		}
	}
}

// start opens the connection if need be and begins a transaction.
func (c *sqliteConn) start(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	if c.conn == nil {
		conn, err := c.db.Conn(ctx)
		if err != nil {
			return err
		}
		c.conn, c.statements = conn, map[string]*sql.Stmt{}
	}
	return c.run(ctx, c.begin)
}

// statement returns the prepared statement of the text. There are as many as the
// program has texts, so they are never thrown away.
func (c *sqliteConn) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	if s := c.statements[query]; s != nil {
		return s, nil
	}
	s, err := c.conn.PrepareContext(ctx, query)
	if err == nil {
		c.statements[query] = s
	}
	return s, err
}

// run executes a statement without arguments.
func (c *sqliteConn) run(ctx context.Context, query string) error {
	s, err := c.statement(ctx, query)
	if err != nil {
		return err
	}
	_, err = s.ExecContext(ctx)
	return err
}

// discard closes the connection; the next start opens another.
func (c *sqliteConn) discard() {
	if c.conn == nil {
		return
	}
	for _, s := range c.statements {
		s.Close()
	}
	// A connection that is given back as bad is closed and not kept for others.
	c.conn.Raw(func(any) error { return driver.ErrBadConn })
	c.conn.Close()
	c.conn, c.statements = nil, nil
}

// sqliteSession is a transaction on a connection. Statements don't follow the
// context: they are short and local, and each that could be cancelled would cost a
// goroutine.
type sqliteSession struct{ c *sqliteConn }

func (s sqliteSession) exec(ctx context.Context, query string, args []any) (sql.Result, error) {
	ctx = context.WithoutCancel(ctx)
	st, err := s.c.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return st.ExecContext(ctx, args...)
}

func (s sqliteSession) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	ctx = context.WithoutCancel(ctx)
	st, err := s.c.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return st.QueryContext(ctx, args...)
}

func (s sqliteSession) script(ctx context.Context, text string) error {
	_, err := s.c.conn.ExecContext(context.WithoutCancel(ctx), text)
	return err
}

func (s sqliteSession) commit() error {
	err := s.c.run(context.Background(), "COMMIT")
	if err != nil {
		return errors.Join(err, s.rollback())
	}
	s.c.free <- s.c
	return nil
}

func (s sqliteSession) rollback() error {
	// After a full disk or an I/O error SQLite has rolled back by itself, and this
	// fails; a new connection starts from a known state.
	if s.c.run(context.Background(), "ROLLBACK") != nil {
		s.c.discard()
	}
	s.c.free <- s.c
	return nil
}

// quickCheck looks for damage in the file. It gives up when ctx ends.
func (b *sqliteBackend) quickCheck(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, quickCheckTimeout)
	defer cancel()
	var first string
	if err := b.reader.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&first); err != nil {
		return err
	}
	if first != "ok" {
		return damaged(b.path, errors.New(first))
	}
	return nil
}

func classifySQLite(err error) diagnosis {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return diagnosis{}
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return diagnosis{troubleUnique, sqliteColumns(e.Error())}
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return diagnosis{trouble: troubleReference}
	case sqlite3.SQLITE_IOERR_SHMSIZE:
		return diagnosis{trouble: troubleFull}
	}
	switch e.Code() & 0xff { // the low byte is the class of the error
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return diagnosis{trouble: troubleRetry}
	case sqlite3.SQLITE_FULL:
		return diagnosis{trouble: troubleFull}
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM:
		return diagnosis{trouble: troubleReadOnly}
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return diagnosis{trouble: troubleDamaged}
	}
	return diagnosis{}
}

// sqliteColumns finds "nodes.tailnet, nodes.name" in "constraint failed: UNIQUE
// constraint failed: nodes.tailnet, nodes.name (2067)".
func sqliteColumns(message string) string {
	const before = "constraint failed: "
	if i := strings.LastIndex(message, before); i >= 0 {
		message = message[i+len(before):]
	}
	columns, _, _ := strings.Cut(message, " (")
	return columns
}
