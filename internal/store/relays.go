package store

import (
	"database/sql"
	"fmt"

	"selvage"
)

const relayColumns = "name, region, hash, created, host, port, stun_port, cert_hash, version, seen"

// Relays returns the relays of the server by region.
func (tx *Tx) Relays() ([]*selvage.Relay, error) {
	list, err := all(tx, scanRelay, "SELECT "+relayColumns+" FROM relays ORDER BY region")
	if err != nil {
		return nil, fmt.Errorf("read relays: %w", err)
	}
	return list, nil
}

func scanRelay(rows *sql.Rows) (*selvage.Relay, error) {
	var r selvage.Relay
	var created, seen int64
	err := rows.Scan(&r.Name, &r.Region, &r.Hash, &created, &r.Host, &r.Port, &r.STUNPort, &r.CertHash, &r.Version, &seen)
	r.Created, r.Seen = timeOf(created), timeOf(seen)
	return &r, err
}

// PutRelay saves a relay, new or changed. An error of KindConflict says that the
// region is another's.
func (tx *Tx) PutRelay(r *selvage.Relay) error {
	_, err := tx.exec(`INSERT INTO relays (`+relayColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (name) DO UPDATE SET region = excluded.region, hash = excluded.hash, created = excluded.created,
host = excluded.host, port = excluded.port, stun_port = excluded.stun_port, cert_hash = excluded.cert_hash,
version = excluded.version, seen = excluded.seen`,
		r.Name, int64(r.Region), r.Hash, nanos(r.Created), r.Host, int64(r.Port), int64(r.STUNPort), r.CertHash, r.Version, nanos(r.Seen))
	if err != nil {
		return fmt.Errorf("save relay %s: %w", r.Name, err)
	}
	return nil
}

// DeleteRelay removes a relay; it returns an error of KindNotFound if there is none.
func (tx *Tx) DeleteRelay(name string) error {
	return tx.remove("relay "+name, "DELETE FROM relays WHERE name = $1", name)
}
