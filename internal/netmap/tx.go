package netmap

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/journal"
	"selvage/internal/policy"
	"selvage/internal/store"
)

// Tx is one change of configuration while it is decided. Its methods check and
// stage; nothing is visible outside before Net.Update has stored all of it.
type Tx struct {
	// Now is the time of the change, the same for all of it.
	Now   time.Time
	Actor selvage.Actor

	n   *Net
	v   *View
	stx *store.Tx

	changes  []journal.Change
	nodes    map[selvage.NodeID]*selvage.Node // nil: deleted
	soft     map[selvage.NodeID]*selvage.Soft // of new nodes
	users    map[selvage.UserID]*selvage.User // nil: deleted
	keys     map[selvage.KeyID]*selvage.AuthKey
	settings *selvage.Settings
	policy   *Policy
}

func newTx(n *Net, stx *store.Tx, actor selvage.Actor) *Tx {
	return &Tx{
		Now: n.hub.now().UTC(), Actor: actor, n: n, v: n.View(), stx: stx,
		nodes: map[selvage.NodeID]*selvage.Node{}, soft: map[selvage.NodeID]*selvage.Soft{},
		users: map[selvage.UserID]*selvage.User{}, keys: map[selvage.KeyID]*selvage.AuthKey{},
	}
}

// View returns the view that the change starts from; it shows nothing staged.
func (tx *Tx) View() *View { return tx.v }

// Context returns the transaction's context.
func (tx *Tx) Context() context.Context { return tx.stx.Context() }

// Store returns the database transaction, for owners of other tables that change
// together with the model.
func (tx *Tx) Store() *store.Tx { return tx.stx }

// Log adds a journal entry for a change that is not one of the model's.
func (tx *Tx) Log(action, target string, old, now any) {
	tx.changes = append(tx.changes, journal.Change{Action: action, Target: target, Old: old, New: now})
}

// Node returns a copy of the node as staged, for a change, or nil.
func (tx *Tx) Node(id selvage.NodeID) *selvage.Node {
	if n, ok := tx.nodes[id]; ok {
		if n == nil {
			return nil
		}
		return n.Clone()
	}
	if rec := tx.v.Node(id); rec != nil {
		return rec.Node.Clone()
	}
	return nil
}

// PutNode stages a node, new or changed; action names the change in the journal.
func (tx *Tx) PutNode(action string, n *selvage.Node) {
	var old any
	if prev := tx.Node(n.ID); prev != nil {
		old = prev
	}
	slices.Sort(n.Tags)
	n.Tags = slices.Compact(n.Tags)
	tx.nodes[n.ID] = n
	tx.Log(action, "node:"+n.ID.String(), old, n)
}

// DeleteNode stages the end of a node.
func (tx *Tx) DeleteNode(id selvage.NodeID) error {
	old := tx.Node(id)
	if old == nil {
		return selvage.Errorf(selvage.KindNotFound, "no node %d", id)
	}
	tx.nodes[id] = nil
	tx.Log(journal.NodeDelete, "node:"+id.String(), old, nil)
	return nil
}

// User returns a copy of the user as staged, for a change, or nil.
func (tx *Tx) User(id selvage.UserID) *selvage.User {
	u, ok := tx.users[id]
	if !ok {
		u = tx.v.User(id)
	}
	if u == nil {
		return nil
	}
	c := *u
	return &c
}

// PutUser stages a user, new or changed.
func (tx *Tx) PutUser(action string, u *selvage.User) error {
	for _, other := range tx.v.users.byID {
		if other.ID != u.ID && strings.EqualFold(other.Login, u.Login) {
			return selvage.Errorf(selvage.KindConflict, "there is a user %q already", other.Login)
		}
	}
	var old any
	if prev := tx.User(u.ID); prev != nil {
		old = prev
	}
	tx.users[u.ID] = u
	tx.Log(action, "user:"+u.ID.String(), old, u)
	return nil
}

// DeleteUser stages the end of a user. Their devices and keys must be gone or
// staged to go.
func (tx *Tx) DeleteUser(id selvage.UserID) error {
	old := tx.User(id)
	if old == nil {
		return selvage.Errorf(selvage.KindNotFound, "no user %d", id)
	}
	tx.users[id] = nil
	tx.Log(journal.UserDelete, "user:"+id.String(), old, nil)
	return nil
}

// AuthKey returns a copy of the auth key as staged, for a change, or nil.
func (tx *Tx) AuthKey(id selvage.KeyID) *selvage.AuthKey {
	k, ok := tx.keys[id]
	if !ok {
		k = tx.v.AuthKey(id)
	}
	if k == nil {
		return nil
	}
	c := *k
	return &c
}

// PutAuthKey stages an auth key, new or changed. With an empty action the change is
// no journal entry of its own (a use of the key is part of the node's).
func (tx *Tx) PutAuthKey(action string, k *selvage.AuthKey) {
	if action != "" {
		var old any
		if prev := tx.AuthKey(k.ID); prev != nil {
			old = prev
		}
		tx.Log(action, "key:"+string(k.ID), old, k)
	}
	tx.keys[k.ID] = k
}

// PutSettings stages new settings.
func (tx *Tx) PutSettings(action string, s selvage.Settings) {
	tx.settings = &s
	tx.Log(action, "settings", tx.v.Tailnet.Settings, s)
}

// PutPolicy checks and stages a new policy text.
func (tx *Tx) PutPolicy(text string) (*Policy, error) {
	parsed, err := policy.Parse(text)
	if err != nil {
		return nil, selvage.Errorf(selvage.KindInvalid, "%w", err)
	}
	prev := tx.v.Policy.Rev
	var old any
	rev := &selvage.PolicyRevision{Tailnet: tx.n.id, Rev: 1, Text: text, Created: tx.Now, Author: actorName(tx.Actor)}
	newest, err := tx.stx.Policy(tx.n.id)
	if err != nil {
		return nil, err
	}
	if newest != nil {
		rev.Rev = newest.Rev + 1
	}
	if prev != nil {
		old = prev
	}
	compiled := parsed.Compile(tx.people().persons())
	tx.policy = &Policy{Compiled: compiled, Rev: rev, Parsed: parsed}
	tx.Log(journal.PolicySet, "policy", old, rev)
	return tx.policy, nil
}

// people returns the users with the staged changes.
func (tx *Tx) people() *people {
	if len(tx.users) == 0 {
		return tx.v.users
	}
	byID := maps.Clone(tx.v.users.byID)
	for id, u := range tx.users {
		if u == nil {
			delete(byID, id)
		} else {
			byID[id] = u
		}
	}
	return newPeople(sortedUsers(byID))
}

// write stores all that is staged.
func (tx *Tx) write() error {
	if len(tx.changes) == 0 && len(tx.keys) == 0 {
		return nil
	}
	if _, err := journal.Append(tx.stx, tx.Now, tx.Actor, tx.n.id, tx.changes); err != nil {
		return err
	}
	for id, u := range tx.users {
		if u == nil {
			continue
		}
		if err := tx.stx.PutUser(tx.users[id]); err != nil {
			return err
		}
	}
	for _, k := range tx.keys {
		if err := tx.stx.PutAuthKey(k); err != nil {
			return err
		}
	}
	if err := tx.writeNodes(); err != nil {
		return err
	}
	for id, u := range tx.users {
		if u == nil {
			if err := tx.stx.DeleteUser(id); err != nil {
				return err
			}
		}
	}
	if tx.settings != nil {
		t := *tx.v.Tailnet
		t.Settings = *tx.settings
		if err := tx.stx.PutTailnet(&t); err != nil {
			return err
		}
	}
	if tx.policy != nil {
		return tx.stx.PutPolicy(tx.policy.Rev)
	}
	return nil
}

// writeNodes deletes before it writes, so that a name or key that one node gives up
// can go to another in the same change.
func (tx *Tx) writeNodes() error {
	for id, n := range tx.nodes {
		if n == nil {
			if err := tx.stx.DeleteNode(id); err != nil {
				return err
			}
		}
	}
	for _, n := range tx.nodes {
		if n != nil {
			if err := tx.stx.PutNode(n); err != nil {
				return err
			}
		}
	}
	if len(tx.soft) == 0 {
		return nil
	}
	return tx.stx.PutSoft(tx.soft)
}

// apply changes memory after the database has taken the change.
func (n *Net) apply(tx *Tx) {
	e := n.edit()
	if len(tx.keys) > 0 {
		e.v.keys = maps.Clone(e.v.keys)
		maps.Copy(e.v.keys, tx.keys)
	}
	if tx.settings != nil {
		t := *e.v.Tailnet
		t.Settings = *tx.settings
		e.v.Tailnet = &t
		e.wide = true
	}
	if len(tx.users) > 0 {
		e.v.users = tx.people()
		e.wide = true
	}
	if tx.policy != nil {
		e.v.Policy = tx.policy
	} else if len(tx.users) > 0 && !samePersons(e.old.users, e.v.users) {
		p := *e.v.Policy
		p.Compiled = p.Parsed.Compile(e.v.users.persons())
		e.v.Policy = &p
	}
	if e.v.Policy != e.old.Policy {
		e.reclass()
	}
	n.applyNodes(e, tx)
	if len(tx.keys) > 0 && len(e.dirty) == 0 && !e.wide {
		// Keys are no client's business: a new view, but nobody to wake.
		e.v.Published = n.hub.now()
		n.ring.push(e.v.Seq, nil)
		n.view.Store(e.v)
		close(e.old.superseded)
		return
	}
	e.publish()
}

func (n *Net) applyNodes(e *edit, tx *Tx) {
	for id, node := range tx.nodes {
		cur := e.v.Node(id)
		if node == nil {
			if cur != nil {
				n.addresses.free(cur.Node)
				delete(n.unsaved, id)
				e.remove(cur)
			}
			continue
		}
		if cur != nil {
			rec := *cur
			rec.Node = node
			rec.Expired = node.Expired(tx.Now)
			if soft := tx.soft[id]; soft != nil {
				rec.Soft = soft
			}
			e.put(&rec)
			continue
		}
		soft := tx.soft[id]
		if soft == nil {
			soft = &selvage.Soft{Hostinfo: new(tailcfg.Hostinfo)}
		}
		n.addresses.take(e.v.Tailnet.Settings, node)
		e.put(&Node{Node: node, Soft: soft, Expired: node.Expired(tx.Now), slot: n.slotFor(id)})
	}
}

func samePersons(a, b *people) bool { return slices.Equal(a.persons(), b.persons()) }

func sortedUsers(byID map[selvage.UserID]*selvage.User) []*selvage.User {
	return slices.SortedFunc(maps.Values(byID), func(a, b *selvage.User) int { return int(a.ID - b.ID) })
}

func actorName(a selvage.Actor) string {
	if a.Name != "" {
		return a.Name
	}
	return string(a.Kind)
}
