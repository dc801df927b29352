package netmap

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"tailscale.com/tailcfg"

	"selvage"
)

// changes is a change of configuration, as it is stored and as memory takes it in.
// The records in it are not changed any more and may be kept.
type changes struct {
	nodes   map[selvage.NodeID]*selvage.Node // nil: gone
	users   map[selvage.UserID]*selvage.User // nil: gone
	keys    map[selvage.KeyID]*selvage.AuthKey
	tailnet *selvage.Tailnet // nil: as before
	policy  *Policy          // nil: as before; apply compiles it if that isn't done
	// reports are what devices said of themselves along with the change. They are
	// made when memory changes, so that no report that came meanwhile is lost.
	reports map[selvage.NodeID]func(*selvage.Soft)
}

func newChanges() changes {
	return changes{
		nodes: map[selvage.NodeID]*selvage.Node{}, users: map[selvage.UserID]*selvage.User{},
		keys: map[selvage.KeyID]*selvage.AuthKey{}, reports: map[selvage.NodeID]func(*selvage.Soft){},
	}
}

func (c *changes) empty() bool {
	return len(c.nodes)+len(c.users)+len(c.keys) == 0 && c.tailnet == nil && c.policy == nil
}

// newSoft is what is known of a device that has said nothing yet.
func newSoft() *selvage.Soft { return &selvage.Soft{Hostinfo: new(tailcfg.Hostinfo)} }

// apply takes a change into memory and returns the view that has it. The caller has
// the turn, and the change is in the database.
func (n *Net) apply(c *changes, at time.Time) *View {
	if c.empty() {
		return n.View()
	}
	// What takes long comes before the lock.
	before := n.View()
	policy := c.inForce(before)
	classed := before.nodes
	if policy != before.Policy {
		classed = classed.mapped(policy.classed)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	e := n.edit()
	for id, k := range c.keys {
		e.v.keys, e.quiet = e.v.keys.set(string(id), k), true
	}
	if c.tailnet != nil {
		e.v.Tailnet, e.wide = c.tailnet, true
		n.due = time.Time{} // deadlines may have moved
	}
	if len(c.users) > 0 {
		e.v.users, e.wide = e.v.users.changed(c.users), true
	}
	if policy != e.old.Policy {
		e.reclass(policy, before.nodes, classed)
	}
	ids := slices.Sorted(maps.Keys(c.nodes))
	// What one node gives up, another may get.
	for _, id := range ids {
		if c.nodes[id] == nil {
			e.forget(id)
		}
	}
	for _, id := range ids {
		if c.nodes[id] != nil {
			e.take(c.nodes[id], c.reports[id], at)
		}
	}
	e.publish()
	return e.v
}

// forget takes in the end of a node.
func (e *edit) forget(id selvage.NodeID) {
	if cur := e.v.Node(id); cur != nil {
		e.remove(cur)
		e.n.reindex(e.v.Tailnet.Settings, cur.Node, nil)
	}
}

// take takes in a node, new or changed.
func (e *edit) take(node *selvage.Node, report func(*selvage.Soft), at time.Time) {
	rec := &Node{Soft: newSoft()}
	cur := e.v.Node(node.ID)
	if cur != nil {
		*rec = *cur
	}
	e.n.reindex(e.v.Tailnet.Settings, rec.Node, node)
	rec.Node = node
	rec.Expired = node.Expired(at)
	if report != nil {
		soft := *rec.Soft
		report(&soft)
		rec.Soft, rec.asks = &soft, false
		if cur != nil { // that of a new node is in the database
			e.n.unsaved[node.ID] = rec.Soft
		}
	}
	e.put(rec)
}

// inForce returns the policy after the change: the same one if neither its text nor
// the people that it looks at nor the address ranges change.
func (c *changes) inForce(v *View) *Policy {
	people := v.users.samePersons(c.users)
	ranges := c.tailnet == nil || sameRanges(&c.tailnet.Settings, &v.Tailnet.Settings)
	p := c.policy
	if p == nil {
		p = v.Policy
	}
	if people && ranges && p.Compiled != nil {
		return p
	}
	t := c.tailnet
	if t == nil {
		t = v.Tailnet
	}
	return p.compile(v.users.changed(c.users), t, v.nodes)
}

// compile returns the policy for the given people and address ranges.
func (p *Policy) compile(users people, t *selvage.Tailnet, nodes trie[*Node]) *Policy {
	c := *p
	persons := users.persons()
	c.Compiled, c.rows = p.Parsed.Compile(persons, nodeRanges(t, nodes)...), new(rows)
	c.hasVia, c.Failing = c.HasVia(), p.Parsed.Test(persons)
	return &c
}

func sameRanges(a, b *selvage.Settings) bool { return a.IPv4 == b.IPv4 && a.IPv6 == b.IPv6 }

// nodeRanges returns where the addresses of nodes are: the ranges of the settings,
// and the single addresses of nodes that are older than those.
func nodeRanges(t *selvage.Tailnet, nodes trie[*Node]) []netip.Prefix {
	ranges := []netip.Prefix{t.Settings.IPv4, t.Settings.IPv6}
	for n := range nodes.all {
		for i, a := range n.Node.Addresses() {
			if !ranges[i].Contains(a) {
				ranges = append(ranges, netip.PrefixFrom(a, a.BitLen()))
			}
		}
	}
	return ranges
}
