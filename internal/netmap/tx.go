package netmap

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"selvage"
	"selvage/internal/journal"
	"selvage/internal/policy"
	"selvage/internal/store"
)

// Tx is one change of configuration while it is decided. Its methods check and
// stage; nothing is visible outside before Net.Update has stored all of it. What
// changes nothing is not staged and not in the journal.
type Tx struct {
	// Now is the time of the change, the same for all of it.
	Now   time.Time
	Actor selvage.Actor

	n   *Net
	v   *View
	stx *store.Tx

	changes
	entries []journal.Change
	written int // entries that write has added to the journal
}

func newTx(n *Net, stx *store.Tx, actor selvage.Actor) *Tx {
	return &Tx{Now: n.hub.now().UTC(), Actor: actor, n: n, v: n.View(), stx: stx, changes: newChanges()}
}

// View returns the view that the change starts from; it shows nothing staged.
func (tx *Tx) View() *View { return tx.v }

// Context returns the transaction's context.
func (tx *Tx) Context() context.Context { return tx.stx.Context() }

// Store returns the database transaction, for owners of other tables that change
// together with the model.
func (tx *Tx) Store() *store.Tx { return tx.stx }

// Log adds a journal entry for a change that is not one of the model's. The values
// must not change any more.
func (tx *Tx) Log(action, target string, old, now any) {
	tx.entries = append(tx.entries, journal.Change{Action: action, Target: target, Old: old, New: now})
}

// Node returns a copy of the node as staged, for a change, or nil.
func (tx *Tx) Node(id selvage.NodeID) *selvage.Node {
	if n := tx.node(id); n != nil {
		return n.Clone()
	}
	return nil
}

func (tx *Tx) node(id selvage.NodeID) *selvage.Node {
	if n, staged := tx.nodes[id]; staged {
		return n
	}
	if rec := tx.v.Node(id); rec != nil {
		return rec.Node
	}
	return nil
}

// PutNode stages a node, new or changed; action names the change in the journal.
func (tx *Tx) PutNode(action string, n *selvage.Node) {
	n = n.Clone()
	slices.Sort(n.Tags)
	n.Tags = slices.Compact(n.Tags)
	target := journal.Target("node", n.ID)
	old := tx.node(n.ID)
	switch {
	case old == nil:
		tx.Log(action, target, nil, n)
	case sameNode(old, n):
		return
	default:
		tx.Log(action, target, old, n)
	}
	tx.nodes[n.ID] = n
}

// DeleteNode stages the end of a node.
func (tx *Tx) DeleteNode(id selvage.NodeID) error {
	old := tx.node(id)
	if old == nil {
		return selvage.Errorf(selvage.KindNotFound, "no node %d", id)
	}
	tx.nodes[id] = nil
	tx.Log(journal.NodeDelete, journal.Target("node", id), old, nil)
	return nil
}

// User returns a copy of the user as staged, for a change, or nil.
func (tx *Tx) User(id selvage.UserID) *selvage.User {
	u, staged := tx.users[id]
	if !staged {
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
	if other := tx.people().login(u.Login); other != nil && other.ID != u.ID {
		return selvage.Errorf(selvage.KindConflict, "there is a user %q already", other.Login)
	}
	c := *u
	target := journal.Target("user", u.ID)
	old := tx.User(u.ID)
	switch {
	case old == nil:
		tx.Log(action, target, nil, &c)
	case sameUser(old, &c):
		return nil
	default:
		tx.Log(action, target, old, &c)
	}
	tx.users[u.ID] = &c
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
	tx.Log(journal.UserDelete, journal.Target("user", id), old, nil)
	return nil
}

// people returns the users with the staged changes.
func (tx *Tx) people() people { return tx.v.users.changed(tx.users) }

// AuthKey returns a copy of the auth key as staged, for a change, or nil.
func (tx *Tx) AuthKey(id selvage.KeyID) *selvage.AuthKey {
	k, staged := tx.keys[id]
	if !staged {
		k = tx.v.AuthKey(id)
	}
	if k == nil {
		return nil
	}
	return cloneKey(k)
}

func cloneKey(k *selvage.AuthKey) *selvage.AuthKey {
	c := *k
	c.Tags = slices.Clone(k.Tags)
	return &c
}

// PutAuthKey stages an auth key, new or changed. With an empty action the change is
// no journal entry of its own: then there must be one of a node that belongs to it.
func (tx *Tx) PutAuthKey(action string, k *selvage.AuthKey) {
	k = cloneKey(k)
	old := tx.AuthKey(k.ID)
	if old != nil && sameKey(old, k) {
		return
	}
	tx.keys[k.ID] = k
	if action == "" {
		return
	}
	target := journal.Target("key", k.ID)
	if old == nil {
		tx.Log(action, target, nil, k)
	} else {
		tx.Log(action, target, old, k)
	}
}

// settings returns the settings as staged.
func (tx *Tx) settings() *selvage.Settings {
	if tx.tailnet != nil {
		return &tx.tailnet.Settings
	}
	return &tx.v.Tailnet.Settings
}

// PutSettings stages new settings. A change of DNS settings is an entry DNSSet, that
// of any others an entry with the given action, SettingsSet.
func (tx *Tx) PutSettings(action string, s selvage.Settings) {
	old := *tx.settings()
	if sameJSON(old, s) {
		return
	}
	if !sameJSON(old.DNS, s.DNS) {
		tx.Log(journal.DNSSet, "dns", old.DNS, s.DNS)
	}
	old.DNS = s.DNS
	if !sameJSON(old, s) {
		if action == journal.DNSSet {
			action = journal.SettingsSet
		}
		tx.Log(action, "settings", old, s)
	}
	t := *tx.v.Tailnet
	t.Settings = s
	tx.tailnet = &t
}

// PutPolicy checks and stages a new policy text. If it is byte for byte the newest
// one, nothing changes.
func (tx *Tx) PutPolicy(text string) (*Policy, error) {
	newest, err := tx.stx.Policy(tx.n.id)
	if err != nil {
		return nil, err
	}
	if newest != nil && newest.Text == text && tx.policy == nil && tx.v.Policy.newest == newest.Rev && tx.v.Policy.Problem == nil {
		return tx.v.Policy, nil
	}
	parsed, err := policy.Parse(text)
	if err != nil {
		return nil, selvage.Errorf(selvage.KindInvalid, "%w", err)
	}
	rev := &selvage.PolicyRevision{Tailnet: tx.n.id, Rev: 1, Text: text, Created: tx.Now, Author: actorName(tx.Actor)}
	var old any
	if newest != nil {
		rev.Rev, old = newest.Rev+1, newest
	}
	if tx.policy != nil {
		return nil, fmt.Errorf("a change has two policies")
	}
	p := &Policy{Rev: rev, Parsed: parsed, newest: rev.Rev}
	p = p.compile(tx.people(), tx.v.Tailnet, tx.v.nodes)
	if p.Failing != nil {
		return nil, selvage.Errorf(selvage.KindInvalid, "%w", p.Failing)
	}
	tx.policy = p
	tx.Log(journal.PolicySet, "policy", old, rev)
	return tx.policy, nil
}

// write stores all that is staged.
func (tx *Tx) write() error {
	entries, err := journal.Append(tx.stx, tx.Now, tx.Actor, tx.n.id, tx.entries)
	if err != nil {
		return err
	}
	tx.written = len(entries)
	for _, id := range slices.Sorted(maps.Keys(tx.users)) {
		if u := tx.users[id]; u != nil {
			err = tx.stx.PutUser(u)
		} else if tx.v.User(id) != nil {
			err = tx.stx.DeleteUser(id)
		}
		if err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(tx.keys)) {
		if err := tx.stx.PutAuthKey(tx.keys[id]); err != nil {
			return err
		}
	}
	if err := tx.writeNodes(); err != nil {
		return err
	}
	if tx.tailnet != nil {
		if err := tx.stx.PutTailnet(tx.tailnet); err != nil {
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
	ids := slices.Sorted(maps.Keys(tx.nodes))
	for _, id := range ids {
		if tx.nodes[id] == nil && tx.v.Node(id) != nil {
			if err := tx.stx.DeleteNode(id); err != nil {
				return err
			}
		}
	}
	first := map[selvage.NodeID]*selvage.Soft{}
	for _, id := range ids {
		n := tx.nodes[id]
		if n == nil {
			continue
		}
		if err := tx.stx.PutNode(n); err != nil {
			return err
		}
		// What a node that is there said is saved behind, like all reports, so that
		// older ones can't come after it.
		if report := tx.reports[id]; report != nil && tx.v.Node(id) == nil {
			first[id] = newSoft()
			report(first[id])
		}
	}
	return tx.stx.PutSoft(first)
}

func actorName(a selvage.Actor) string {
	if a.Name != "" {
		return a.Name
	}
	return string(a.Kind)
}
