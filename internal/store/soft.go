package store

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"tailscale.com/tailcfg"

	"selvage"
)

// softTypes are the types of the parameters of a row of softUpdate.
var softTypes = []string{"BIGINT", "BIGINT", "TEXT", "TEXT", "TEXT", "BIGINT", "BIGINT"}

// softBatches are the numbers of rows that one statement saves: few sizes, so that
// few statements are prepared, and large ones, so that PostgreSQL is asked seldom.
var softBatches = []struct {
	rows  int
	query string
}{{64, softUpdate(64)}, {8, softUpdate(8)}, {1, softUpdate(1)}}

// softUpdate returns a statement that changes n rows. It updates and never inserts,
// so that nodes that are gone are left out without a look for them.
func softUpdate(n int) string {
	values := make([]string, n)
	for row := range values {
		params := make([]string, len(softTypes))
		for col := range params {
			params[col] = fmt.Sprintf("$%d", row*len(softTypes)+col+1)
			if row == 0 { // tells PostgreSQL the types of all rows
				params[col] = fmt.Sprintf("CAST(%s AS %s)", params[col], softTypes[col])
			}
		}
		values[row] = "(" + strings.Join(params, ", ") + ")"
	}
	return "UPDATE soft SET cap = v.column2, hostinfo = v.column3, endpoints = v.column4, disco = v.column5, " +
		"home_derp = v.column6, last_seen = v.column7 FROM (VALUES " + strings.Join(values, ", ") + ") AS v WHERE soft.node = v.column1"
}

// Soft returns what the nodes of a tailnet said of themselves last. Nodes that never
// did are not in the map.
func (tx *Tx) Soft(tailnet selvage.TailnetID) (map[selvage.NodeID]*selvage.Soft, error) {
	soft := map[selvage.NodeID]*selvage.Soft{}
	err := tx.each(func(rows *sql.Rows) error {
		id, s, err := tx.scanSoft(rows)
		if err == nil {
			soft[id] = s
		}
		return err
	}, `SELECT soft.node, soft.cap, soft.hostinfo, soft.endpoints, soft.disco, soft.home_derp, soft.last_seen
FROM soft JOIN nodes ON nodes.id = soft.node WHERE nodes.tailnet = $1 AND soft.hostinfo <> ''`, int64(tailnet))
	if err != nil {
		return nil, fmt.Errorf("read soft state of tailnet %d: %w", tailnet, err)
	}
	return soft, nil
}

// scanSoft reads a row. What can't be read is left empty, because the device will
// report it again, and one row must not keep the server from starting.
func (tx *Tx) scanSoft(rows *sql.Rows) (selvage.NodeID, *selvage.Soft, error) {
	var id selvage.NodeID
	var hostinfo, endpoints, disco string
	var seen int64
	s := selvage.Soft{Hostinfo: new(tailcfg.Hostinfo)}
	if err := rows.Scan(&id, &s.Cap, &hostinfo, &endpoints, &disco, &s.HomeDERP, &seen); err != nil {
		return 0, nil, err
	}
	s.LastSeen = timeOf(seen)
	if err := json.Unmarshal([]byte(hostinfo), s.Hostinfo); err != nil {
		s.Hostinfo = new(tailcfg.Hostinfo)
		tx.db.log.Warn("saved host facts can't be read; the node will report them again", "node", id, "err", err)
	}
	var err1, err2 error
	s.Endpoints, err1 = parseList[netip.AddrPort](endpoints)
	err2 = parseText(&s.Disco, disco)
	if err := firstError("parse", err1, err2); err != nil {
		tx.db.log.Warn("saved endpoints can't be read; the node will report them again", "node", id, "err", err)
	}
	return id, &s, nil
}

// PutSoft saves what nodes said of themselves. Nodes that are gone are left out.
func (tx *Tx) PutSoft(soft map[selvage.NodeID]*selvage.Soft) error {
	// In order, so that two transactions don't wait for each other in a ring.
	ids := slices.Sorted(maps.Keys(soft))
	for _, batch := range softBatches {
		for len(ids) >= batch.rows {
			args := make([]any, 0, batch.rows*len(softTypes))
			for _, id := range ids[:batch.rows] {
				var err error
				if args, err = appendSoft(args, id, soft[id]); err != nil {
					return fmt.Errorf("save soft state of node %d: %w", id, err)
				}
			}
			if _, err := tx.exec(batch.query, args...); err != nil {
				return fmt.Errorf("save soft state of %d nodes from %d: %w", batch.rows, ids[0], err)
			}
			ids = ids[batch.rows:]
		}
	}
	return nil
}

// appendSoft appends the parameters of one row.
func appendSoft(args []any, id selvage.NodeID, s *selvage.Soft) ([]any, error) {
	info := s.Hostinfo
	if info == nil {
		info = new(tailcfg.Hostinfo)
	}
	hostinfo, err1 := json.Marshal(info)
	endpoints, err2 := list(s.Endpoints)
	disco, err3 := textOf(s.Disco)
	return append(args, int64(id), int64(s.Cap), string(hostinfo), endpoints, disco, int64(s.HomeDERP), nanos(s.LastSeen)),
		firstError("encode", err1, err2, err3)
}
