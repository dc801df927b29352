package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"selvage"
)

// Settings of PostgreSQL.
const (
	postgresConns       = 16               // open connections of one server, at most
	postgresIdleConns   = 4                // kept when nothing happens
	postgresIdleTime    = 5 * time.Minute  // after that the others are closed
	postgresDialTimeout = 10 * time.Second // unless the address has connect_timeout
)

// A server whose machine died in a transaction would hold the lock of a tailnet
// until TCP notices, which takes hours; PostgreSQL ends the transaction sooner. It
// is a statement, not a start-up parameter, because connection poolers refuse those.
const postgresSetUp = "SET idle_in_transaction_session_timeout = '60s'"

// postgresBackend is a database of a PostgreSQL server. The driver keeps the
// prepared statements of its connections.
type postgresBackend struct {
	db   *sql.DB
	name string
}

func openPostgres(ctx context.Context, dsn string) (*postgresBackend, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		// The driver leaves the password out of its message.
		return nil, selvage.Errorf(selvage.KindInvalid, "the database address can't be read: want postgres://USER:PASSWORD@HOST:PORT/DATABASE: %w", err)
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = postgresDialTimeout
	}
	db := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, postgresSetUp)
		return err
	}))
	db.SetMaxOpenConns(postgresConns)
	db.SetMaxIdleConns(postgresIdleConns)
	db.SetConnMaxIdleTime(postgresIdleTime)
	b := &postgresBackend{db: db, name: fmt.Sprintf("%s:%d/%s", config.Host, config.Port, config.Database)}
	if err := b.checkEncoding(ctx); err != nil {
		db.Close()
		return nil, err
	}
	return b, nil
}

// checkEncoding refuses a database that can't hold every text.
func (b *postgresBackend) checkEncoding(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, txTimeout, errTxTimeout)
	defer cancel()
	var encoding string
	if err := b.db.QueryRowContext(ctx, "SHOW server_encoding").Scan(&encoding); err != nil {
		return (&DB{dialect: postgresDialect, backend: b}).translate(ctx, err)
	}
	if encoding != "UTF8" {
		return selvage.Errorf(selvage.KindInvalid, "database %s has the encoding %s: create it with ENCODING 'UTF8'", b.name, encoding)
	}
	return nil
}

func (b *postgresBackend) place() string { return b.name }

func (b *postgresBackend) begin(ctx context.Context, write bool) (session, error) {
	options := &sql.TxOptions{Isolation: sql.LevelReadCommitted}
	if !write {
		// One snapshot for the whole transaction.
		options = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	tx, err := b.db.BeginTx(ctx, options)
	if err != nil {
		return nil, err
	}
	return postgresSession{tx}, nil
}

func (b *postgresBackend) close() error { return b.db.Close() }

type postgresSession struct{ tx *sql.Tx }

func (s postgresSession) exec(ctx context.Context, query string, args []any) (sql.Result, error) {
	return s.tx.ExecContext(ctx, query, args...)
}

func (s postgresSession) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	return s.tx.QueryContext(ctx, query, args...)
}

// script relies on the driver, which sends a text without arguments as it is.
func (s postgresSession) script(ctx context.Context, text string) error {
	_, err := s.tx.ExecContext(ctx, text)
	return err
}

func (s postgresSession) commit() error   { return s.tx.Commit() }
func (s postgresSession) rollback() error { return s.tx.Rollback() }

// classifyPostgres goes by the codes of
// https://www.postgresql.org/docs/current/errcodes-appendix.html
func classifyPostgres(err error) diagnosis {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		switch e.Code {
		case "23505":
			return diagnosis{troubleUnique, e.ConstraintName}
		case "23503":
			return diagnosis{trouble: troubleReference}
		case "40001", "40P01", "55P03": // serialization, deadlock, lock not available
			return diagnosis{trouble: troubleRetry}
		case "53100":
			return diagnosis{trouble: troubleFull}
		case "25006":
			return diagnosis{trouble: troubleReadOnly}
		case "53300", "57P01", "57P02", "57P03": // too many connections, shutting down, starting
			return diagnosis{trouble: troubleUnreachable}
		case "3D000":
			return diagnosis{trouble: troubleRefused}
		}
		if strings.HasPrefix(e.Code, "28") {
			return diagnosis{trouble: troubleRefused}
		}
		return diagnosis{}
	}
	var connect *pgconn.ConnectError
	var network net.Error
	switch {
	case errors.As(err, &connect), errors.Is(err, driver.ErrBadConn), errors.Is(err, io.ErrUnexpectedEOF):
		return diagnosis{trouble: troubleUnreachable}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return diagnosis{}
	case errors.As(err, &network):
		return diagnosis{trouble: troubleUnreachable}
	case errors.Is(err, sql.ErrConnDone), strings.Contains(err.Error(), "database is closed"):
		return diagnosis{trouble: troubleUnreachable}
	}
	return diagnosis{}
}
