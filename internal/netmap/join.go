package netmap

import (
	"context"
	"slices"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/dns"
	"selvage/internal/journal"
	"selvage/internal/policy"
)

// Join is a device that has been admitted, by an auth key or by a person, and is to
// become a node or to get a new node key. The machine key is proven by the transport.
type Join struct {
	Machine  key.MachinePublic
	Key      key.NodePublic
	OldKey   key.NodePublic // the key that is being replaced, if any
	LockKey  key.NLPublic
	Hostinfo *tailcfg.Hostinfo
	Cap      tailcfg.CapabilityVersion
	// Ephemeral is asked for by the client; a key's property has the same effect.
	Ephemeral bool
	// Expiry is when the client wants its key to end, if sooner than the rule.
	Expiry time.Time

	// AuthKey admits the device; if it is empty, User does.
	AuthKey selvage.KeyID
	// User is who connected the device in a browser or on the server's command line.
	User selvage.UserID
	// Tags are given by an administrator together with User; requested tags come in
	// Hostinfo.
	Tags []string
	// Preapproved is set when the person who admits the device may approve it too.
	Preapproved bool
}

// owner is to whom a joining device will belong.
type owner struct {
	user        selvage.UserID
	tags        []string
	preapproved bool
	ephemeral   bool
	key         *selvage.AuthKey
}

// Join makes the device a node, or renews the node that it is already. It is
// idempotent: the same machine and node key again give the same node, also if the
// auth key was for a single device.
func (n *Net) Join(ctx context.Context, actor selvage.Actor, j Join) (*Node, error) {
	if j.Machine.IsZero() || j.Key.IsZero() {
		return nil, selvage.Errorf(selvage.KindInvalid, "a device needs a machine key and a node key")
	}
	var id selvage.NodeID
	v, err := n.update(ctx, actor, func(tx *Tx) error {
		node, err := tx.join(j)
		if err != nil {
			return err
		}
		id = node.ID
		return nil
	})
	if err != nil {
		return nil, err
	}
	return v.Node(id), nil
}

func (tx *Tx) join(j Join) (*selvage.Node, error) {
	same := tx.nodeByKey(j.Key)
	if same != nil && same.Machine != j.Machine {
		return nil, selvage.Errorf(selvage.KindDenied, "this node key belongs to another machine; run `tailscale logout` and log in again")
	}
	if same != nil && j.AuthKey != "" && same.AuthKey == j.AuthKey && !same.Node.Expired(tx.Now) {
		return same.Node, nil // a repeated request, its answer may have been lost
	}
	own, err := tx.owner(j)
	if err != nil {
		return nil, err
	}
	if same == nil {
		same = tx.existing(j, own)
	}
	if same != nil && !same.belongsTo(own) && same.Key == j.Key {
		// The device changes hands with the same key: the old node ends here.
		if err := tx.DeleteNode(same.ID); err != nil {
			return nil, err
		}
		same = nil
	}
	if own.key != nil {
		own.key.Uses++
		own.key.Used = tx.Now
		tx.PutAuthKey("", own.key)
	}
	if same != nil {
		return tx.renew(same, j, own), nil
	}
	return tx.create(j, own)
}

func (n *Node) belongsTo(o owner) bool {
	if n.Tagged() || len(o.tags) > 0 {
		return n.Tagged() && len(o.tags) > 0
	}
	return n.User == o.user
}

// nodeByKey returns the node of this tailnet with the node key, or nil.
func (tx *Tx) nodeByKey(k key.NodePublic) *Node {
	if net, n := tx.n.hub.NodeByKey(k); net == tx.n {
		return n
	}
	return nil
}

// existing finds the node that a device with a new node key already is: the one
// whose key it replaces, or the machine's oldest node of the same owner.
func (tx *Tx) existing(j Join, own owner) *Node {
	if !j.OldKey.IsZero() {
		if n := tx.nodeByKey(j.OldKey); n != nil && n.Machine == j.Machine && n.belongsTo(own) {
			return n
		}
	}
	for _, id := range tx.n.finds.byMachine[j.Machine] {
		if n := tx.v.Node(id); n.belongsTo(own) {
			return n
		}
	}
	return nil
}

// owner decides to whom the device will belong, and whether that is allowed.
func (tx *Tx) owner(j Join) (owner, error) {
	requested := requestedTags(j.Hostinfo)
	if j.AuthKey != "" {
		return tx.keyOwner(j, requested)
	}
	u := tx.User(j.User)
	if u == nil {
		return owner{}, selvage.Errorf(selvage.KindNotFound, "no user %d", j.User)
	}
	if u.Suspended {
		return owner{}, selvage.Errorf(selvage.KindDenied, "user %s is suspended", u.Login)
	}
	own := owner{user: u.ID, preapproved: j.Preapproved, ephemeral: j.Ephemeral}
	if len(j.Tags) > 0 {
		own.tags = j.Tags
	} else if err := tx.mayTag(u, requested); err != nil {
		return owner{}, err
	} else {
		own.tags = requested
	}
	return own, nil
}

func (tx *Tx) keyOwner(j Join, requested []string) (owner, error) {
	k := tx.AuthKey(j.AuthKey)
	if k == nil {
		return owner{}, selvage.Errorf(selvage.KindUnauthenticated, "this auth key is not known here; check that it is complete and of this server")
	}
	if err := k.Usable(tx.Now); err != nil {
		return owner{}, err
	}
	u := tx.User(k.User)
	// A key with tags can have been made by nobody, on the server itself.
	if gone := u == nil || u.Suspended; gone && (k.User != 0 || len(k.Tags) == 0) {
		return owner{}, selvage.Errorf(selvage.KindDenied, "the owner of auth key %s may not add devices any more", k.ID)
	}
	own := owner{preapproved: k.Preapproved, ephemeral: j.Ephemeral || k.Ephemeral, key: k}
	if len(k.Tags) > 0 {
		own.tags = k.Tags
		return own, k.Holds(requested)
	}
	own.user, own.tags = u.ID, requested
	if len(requested) > 0 && tx.mayTag(u, requested) != nil {
		return owner{}, k.Holds(requested)
	}
	return own, nil
}

// mayTag checks that the user may give each of the tags to a device.
func (tx *Tx) mayTag(u *selvage.User, tags []string) error {
	for _, t := range tags {
		if !tx.v.Policy.OwnsTag(u.ID, nil, t) {
			return selvage.Errorf(selvage.KindDenied, "%s may not use %s; add them to its owners in \"tagOwners\" of the policy", u.Login, t)
		}
	}
	return nil
}

func requestedTags(h *tailcfg.Hostinfo) []string {
	if h == nil {
		return nil
	}
	tags := slices.Clone(h.RequestTags)
	slices.Sort(tags)
	return slices.Compact(tags)
}

// create makes a new node.
func (tx *Tx) create(j Join, own owner) (*selvage.Node, error) {
	id, err := tx.stx.NextID("node")
	if err != nil {
		return nil, err
	}
	n := &selvage.Node{
		ID: selvage.NodeID(id), Tailnet: tx.n.id, StableID: selvage.NewStableID(),
		Machine: j.Machine, Name: tx.freeName(0, hostname(j.Hostinfo)),
		Created:  tx.Now,
		Approved: own.preapproved || !tx.settings().DeviceApproval,
	}
	tx.admit(n, j, own)
	pools := tx.v.Policy.IPPools(policy.Device{User: n.User, Tags: n.Tags})
	if n.IPv4, n.IPv6, err = tx.n.finds.addresses.find(*tx.settings(), pools, tx.v.Policy.Parsed.IPPools()); err != nil {
		return nil, err
	}
	n.ApprovedRoutes = withRoutes(n.ApprovedRoutes, tx.v.autoApproved(n, j.Hostinfo))
	tx.PutNode(journal.NodeCreate, n)
	tx.reports[n.ID] = func(s *selvage.Soft) { s.Cap, s.Hostinfo = j.Cap, hostinfoOrEmpty(j.Hostinfo) }
	return n, nil
}

// renew gives an existing node a new key, owner facts and expiry.
func (tx *Tx) renew(rec *Node, j Join, own owner) *selvage.Node {
	n := rec.Node.Clone()
	n.Approved = n.Approved || own.preapproved
	tx.admit(n, j, own)
	if !n.NameFixed {
		n.Name = tx.freeName(n.ID, hostname(j.Hostinfo))
	}
	n.ApprovedRoutes = withRoutes(n.ApprovedRoutes, tx.v.autoApproved(n, j.Hostinfo))
	tx.PutNode(journal.NodeLogin, n)
	newKey := rec.Key != j.Key
	tx.reports[n.ID] = func(s *selvage.Soft) {
		s.Cap = j.Cap
		if j.Hostinfo != nil {
			s.Hostinfo = j.Hostinfo
		}
		if newKey {
			s.Disco = key.DiscoPublic{} // belongs to the process that had the old key
		}
	}
	return n
}

// admit sets what a login decides.
func (tx *Tx) admit(n *selvage.Node, j Join, own owner) {
	n.Key, n.LockKey = j.Key, j.LockKey
	n.Ephemeral = own.ephemeral
	n.AuthKey = j.AuthKey
	n.User, n.Tags = own.user, own.tags
	if len(own.tags) > 0 {
		n.User = 0
	}
	n.KeyExpiry = tx.keyExpiry(n, j.Expiry)
}

func (tx *Tx) keyExpiry(n *selvage.Node, asked time.Time) time.Time {
	lifetime := tx.settings().KeyExpiry
	if n.Tagged() || n.NoKeyExpiry || lifetime == 0 {
		return time.Time{}
	}
	expiry := tx.Now.Add(lifetime).Truncate(time.Second)
	if asked.After(tx.Now) && asked.Before(expiry) {
		expiry = asked.UTC().Truncate(time.Second)
	}
	return expiry
}

// freeName returns a name like want that no other node has.
func (tx *Tx) freeName(self selvage.NodeID, want string) string {
	return dns.Unique(want, func(name string) bool { return tx.nameTaken(self, name) })
}

func (tx *Tx) nameTaken(self selvage.NodeID, name string) bool {
	for id, n := range tx.nodes {
		if n != nil && id != self && n.Name == name {
			return true
		}
	}
	id, taken := tx.n.finds.byName[name]
	if _, staged := tx.nodes[id]; staged {
		return false
	}
	return taken && id != self
}

func hostname(h *tailcfg.Hostinfo) string {
	if h == nil {
		return dns.CleanHostname("")
	}
	return dns.CleanHostname(h.Hostname)
}

func hostinfoOrEmpty(h *tailcfg.Hostinfo) *tailcfg.Hostinfo {
	if h == nil {
		return new(tailcfg.Hostinfo)
	}
	return h
}

// Logout ends the node's key; an ephemeral node goes at once.
func (n *Net) Logout(ctx context.Context, actor selvage.Actor, id selvage.NodeID) error {
	return n.Update(ctx, actor, func(tx *Tx) error {
		node := tx.Node(id)
		if node == nil {
			return nil
		}
		if node.Ephemeral {
			return tx.DeleteNode(id)
		}
		if node.Expired(tx.Now) {
			return nil
		}
		node.KeyExpiry = tx.Now
		tx.PutNode(journal.NodeLogout, node)
		return nil
	})
}
