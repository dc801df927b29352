package store

import (
	"database/sql"
	"fmt"
	"net/netip"

	"selvage"
)

const nodeColumns = "id, tailnet, stable_id, machine_key, node_key, lock_key, name, name_fixed, user_id, tags, ipv4, ipv6, " +
	"created, key_expiry, no_key_expiry, approved, ephemeral, auth_key, approved_routes"

// Nodes returns the nodes of a tailnet by ID.
func (tx *Tx) Nodes(tailnet selvage.TailnetID) ([]*selvage.Node, error) {
	list, err := all(tx, scanNode, "SELECT "+nodeColumns+" FROM nodes WHERE tailnet = $1 ORDER BY id", int64(tailnet))
	if err != nil {
		return nil, fmt.Errorf("read nodes of tailnet %d: %w", tailnet, err)
	}
	return list, nil
}

func scanNode(rows *sql.Rows) (*selvage.Node, error) {
	var n selvage.Node
	var machine, lock, tags, routes string
	var nodeKey, ipv4, ipv6 sql.NullString
	var created, expiry int64
	err := rows.Scan(&n.ID, &n.Tailnet, &n.StableID, &machine, &nodeKey, &lock, &n.Name, &n.NameFixed, &n.User, &tags, &ipv4, &ipv6,
		&created, &expiry, &n.NoKeyExpiry, &n.Approved, &n.Ephemeral, &n.AuthKey, &routes)
	if err != nil {
		return nil, err
	}
	n.Created, n.KeyExpiry = timeOf(created), timeOf(expiry)
	var errs [7]error
	errs[0] = parseText(&n.Machine, machine)
	errs[1] = parseText(&n.Key, nodeKey.String)
	errs[2] = parseText(&n.LockKey, lock)
	n.Tags, errs[3] = parseList[string](tags)
	n.IPv4, errs[4] = parseAddr(ipv4.String)
	n.IPv6, errs[5] = parseAddr(ipv6.String)
	n.ApprovedRoutes, errs[6] = parseList[netip.Prefix](routes)
	if err := firstError(fmt.Sprintf("read node %d", n.ID), errs[:]...); err != nil {
		return nil, err
	}
	return &n, nil
}

// PutNode saves a node, new or changed. Its ID is from NextID. An error of
// KindConflict says which of its names, keys and addresses is taken.
func (tx *Tx) PutNode(n *selvage.Node) error {
	act := fmt.Sprintf("save node %d", n.ID)
	if n.ID <= 0 {
		return fmt.Errorf("%s: want an ID from NextID", act)
	}
	machine, err1 := textOf(n.Machine)
	nodeKey, err2 := textOf(n.Key)
	lock, err3 := textOf(n.LockKey)
	tags, err4 := list(n.Tags)
	routes, err5 := list(n.ApprovedRoutes)
	if err := firstError(act, err1, err2, err3, err4, err5); err != nil {
		return err
	}
	_, err := tx.exec(`INSERT INTO nodes (`+nodeColumns+`)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
ON CONFLICT (id) DO UPDATE SET tailnet = excluded.tailnet, stable_id = excluded.stable_id, machine_key = excluded.machine_key,
node_key = excluded.node_key, lock_key = excluded.lock_key, name = excluded.name, name_fixed = excluded.name_fixed,
user_id = excluded.user_id, tags = excluded.tags, ipv4 = excluded.ipv4, ipv6 = excluded.ipv6, created = excluded.created,
key_expiry = excluded.key_expiry, no_key_expiry = excluded.no_key_expiry, approved = excluded.approved,
ephemeral = excluded.ephemeral, auth_key = excluded.auth_key, approved_routes = excluded.approved_routes`,
		int64(n.ID), int64(n.Tailnet), n.StableID, machine, orNull(nodeKey), lock, n.Name, n.NameFixed, int64(n.User), tags,
		orNull(addrText(n.IPv4)), orNull(addrText(n.IPv6)), nanos(n.Created), nanos(n.KeyExpiry), n.NoKeyExpiry, n.Approved,
		n.Ephemeral, string(n.AuthKey), routes)
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	if _, err := tx.exec("INSERT INTO soft (node) VALUES ($1) ON CONFLICT (node) DO NOTHING", int64(n.ID)); err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	return nil
}

// DeleteNode removes a node and its soft state; it returns an error of KindNotFound
// if there is none.
func (tx *Tx) DeleteNode(id selvage.NodeID) error {
	return tx.remove(fmt.Sprintf("node %d", id), "DELETE FROM nodes WHERE id = $1", int64(id))
}
