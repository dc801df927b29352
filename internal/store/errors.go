package store

import (
	"context"
	"errors"

	"selvage"
)

// trouble is what an SQL error means for this program.
type trouble int

const (
	troubleNone        trouble = iota // no SQL error, or one that is nobody's fault but ours
	troubleUnique                     // a value that must be unique is taken
	troubleReference                  // a row that is named is not there, or is still in use
	troubleRetry                      // another transaction was in the way
	troubleFull                       // no space on the disk
	troubleReadOnly                   // the database can't be written
	troubleDamaged                    // the file is damaged, or is no database
	troubleUnreachable                // the database server does not answer
	troubleRefused                    // the database server does not let us in
)

// diagnosis is a trouble and what it is about.
type diagnosis struct {
	trouble trouble
	// constraint is the unique index: its name (PostgreSQL) or columns (SQLite).
	constraint string
}

// uniques says what each unique index means to people. SQLite reports an index by
// its columns, PostgreSQL by its name.
var uniques = []struct{ index, columns, message string }{
	{"tailnets_name", "tailnets.name", "a tailnet with this name exists"},
	{"users_login", "users.tailnet, users.login_key", "a user with this login exists in the tailnet"},
	{"nodes_stable_id", "nodes.stable_id", "another device has this stable ID"},
	{"nodes_node_key", "nodes.node_key", "another device has this node key"},
	{"nodes_name", "nodes.tailnet, nodes.name", "another device of the tailnet has this name"},
	{"nodes_ipv4", "nodes.tailnet, nodes.ipv4", "another device of the tailnet has this IPv4 address"},
	{"nodes_ipv6", "nodes.tailnet, nodes.ipv6", "another device of the tailnet has this IPv6 address"},
	{"tokens_hash", "tokens.hash", "another token has this hash"},
	{"relays_region", "relays.region", "another relay has this region"},
	{"policies_pkey", "policies.tailnet, policies.rev", "the policy has changed meanwhile; load it again"},
	{"entries_pkey", "entries.tailnet, entries.seq", "the tailnet has changed meanwhile; try again"},
}

// uniqueMessage says what is taken; constraint is an index's name or columns.
func uniqueMessage(constraint string) string {
	for _, u := range uniques {
		if constraint == u.index || constraint == u.columns {
			return u.message
		}
	}
	return "this exists already"
}

// translate turns an error of a driver into one that callers can tell apart by its
// kind. The messages say what an operator should do.
func (db *DB) translate(ctx context.Context, err error) error {
	var known *selvage.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), errTxTimeout) {
		return selvage.Errorf(selvage.KindBusy, "the database did not answer within %s; try again later", txTimeout)
	}
	d := db.dialect.classify(err)
	place := db.backend.place()
	switch d.trouble {
	case troubleUnique:
		return selvage.Errorf(selvage.KindConflict, "%s", uniqueMessage(d.constraint))
	case troubleReference:
		return selvage.Errorf(selvage.KindConflict, "something that this refers to is not there any more, or this is still in use: %w", err)
	case troubleRetry:
		return selvage.Errorf(selvage.KindBusy, "the database is busy with another change; try again: %w", err)
	case troubleFull:
		return selvage.Errorf(selvage.KindBusy, "the disk of database %s is full: nothing can be saved until there is space: %w", place, err)
	case troubleReadOnly:
		if db.dialect.name == postgresDialect.name {
			return selvage.Errorf(selvage.KindBusy, "PostgreSQL %s can't be written: the database address must lead to the primary server, not to a standby: %w", place, err)
		}
		return selvage.Errorf(selvage.KindBusy, "database %s can't be written: make the file and its directory writable for the server's user: %w", place, err)
	case troubleDamaged:
		return damaged(place, err)
	case troubleUnreachable:
		return selvage.Errorf(selvage.KindBusy, "PostgreSQL %s can't be reached: check that it runs and that the database address is right: %w", place, err)
	case troubleRefused:
		return selvage.Errorf(selvage.KindInvalid, "PostgreSQL %s refuses the connection: check user, password and database name: %w", place, err)
	}
	return err
}

// damaged is the error for a database file that can't be trusted.
func damaged(place string, cause error) error {
	return selvage.Errorf(selvage.KindInternal, "database %[1]s is damaged: stop the server, then restore a backup into an empty directory "+
		"(selvage restore BACKUP) or save what is left (sqlite3 %[1]s .recover): %[2]w", place, cause)
}
