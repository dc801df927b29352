package store

import (
	"database/sql"
	"encoding/json"
	"fmt"

	"selvage"
)

// ServerTailnet is the number under which the journal keeps what concerns the whole
// server: relays, the making of tailnets. It is no tailnet and not among Tailnets.
const ServerTailnet selvage.TailnetID = 0

// Names of the counters of NextID.
const (
	CounterTailnet = "tailnet"
	CounterNode    = "node"
	CounterUser    = "user"
)

// NextID returns the next number of a counter, from 1. A number that a committed
// transaction got is not given again, even after what had it was deleted.
func (tx *Tx) NextID(counter string) (int64, error) {
	id, ok, err := one(tx, scanInt, "UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value", counter)
	if err != nil {
		return 0, fmt.Errorf("take next %s ID: %w", counter, err)
	}
	if !ok {
		return 0, fmt.Errorf("take next %s ID: there is no such counter", counter)
	}
	return id, nil
}

// Tailnets returns all tailnets by ID.
func (tx *Tx) Tailnets() ([]*selvage.Tailnet, error) {
	list, err := all(tx, scanTailnet, "SELECT id, name, created, settings FROM tailnets WHERE id > 0 ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("read tailnets: %w", err)
	}
	return list, nil
}

func scanTailnet(rows *sql.Rows) (*selvage.Tailnet, error) {
	var t selvage.Tailnet
	var created int64
	var settings string
	if err := rows.Scan(&t.ID, &t.Name, &created, &settings); err != nil {
		return nil, err
	}
	t.Created = timeOf(created)
	if err := json.Unmarshal([]byte(settings), &t.Settings); err != nil {
		return nil, fmt.Errorf("read settings of tailnet %d: %w", t.ID, err)
	}
	return &t, nil
}

// PutTailnet saves a tailnet, new or changed. The head of its journal stays.
func (tx *Tx) PutTailnet(t *selvage.Tailnet) error {
	if t.ID <= 0 {
		return fmt.Errorf("save tailnet %q: its ID is %d: want one from NextID", t.Name, t.ID)
	}
	settings, err := json.Marshal(t.Settings)
	if err != nil {
		return fmt.Errorf("save tailnet %d: %w", t.ID, err)
	}
	_, err = tx.exec(`INSERT INTO tailnets (id, name, created, settings) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, created = excluded.created, settings = excluded.settings`,
		int64(t.ID), t.Name, nanos(t.Created), string(settings))
	if err != nil {
		return fmt.Errorf("save tailnet %d: %w", t.ID, err)
	}
	return nil
}
