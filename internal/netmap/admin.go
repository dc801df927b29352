package netmap

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"selvage"
	"selvage/internal/dns"
	"selvage/internal/journal"
	"selvage/internal/policy"
)

// changeNode is Update for a change of one node.
func (n *Net) changeNode(ctx context.Context, actor selvage.Actor, action string, id selvage.NodeID, change func(*Tx, *selvage.Node) error) error {
	return n.Update(ctx, actor, func(tx *Tx) error {
		node := tx.Node(id)
		if node == nil {
			return selvage.Errorf(selvage.KindNotFound, "no node %d", id)
		}
		if err := change(tx, node); err != nil {
			return err
		}
		tx.PutNode(action, node)
		return nil
	})
}

// RenameNode gives a node a name that no longer follows its host name. An empty name
// lets it follow again.
func (n *Net) RenameNode(ctx context.Context, actor selvage.Actor, id selvage.NodeID, name string) error {
	return n.changeNode(ctx, actor, journal.NodeRename, id, func(tx *Tx, node *selvage.Node) error {
		node.NameFixed = name != ""
		if name == "" {
			node.Name = tx.freeName(id, hostname(tx.v.Node(id).Soft.Hostinfo))
			return nil
		}
		if err := dns.CheckLabel(name); err != nil {
			return err
		}
		if tx.nameTaken(id, name) {
			return selvage.Errorf(selvage.KindConflict, "another device is called %q already", name)
		}
		node.Name = name
		return nil
	})
}

// SetNodeTags gives a node tags and takes it from its user; without tags it must have
// a user to belong to.
func (n *Net) SetNodeTags(ctx context.Context, actor selvage.Actor, id selvage.NodeID, tags []string) error {
	return n.changeNode(ctx, actor, journal.NodeTag, id, func(tx *Tx, node *selvage.Node) error {
		if err := CheckTags(tx.v.Policy, tags); err != nil {
			return err
		}
		if len(tags) == 0 && node.User == 0 {
			return selvage.Errorf(selvage.KindInvalid, "device %s has no user, so it needs a tag; to give it to a user, log it in again without tags", node.Name)
		}
		node.Tags = slices.Clone(tags)
		if len(tags) > 0 {
			node.User = 0
			node.KeyExpiry = time.Time{}
		}
		return nil
	})
}

// CheckTags checks that each tag is well formed and defined in the policy.
func CheckTags(p *Policy, tags []string) error {
	for _, t := range tags {
		if !strings.HasPrefix(t, "tag:") {
			return selvage.Errorf(selvage.KindInvalid, "bad tag %q: tags begin with \"tag:\"; did you mean \"tag:%s\"?", t, t)
		}
		if !p.Parsed.HasTag(t) {
			return selvage.Errorf(selvage.KindInvalid, "unknown tag %q: define it in \"tagOwners\" of the policy first", t)
		}
	}
	return nil
}

// ApproveNode lets a waiting device take part.
func (n *Net) ApproveNode(ctx context.Context, actor selvage.Actor, id selvage.NodeID) error {
	return n.changeNode(ctx, actor, journal.NodeApprove, id, func(_ *Tx, node *selvage.Node) error {
		node.Approved = true
		return nil
	})
}

// ExpireNode ends a node's key now; the device must log in again.
func (n *Net) ExpireNode(ctx context.Context, actor selvage.Actor, id selvage.NodeID) error {
	return n.changeNode(ctx, actor, journal.NodeExpire, id, func(tx *Tx, node *selvage.Node) error {
		if !node.Expired(tx.Now) {
			node.KeyExpiry = tx.Now
		}
		return nil
	})
}

// SetKeyExpiry sets when a node's key ends. The zero time switches expiry off for
// the device, at later logins too.
func (n *Net) SetKeyExpiry(ctx context.Context, actor selvage.Actor, id selvage.NodeID, at time.Time) error {
	return n.changeNode(ctx, actor, journal.NodeExpire, id, func(_ *Tx, node *selvage.Node) error {
		node.KeyExpiry, node.NoKeyExpiry = at.UTC(), at.IsZero()
		return nil
	})
}

// ShortenExpiry sets a node's expiry sooner, as its own client may; later it never gets.
func (n *Net) ShortenExpiry(ctx context.Context, actor selvage.Actor, id selvage.NodeID, at time.Time) error {
	return n.changeNode(ctx, actor, journal.NodeExpire, id, func(_ *Tx, node *selvage.Node) error {
		if node.KeyExpiry.IsZero() || at.Before(node.KeyExpiry) {
			node.KeyExpiry = at.UTC()
		}
		return nil
	})
}

// DeleteNode removes a node.
func (n *Net) DeleteNode(ctx context.Context, actor selvage.Actor, id selvage.NodeID) error {
	return n.Update(ctx, actor, func(tx *Tx) error { return tx.DeleteNode(id) })
}

// SetApprovedRoutes sets which routes a node may serve when it advertises them.
func (n *Net) SetApprovedRoutes(ctx context.Context, actor selvage.Actor, id selvage.NodeID, routes []netip.Prefix) error {
	return n.changeNode(ctx, actor, journal.NodeRoutes, id, func(tx *Tx, node *selvage.Node) error {
		for _, r := range routes {
			if err := checkRoute(tx.settings(), r); err != nil {
				return err
			}
		}
		node.ApprovedRoutes = withRoutes(routes, nil)
		return nil
	})
}

// CreateAuthKey stores a new auth key; identity has made its ID and hash.
func (n *Net) CreateAuthKey(ctx context.Context, actor selvage.Actor, k *selvage.AuthKey) error {
	return n.Update(ctx, actor, func(tx *Tx) error {
		if err := CheckTags(tx.v.Policy, k.Tags); err != nil {
			return err
		}
		if len(k.Tags) == 0 && tx.User(k.User) == nil {
			return selvage.Errorf(selvage.KindNotFound, "no user %d to own the key", k.User)
		}
		if tx.AuthKey(k.ID) != nil {
			return selvage.Errorf(selvage.KindConflict, "there is an auth key %q already", k.ID)
		}
		k.Tailnet, k.Created = n.id, tx.Now
		tx.PutAuthKey(journal.KeyCreate, k)
		return nil
	})
}

// RevokeAuthKey withdraws an auth key. Devices that joined with it stay.
func (n *Net) RevokeAuthKey(ctx context.Context, actor selvage.Actor, id selvage.KeyID) error {
	return n.Update(ctx, actor, func(tx *Tx) error {
		k := tx.AuthKey(id)
		if k == nil {
			return selvage.Errorf(selvage.KindNotFound, "no auth key %q; `selvage key list` shows them", id)
		}
		if !k.Revoked.IsZero() {
			return nil
		}
		k.Revoked = tx.Now
		tx.PutAuthKey(journal.KeyRevoke, k)
		return nil
	})
}

// SetPolicy checks a policy text and puts it in force. If it is byte for byte the
// one in force, nothing changes.
func (n *Net) SetPolicy(ctx context.Context, actor selvage.Actor, text string) (*Policy, error) {
	v, err := n.update(ctx, actor, func(tx *Tx) error {
		_, err := tx.PutPolicy(text)
		return err
	})
	if err != nil {
		return nil, err
	}
	return v.Policy, nil
}

// PolicyText returns the text in force; the default one for a new tailnet.
func (v *View) PolicyText() string {
	if v.Policy.Rev == nil {
		return policy.Default()
	}
	return v.Policy.Rev.Text
}

// ChangeSettings changes settings of the tailnet after checking them.
func (n *Net) ChangeSettings(ctx context.Context, actor selvage.Actor, action string, change func(*selvage.Settings) error) error {
	return n.Update(ctx, actor, func(tx *Tx) error {
		s := *tx.settings()
		s.DNS.Nameservers = slices.Clone(s.DNS.Nameservers)
		s.DNS.SearchPaths = slices.Clone(s.DNS.SearchPaths)
		s.DNS.Records = slices.Clone(s.DNS.Records)
		s.DNS.Split = cloneSplit(s.DNS.Split)
		if err := change(&s); err != nil {
			return err
		}
		if err := tx.checkSettings(s); err != nil {
			return err
		}
		tx.PutSettings(action, s)
		return nil
	})
}

func cloneSplit(m map[string][]string) map[string][]string {
	c := make(map[string][]string, len(m))
	for k, v := range m {
		c[k] = slices.Clone(v)
	}
	return c
}

func (tx *Tx) checkSettings(s selvage.Settings) error {
	if err := CheckRanges(s.IPv4, s.IPv6); err != nil {
		return err
	}
	if err := dns.CheckDomain(s.Domain); err != nil {
		return err
	}
	if s.KeyExpiry < 0 || s.KeyExpiry > 0 && s.KeyExpiry < time.Minute {
		return selvage.Errorf(selvage.KindInvalid, "bad key expiry %v: want 0 for never, or a minute or more", s.KeyExpiry)
	}
	if s.EphemeralTimeout < 10*time.Second {
		return selvage.Errorf(selvage.KindInvalid, "bad ephemeral timeout %v: want 10s or more", s.EphemeralTimeout)
	}
	for rec := range tx.v.Nodes() {
		for _, r := range rec.ApprovedRoutes {
			if checkRoute(&s, r) != nil {
				return selvage.Errorf(selvage.KindConflict, "ranges %v and %v overlap route %v, which %s is approved to serve; withdraw the route or choose other ranges", s.IPv4, s.IPv6, r, rec.Name)
			}
		}
	}
	return dns.Check(s.DNS, s.Domain)
}

func sortPrefixes(p []netip.Prefix) { slices.SortFunc(p, netip.Prefix.Compare) }
