package netmap

import (
	"context"
	"fmt"

	"selvage"
	"selvage/internal/policy"
	"selvage/internal/store"
)

// stored is a tailnet as the database has it.
type stored struct {
	tailnet *selvage.Tailnet
	nodes   []*selvage.Node
	users   []*selvage.User
	keys    []*selvage.AuthKey
}

// revisionsTried is how many policy revisions are looked at, from the newest back,
// for one that still parses.
const revisionsTried = 20

// readStored reads a tailnet, but for its policy and soft state.
func readStored(tx *store.Tx, id selvage.TailnetID) (s stored, err error) {
	tailnets, err := tx.Tailnets()
	if err != nil {
		return s, err
	}
	for _, t := range tailnets {
		if t.ID == id {
			s.tailnet = t
		}
	}
	if s.tailnet == nil {
		return s, selvage.Errorf(selvage.KindNotFound, "tailnet %d is not there", id)
	}
	if s.nodes, err = tx.Nodes(id); err != nil {
		return s, err
	}
	if s.users, err = tx.Users(id); err != nil {
		return s, err
	}
	s.keys, err = tx.AuthKeys(id)
	return s, err
}

// readPolicy returns the newest revision that parses, not compiled yet. A stored
// policy that does not parse is no reason not to start: the last good one stays in
// force and says so.
func (n *Net) readPolicy(tx *store.Tx) (*Policy, error) {
	list, err := tx.Policies(n.id, revisionsTried)
	if err != nil {
		return nil, err
	}
	p := new(Policy)
	for _, r := range list { // newest first, without texts
		rev, err := tx.PolicyRevision(n.id, r.Rev)
		if err != nil {
			return nil, err
		}
		p.newest = max(p.newest, rev.Rev)
		parsed, err := policy.Parse(rev.Text)
		if err == nil {
			p.Rev, p.Parsed = rev, parsed
			return p, nil
		}
		n.hub.log.Error("stored policy does not parse; the last good one stays in force", "tailnet", n.id, "rev", rev.Rev, "err", err)
		if p.Problem == nil {
			p.Problem = fmt.Errorf("policy revision %d is not in force: %w", rev.Rev, err)
		}
	}
	parsed, err := policy.Parse(policy.Default())
	if err != nil {
		panic("netmap: the default policy does not parse: " + err.Error()) // a programmer's mistake
	}
	p.Parsed = parsed
	return p, nil
}

// load reads a tailnet and makes it known, unless it is known already.
func (h *Hub) load(ctx context.Context, id selvage.TailnetID) (*Net, error) {
	n := newNet(h, id)
	err := h.db.Read(ctx, func(tx *store.Tx) error { return n.read(tx) })
	if err != nil {
		return nil, fmt.Errorf("load tailnet %d: %w", id, err)
	}
	n.turn <- struct{}{} // nobody changes it before its index is there
	defer n.endTurn()
	h.mu.Lock()
	known := h.nets[id]
	if known == nil {
		h.nets[id] = n
	}
	h.mu.Unlock()
	if known != nil {
		return known, nil
	}
	v := n.View()
	for rec := range v.Nodes() {
		n.reindex(v.Tailnet.Settings, nil, rec.Node)
	}
	return n, nil
}

// read makes the first view of a tailnet. Nobody else knows the tailnet yet.
func (n *Net) read(tx *store.Tx) error {
	head, err := tx.Head(n.id)
	if err != nil {
		return err
	}
	s, err := readStored(tx, n.id)
	if err != nil {
		return err
	}
	soft, err := tx.Soft(n.id)
	if err != nil {
		return err
	}
	p, err := n.readPolicy(tx)
	if err != nil {
		return err
	}
	now := n.hub.now()
	v := &View{Tailnet: s.tailnet, Published: now, users: newPeople(s.users), superseded: make(chan struct{})}
	for _, k := range s.keys {
		v.keys = v.keys.set(string(k.ID), k)
	}
	for _, node := range s.nodes {
		rec := &Node{Node: node, Soft: soft[node.ID], Expired: node.Expired(now)}
		if rec.Soft == nil {
			rec.Soft = newSoft()
		}
		v.nodes = v.nodes.set(uint64(node.ID), rec)
		v.count++
	}
	v.compact = n.hub.compactAt(v.count, false)
	v.Policy = p.compile(v.users, s.tailnet, v.nodes)
	n.routes = newElection()
	for rec := range v.nodes.all { // not shared yet
		rec.derive(nil, v.Policy)
		n.routes.update(nil, rec)
	}
	for rec := range v.nodes.all {
		rec.Primary = n.routes.wonBy(rec)
	}
	n.journal.Store(head.Seq)
	n.view.Store(v)
	return nil
}
