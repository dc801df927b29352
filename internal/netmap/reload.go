package netmap

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"selvage"
	"selvage/internal/store"
)

// modelActions are the beginnings of the actions that change what is in memory.
var modelActions = []string{"settings.", "dns.", "user.", "node.", "key.", "policy."}

// catchUp takes in what others have written to the journal, up to head, by reading
// the tailnet anew. The caller has the turn, and in tx nothing of the tailnet changes
// any more or nothing is seen of it. Records that are as before stay the same ones,
// so that sessions send only what differs.
func (n *Net) catchUp(tx *store.Tx, head int64) error {
	from := n.journal.Load()
	if head == from {
		return nil
	}
	concerned, err := n.concerned(tx, from, head)
	if err != nil {
		return err
	}
	if concerned {
		c, err := n.missed(tx)
		if err != nil {
			return fmt.Errorf("catch up with the journal: %w", err)
		}
		n.apply(c, n.hub.now())
	}
	n.journal.Store(head)
	return nil
}

// concerned reports whether the entries after from, up to head, may have changed what
// is in memory.
func (n *Net) concerned(tx *store.Tx, from, head int64) (bool, error) {
	if head < from || head-from > store.MaxEntries {
		return true, nil
	}
	entries, err := tx.Entries(n.id, store.Query{After: from, Before: head + 1, Limit: store.MaxEntries})
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		for _, prefix := range modelActions {
			if strings.HasPrefix(e.Action, prefix) {
				return true, nil
			}
		}
	}
	return int64(len(entries)) != head-from, nil
}

// missed returns the change from what is in memory to what is in the database.
func (n *Net) missed(tx *store.Tx) (*changes, error) {
	v := n.View()
	s, err := readStored(tx, n.id)
	if err != nil {
		return nil, err
	}
	c := newChanges()
	if !sameJSON(s.tailnet, v.Tailnet) {
		c.tailnet = s.tailnet
	}
	c.missedUsers(v, s.users)
	c.missedKeys(v, s.keys)
	if err := c.missedNodes(tx, v, s.nodes); err != nil {
		return nil, err
	}
	newest, err := tx.Policies(n.id, 1)
	if err != nil || len(newest) == 0 || newest[0].Rev == v.Policy.newest {
		return &c, err
	}
	c.policy, err = n.readPolicy(tx)
	return &c, err
}

func (c *changes) missedUsers(v *View, users []*selvage.User) {
	there := map[selvage.UserID]bool{}
	for _, u := range users {
		there[u.ID] = true
		if old := v.User(u.ID); old == nil || !sameUser(old, u) {
			c.users[u.ID] = u
		}
	}
	for _, u := range v.Users() {
		if !there[u.ID] {
			c.users[u.ID] = nil
		}
	}
}

func (c *changes) missedKeys(v *View, keys []*selvage.AuthKey) {
	there := map[selvage.KeyID]bool{}
	for _, k := range keys {
		there[k.ID] = true
		if old := v.AuthKey(k.ID); old == nil || !sameKey(old, k) {
			c.keys[k.ID] = k
		}
	}
	for _, k := range v.AuthKeys() {
		if !there[k.ID] {
			c.keys[k.ID] = nil
		}
	}
}

func (c *changes) missedNodes(tx *store.Tx, v *View, nodes []*selvage.Node) error {
	there := map[selvage.NodeID]bool{}
	unknown := false
	for _, node := range nodes {
		there[node.ID] = true
		old := v.Node(node.ID)
		if old == nil || !sameNode(old.Node, node) {
			c.nodes[node.ID] = node
			unknown = unknown || old == nil
		}
	}
	for rec := range v.Nodes() {
		if !there[rec.ID] {
			c.nodes[rec.ID] = nil
		}
	}
	if !unknown {
		return nil
	}
	saved, err := tx.Soft(v.Tailnet.ID)
	if err != nil {
		return err
	}
	for id := range c.nodes {
		if soft := saved[id]; soft != nil && v.Node(id) == nil {
			c.reports[id] = func(s *selvage.Soft) { *s = *soft }
		}
	}
	return nil
}

// sameNode reports whether two records say the same.
func sameNode(a, b *selvage.Node) bool {
	x, y := *a, *b
	sameTime(&x.Created, &y.Created)
	sameTime(&x.KeyExpiry, &y.KeyExpiry)
	sameList(&x.Tags, &y.Tags)
	sameList(&x.ApprovedRoutes, &y.ApprovedRoutes)
	return reflect.DeepEqual(&x, &y)
}

// sameUser reports whether two records say the same.
func sameUser(a, b *selvage.User) bool {
	x, y := *a, *b
	sameTime(&x.Created, &y.Created)
	return x == y
}

// sameKey reports whether two records say the same.
func sameKey(a, b *selvage.AuthKey) bool {
	x, y := *a, *b
	sameTime(&x.Created, &y.Created)
	sameTime(&x.Expires, &y.Expires)
	sameTime(&x.Revoked, &y.Revoked)
	sameTime(&x.Used, &y.Used)
	sameList(&x.Tags, &y.Tags)
	return reflect.DeepEqual(&x, &y)
}

// sameTime makes the times identical if they are the same moment.
func sameTime(a, b *time.Time) {
	if a.Equal(*b) {
		*a = *b
	}
}

// sameList makes the lists identical if both are empty.
func sameList[T any](a, b *[]T) {
	if len(*a)+len(*b) == 0 {
		*a, *b = nil, nil
	}
}

// sameJSON reports whether two values are written alike.
func sameJSON(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

// follow takes in what other servers over the same database have changed, and the
// tailnets that they have made.
func (h *Hub) follow(ctx context.Context) error {
	nets := h.Nets()
	var behind []*Net
	var server int64
	err := h.db.Read(ctx, func(tx *store.Tx) error {
		behind = nil
		head, err := tx.Head(store.ServerTailnet)
		if err != nil {
			return err
		}
		server = head.Seq
		for _, n := range nets {
			head, err := tx.Head(n.id)
			if err != nil {
				return err
			}
			if head.Seq != n.journal.Load() {
				behind = append(behind, n)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look for changes by other servers: %w", err)
	}
	for _, n := range behind {
		if err := n.follow(ctx); err != nil {
			return err
		}
	}
	if server == h.serverSeq {
		return nil
	}
	if err := h.loadUnknown(ctx); err != nil {
		return err
	}
	h.serverSeq = server
	return nil
}

// follow brings memory up to the journal's head, unless a change of configuration
// is under way: that one does it itself.
func (n *Net) follow(ctx context.Context) error {
	select {
	case n.turn <- struct{}{}:
	default:
		return nil
	}
	defer n.endTurn()
	err := n.hub.db.Read(ctx, func(tx *store.Tx) error {
		head, err := tx.Head(n.id)
		if err != nil {
			return err
		}
		return n.catchUp(tx, head.Seq)
	})
	if err != nil {
		return fmt.Errorf("follow the journal of tailnet %d: %w", n.id, err)
	}
	return nil
}

// loadUnknown loads the tailnets that are not known yet.
func (h *Hub) loadUnknown(ctx context.Context) error {
	var tailnets []*selvage.Tailnet
	err := h.db.Read(ctx, func(tx *store.Tx) (err error) {
		tailnets, err = tx.Tailnets()
		return err
	})
	if err != nil {
		return fmt.Errorf("list tailnets: %w", err)
	}
	for _, t := range tailnets {
		if h.Net(t.ID) != nil {
			continue
		}
		if _, err := h.load(ctx, t.ID); err != nil {
			return err
		}
	}
	return nil
}
