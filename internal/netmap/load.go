package netmap

import (
	"context"
	"fmt"
	"strings"

	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/policy"
	"selvage/internal/store"
)

// stored is a tailnet as the database has it.
type stored struct {
	nodes     []*selvage.Node
	users     []*selvage.User
	keys      []*selvage.AuthKey
	soft      map[selvage.NodeID]*selvage.Soft
	revisions []*selvage.PolicyRevision // newest first
}

// revisionsTried is how many policy revisions are looked at, from the newest back,
// for one that still parses.
const revisionsTried = 20

func readStored(ctx context.Context, db *store.DB, id selvage.TailnetID) (stored, error) {
	var s stored
	err := db.Read(ctx, func(tx *store.Tx) (err error) {
		if s.nodes, err = tx.Nodes(id); err != nil {
			return err
		}
		if s.users, err = tx.Users(id); err != nil {
			return err
		}
		if s.keys, err = tx.AuthKeys(id); err != nil {
			return err
		}
		if s.soft, err = tx.Soft(id); err != nil {
			return err
		}
		revisions, err := tx.Policies(id, revisionsTried)
		for _, r := range revisions {
			// The list comes without texts.
			full, err := tx.PolicyRevision(id, r.Rev)
			if err != nil {
				return err
			}
			s.revisions = append(s.revisions, full)
		}
		return err
	})
	return s, err
}

// load reads a tailnet and makes it known.
func (h *Hub) load(ctx context.Context, t *selvage.Tailnet) error {
	s, err := readStored(ctx, h.db, t.ID)
	if err != nil {
		return err
	}
	n := newNet(h, t.ID)
	v := &View{
		Tailnet: t, Published: h.now(), net: n,
		users: newPeople(s.users), keys: map[selvage.KeyID]*selvage.AuthKey{},
		members: map[policy.Class]uint64{}, superseded: make(chan struct{}),
	}
	for _, k := range s.keys {
		v.keys[k.ID] = k
	}
	v.Policy = n.choosePolicy(s.revisions, v.users)
	now := h.now()
	for slot, node := range s.nodes {
		soft := s.soft[node.ID]
		if soft == nil {
			soft = &selvage.Soft{Hostinfo: new(tailcfg.Hostinfo)}
		}
		rec := &Node{Node: node, Soft: soft, Expired: node.Expired(now), slot: slot}
		rec.Routes = approvedRoutes(rec)
		rec.Class = v.Policy.Class(rec.Device())
		v.nodes = v.nodes.set(slot, rec)
		n.slots[node.ID] = slot
		n.routes.update(nil, rec)
		n.addresses.take(t.Settings, node)
	}
	for rec := range v.nodes.all {
		if won := n.routes.wonBy(rec.ID); won != nil {
			rec.Primary = won // not shared yet
		}
	}
	n.nextSlot = len(s.nodes)
	n.view.Store(v)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.nets[t.ID] = n
	for _, node := range s.nodes {
		h.byKey[node.Key] = keyRef{n, node.ID}
	}
	return nil
}

// choosePolicy returns the newest revision that parses. A stored policy that does
// not is no reason not to start: the last good one stays in force and says so.
func (n *Net) choosePolicy(revisions []*selvage.PolicyRevision, users *people) *Policy {
	var problem error
	for _, rev := range revisions {
		parsed, err := policy.Parse(rev.Text)
		if err == nil {
			return &Policy{Compiled: parsed.Compile(users.persons()), Rev: rev, Parsed: parsed, Problem: problem}
		}
		if problem == nil {
			problem = fmt.Errorf("policy revision %d is not in force: %w", rev.Rev, err)
			n.hub.log.Error("stored policy does not parse; the last good one stays in force", "tailnet", n.id, "rev", rev.Rev, "err", err)
		}
	}
	parsed, err := policy.Parse(policy.Default())
	if err != nil {
		panic("netmap: the default policy does not parse: " + err.Error()) // a programmer's mistake
	}
	return &Policy{Compiled: parsed.Compile(users.persons()), Parsed: parsed, Problem: problem}
}

func newPeople(users []*selvage.User) *people {
	p := &people{byID: map[selvage.UserID]*selvage.User{}, byLogin: map[string]*selvage.User{}}
	for _, u := range users {
		p.byID[u.ID] = u
		p.byLogin[strings.ToLower(u.Login)] = u
	}
	return p
}

// persons returns what the policy may know of the users.
func (p *people) persons() []policy.Person {
	persons := make([]policy.Person, 0, len(p.byID))
	for _, u := range sortedUsers(p.byID) {
		persons = append(persons, policy.Person{ID: u.ID, Login: u.Login, Role: u.Role})
	}
	return persons
}
