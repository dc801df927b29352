package policy

import (
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"

	"selvage"
)

// matches reports whether the selector selects the device: by identity, by one of
// its addresses, or by a route that it serves. autogroup:self is no property of
// one device and matches none.
func (c *Compiled) matches(s selector, d Device) bool {
	switch s.kind {
	case selAny, selDanger:
		return true
	case selAddr:
		return slices.ContainsFunc(d.Addrs, s.rng.Contains) || slices.ContainsFunc(d.Routes, func(r netip.Prefix) bool {
			return !selvage.IsExitRoute(r) && s.rng.Overlaps(netipx.RangeOfPrefix(r))
		})
	case selInternet:
		return slices.ContainsFunc(d.Routes, selvage.IsExitRoute)
	case selTagged:
		return len(d.Tags) > 0
	case selTag:
		return slices.Contains(d.Tags, s.name)
	case selService:
		return d.hosts(s.name)
	case selShared:
		return d.Shared
	}
	return d.untagged() && c.matchesUser(s, d.User)
}

func (c *Compiled) matchesUser(s selector, u selvage.UserID) bool {
	switch s.kind {
	case selMember:
		return true
	case selUser:
		return c.users[s.name] == u
	case selGroup:
		return c.inside[s.name][u]
	case selDomain:
		_, domain, ok := strings.Cut(c.person(u).login, "@")
		return ok && domain == s.name
	case selRole:
		role := c.person(u).role
		return string(role) == s.name || role == selvage.RoleOwner && s.name == string(selvage.RoleAdmin)
	}
	return false
}

func (c *Compiled) anyMatches(sels []selector, d Device) bool {
	return slices.ContainsFunc(sels, func(s selector) bool { return c.matches(s, d) })
}
