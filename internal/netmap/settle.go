package netmap

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/journal"
	"selvage/internal/policy"
)

// Settle does what follows from a device's report: routes that the policy approves,
// the name that follows the host name, tags that it asks for anew.
func (n *Net) Settle(ctx context.Context, actor selvage.Actor, id selvage.NodeID) error {
	// The cheap question first, without the tailnet's turn.
	if v := n.View(); v.Node(id) == nil || v.consequence(v.Node(id)).none() {
		return nil
	}
	var seen *Node
	err := n.Update(ctx, actor, func(tx *Tx) error {
		if seen = tx.v.Node(id); seen == nil {
			return nil
		}
		c := tx.v.consequence(seen)
		node := seen.Clone()
		node.ApprovedRoutes = withRoutes(node.ApprovedRoutes, c.routes)
		tx.PutNode(journal.NodeRoutes, node)
		if c.rename {
			node.Name = tx.freeName(id, hostname(seen.Soft.Hostinfo))
			tx.PutNode(journal.NodeRename, node)
		}
		switch {
		case c.expire:
			node.KeyExpiry = tx.Now
			tx.PutNode(journal.NodeExpire, node)
		case c.tags != nil:
			node.Tags = c.tags
			tx.PutNode(journal.NodeTag, node)
		}
		return nil
	})
	if err == nil && seen != nil && seen.asks {
		n.answered(seen)
	}
	return err
}

// answered notes that the tags that a device asked for have been seen, unless it has
// asked again since.
func (n *Net) answered(seen *Node) {
	n.mu.Lock()
	defer n.mu.Unlock()
	cur := n.View().Node(seen.ID)
	if cur == nil || cur.Soft.Hostinfo != seen.Soft.Hostinfo {
		return
	}
	rec := *cur
	rec.asks = false
	e := n.edit()
	e.put(&rec)
	e.publish()
}

// consequence is what has to follow from a report.
type consequence struct {
	routes []netip.Prefix // that the policy approves
	rename bool
	asked  bool     // the device asked for other tags than before
	tags   []string // that it gets; nil for no change
	expire bool     // it has to be authenticated again to get the tags
}

func (c consequence) none() bool { return len(c.routes) == 0 && !c.rename && !c.asked }

func (v *View) consequence(rec *Node) consequence {
	c := consequence{
		routes: v.autoApproved(rec.Node, rec.Soft.Hostinfo),
		rename: !rec.NameFixed && !followsName(rec.Name, hostname(rec.Soft.Hostinfo)),
		asked:  rec.asks,
	}
	if rec.asks {
		c.tags, c.expire = v.retag(rec, requestedTags(rec.Soft.Hostinfo))
	}
	return c
}

// retag decides on tags that a running device asks for. Those that its own tags own it
// gets; for any other it must be authenticated again, so its key ends.
func (v *View) retag(rec *Node, requested []string) (tags []string, expire bool) {
	if subset(requested, rec.Tags) {
		return nil, false
	}
	for _, t := range requested {
		if !rec.Tagged() || !v.Policy.OwnsTag(0, rec.Tags, t) {
			return nil, !rec.Expired
		}
	}
	return requested, false
}

func subset(some, all []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

// autoApproved returns those advertised routes that the policy approves by itself and
// that are not approved yet. A device can't get the tailnet's own addresses that way.
func (v *View) autoApproved(n *selvage.Node, h *tailcfg.Hostinfo) []netip.Prefix {
	if h == nil {
		return nil
	}
	var routes []netip.Prefix
	d := policy.Device{Node: n.ID, User: n.User, Tags: n.Tags, Addrs: n.Addresses()}
	for _, r := range h.RoutableIPs {
		_, known := slices.BinarySearchFunc(n.ApprovedRoutes, r, netip.Prefix.Compare)
		if !known && checkRoute(&v.Tailnet.Settings, r) == nil && v.Policy.Approves(d, r) {
			routes = append(routes, r)
		}
	}
	return routes
}

// withRoutes returns the routes together, sorted, each once.
func withRoutes(routes, more []netip.Prefix) []netip.Prefix {
	all := slices.Concat(routes, more)
	sortPrefixes(all)
	return slices.Compact(all)
}

// maxLabel is the longest DNS label in bytes.
const maxLabel = 63

// followsName reports whether name is what dns.Unique makes of base.
func followsName(name, base string) bool {
	if name == base {
		return true
	}
	stem, number, ok := cutLastDash(name)
	if !ok || number == "" || strings.Trim(number, "0123456789") != "" {
		return false
	}
	if longest := maxLabel - len("-"+number); len(base) > longest {
		base = strings.TrimRight(base[:longest], "-")
	}
	return stem == base
}

func cutLastDash(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '-')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
