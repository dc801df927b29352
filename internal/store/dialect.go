package store

// dialect is the SQL that differs between the two databases. Everything else is one
// text for both, with $1 placeholders.
type dialect struct {
	name string
	// blob is the type of bytes.
	blob string
	// lockTailnet reads a tailnet's head and keeps other writers away from it.
	// SQLite has no row locks and needs none: there is one writer at a time.
	lockTailnet string
	// lockSchema keeps two programs from updating the tables at the same time;
	// empty where a write transaction does so.
	lockSchema string
	// tables lists the tables of the database.
	tables string
	// classify says what an error of the driver means.
	classify func(error) diagnosis
}

const headQuery = "SELECT seq, hash FROM tailnets WHERE id = $1"

var sqliteDialect = dialect{
	name:        "sqlite",
	blob:        "BLOB",
	lockTailnet: headQuery,
	tables:      "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
	classify:    classifySQLite,
}

var postgresDialect = dialect{
	name:        "postgres",
	blob:        "BYTEA",
	lockTailnet: headQuery + " FOR UPDATE",
	// The number is arbitrary: it spells "selv".
	lockSchema: "SELECT pg_advisory_xact_lock(1936026742)",
	tables:     "SELECT CAST(table_name AS TEXT) FROM information_schema.tables WHERE table_schema = current_schema() ORDER BY 1",
	classify:   classifyPostgres,
}
