package policy

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/tailscale/hujson"

	"selvage"
	"selvage/internal/policy/source"
)

// approver says who may serve a network, or a part of it, without being asked.
type approver struct {
	prefix netip.Prefix
	owners []selector
}

func (p *parser) readApprovers(v *hujson.Value, pol *Policy) {
	if v == nil {
		return
	}
	f := p.Fields(v, "autoApprovers", "routes", "exitNode", "services")
	p.readServiceApprovers(f["services"], pol)
	if f["exitNode"] != nil {
		pol.exit = p.ownerList(f["exitNode"], "autoApprovers.exitNode")
	}
	if f["routes"] == nil {
		return
	}
	for _, m := range p.Members(f["routes"], "autoApprovers.routes") {
		what := fmt.Sprintf("autoApprovers.routes[%q]", source.Clip(m.Name.S))
		pfx, err := netip.ParsePrefix(strings.TrimSpace(m.Name.S))
		if err != nil {
			p.Errorf(m.Name.Off, `write a network such as "10.0.0.0/8"`, "%s: not a network", what)
		}
		pol.approve = append(pol.approve, approver{pfx.Masked(), p.ownerList(m.Val, what)})
	}
}

// Approves reports whether the device may serve the route without being asked. A
// network in autoApprovers.routes stands for each network in it, but only
// autoApprovers.exitNode approves the default routes.
func (c *Compiled) Approves(d Device, r netip.Prefix) bool {
	if selvage.IsExitRoute(r) {
		return c.anyMatches(c.pol.exit, d)
	}
	for _, a := range c.pol.approve {
		if a.prefix.Bits() <= r.Bits() && a.prefix.Contains(r.Addr()) && c.anyMatches(a.owners, d) {
			return true
		}
	}
	return false
}

// OwnsTag reports whether someone may give a device the tag: the user, or a device
// or key that already has one of tags. Owners and administrators of devices own
// every tag that the policy defines; a tag owns itself.
func (c *Compiled) OwnsTag(u selvage.UserID, tags []string, tag string) bool {
	owners, ok := c.pol.owners[tag]
	if !ok {
		return false
	}
	for _, t := range tags {
		if t == tag {
			return true
		}
	}
	if u != 0 {
		switch c.person(u).role {
		case selvage.RoleOwner, selvage.RoleAdmin, selvage.RoleNetworkAdmin:
			return true
		}
		if c.anyMatches(owners, Device{User: u}) {
			return true
		}
	}
	return len(tags) > 0 && c.anyMatches(owners, Device{Tags: tags})
}
