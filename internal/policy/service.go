package policy

import (
	"net/netip"
	"regexp"
	"slices"

	"github.com/tailscale/hujson"

	"selvage/internal/policy/source"
)

// Service is a service that a device hosts, with the addresses that the server gave
// the service.
type Service struct {
	Name  string // with "svc:"
	Addrs []netip.Addr
}

var validService = regexp.MustCompile(`^svc:[a-z][a-z0-9-]*$`)

// service reads svc:name.
func (p *parser) service(s selector, where place, what string) selector {
	switch {
	case !validService.MatchString(s.name):
		p.Errorf(s.off, "names have small letters, digits and dashes after 'svc:'", "%s%q is not the name of a service", what, s.name)
	case where != inDest && where != inTest:
		p.Errorf(s.off, "", "%s%q is valid only as a destination", what, s.name)
	default:
		s.kind = selService
	}
	return s
}

// serviceAddrs returns the addresses of a service that the device hosts.
func (d Device) serviceAddrs(name string) []netip.Addr {
	for _, s := range d.Services {
		if s.Name == name {
			return s.Addrs
		}
	}
	return nil
}

func (d Device) hosts(name string) bool {
	return slices.ContainsFunc(d.Services, func(s Service) bool { return s.Name == name })
}

// UsesService reports whether a device of the class may send anything to the
// service, and so is told its addresses.
func (c *Compiled) UsesService(viewer Class, name string) bool {
	to := newBitset(len(c.sets))
	to.or(c.always)
	to.setAll(c.services[name])
	for i := range c.class(viewer).src.all() {
		if ru := c.rules[i]; ru.viaSet < 0 && to.has(ru.dstSet) {
			return true
		}
	}
	return false
}

func (p *parser) readServiceApprovers(v *hujson.Value, pol *Policy) {
	if v == nil {
		return
	}
	pol.approveServices = make(map[string][]selector)
	for _, m := range p.Members(v, "autoApprovers.services") {
		what := "autoApprovers.services[" + source.Clip(m.Name.S) + "]"
		if !validService.MatchString(m.Name.S) {
			if !validTag.MatchString(m.Name.S) {
				p.Errorf(m.Name.Off, `write "svc:name", or the tag of services`, "%s: not the name of a service", what)
				continue
			}
			p.Warnf(m.Name.Off, "name the service", "%s: services have no tags on this server", what)
		}
		pol.approveServices[m.Name.S] = p.ownerList(m.Val, what)
	}
}

// ApprovesService reports whether the device may host the service without being
// asked.
func (c *Compiled) ApprovesService(d Device, name string) bool {
	return c.anyMatches(c.pol.approveServices[name], d)
}
