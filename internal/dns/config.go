package dns

import (
	"slices"
	"strings"

	"tailscale.com/tailcfg"
	"tailscale.com/types/dnstype"

	"selvage"
)

// Config returns what the clients of a tailnet are told about names. It depends on
// the settings alone, so it is the same for every node, and a change of it makes
// every client rebuild its configuration: compute it once per change. What Check
// would refuse is left out.
//
// The zones for reverse look-ups in 100.64.0.0/10 and fd7a:115c:a1e0::/48 are not
// in it: each client adds them, as it does its own suffix, when Proxied is set
// (magicDNSRootDomains in ipn/ipnlocal/local.go).
func Config(settings selvage.Settings) *tailcfg.DNSConfig {
	d := settings.DNS
	c := &tailcfg.DNSConfig{
		Proxied: d.MagicDNS && CheckDomain(settings.Domain) == nil,
		Routes:  make(map[string][]*dnstype.Resolver),
	}
	if d.OverrideLocal {
		c.Resolvers = resolvers(d.Nameservers)
	} else {
		c.FallbackResolvers = resolvers(d.Nameservers)
	}
	if c.Proxied {
		c.Domains = append(c.Domains, settings.Domain)
	}
	for _, path := range d.SearchPaths {
		if checkName(path, true) == nil && !slices.Contains(c.Domains, path) {
			c.Domains = append(c.Domains, path)
		}
	}
	for suffix, addrs := range d.Split {
		if checkName(suffix, true) == nil {
			c.Routes[suffix] = resolvers(addrs)
		}
	}
	if c.Proxied {
		c.Routes[settings.Domain] = []*dnstype.Resolver{}
	}
	addRecords(c, d.Records)
	return c
}

// addRecords adds the records, and the routes that make a client's operating
// system bring the names to it: clients up to 1.102 route only what Routes names.
func addRecords(c *tailcfg.DNSConfig, records []selvage.DNSRecord) {
	for _, r := range records {
		if checkName(r.Name, true) != nil || !goodValue(r.Value) {
			continue
		}
		typ := "AAAA"
		if r.Value.Is4() {
			typ = "A"
		}
		c.ExtraRecords = append(c.ExtraRecords, tailcfg.DNSRecord{Name: r.Name, Type: typ, Value: r.Value.String()})
		if !routed(c.Routes, r.Name) {
			c.Routes[r.Name] = []*dnstype.Resolver{}
		}
	}
}

// routed reports whether the closest route for name leads to the client itself. A
// route of the very name does too, since a client looks at its records before it
// forwards.
func routed(routes map[string][]*dnstype.Resolver, name string) bool {
	if _, ok := routes[name]; ok {
		return true
	}
	for suffix := name; ; {
		_, rest, ok := strings.Cut(suffix, ".")
		if !ok {
			return false
		}
		if via, ok := routes[rest]; ok {
			return len(via) == 0
		}
		suffix = rest
	}
}

// resolvers is never nil, because clients read an empty list as "ask yourself".
func resolvers(addrs []string) []*dnstype.Resolver {
	list := make([]*dnstype.Resolver, 0, len(addrs))
	for _, addr := range addrs {
		if checkResolver(addr) == nil {
			list = append(list, &dnstype.Resolver{Addr: addr})
		}
	}
	return list
}
