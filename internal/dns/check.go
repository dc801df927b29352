package dns

import (
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"tailscale.com/net/dns/publicdns"
	"tailscale.com/net/tsaddr"

	"selvage"
)

// The most that the settings of one tailnet may hold: each client gets all of it.
const (
	maxNameservers = 16   // global resolvers, and resolvers of one suffix
	maxSplit       = 256  // suffixes with resolvers of their own
	maxSearch      = 32   // search paths
	maxRecords     = 1000 // extra records
)

// Check returns nil if the settings may be stored for a tailnet with the given
// domain. The error names the first bad item and what to do about it. Only
// settings that pass may be given to clients.
func Check(settings selvage.DNSSettings, domain string) error {
	if err := CheckDomain(domain); err != nil {
		return err
	}
	if err := checkResolvers("nameserver", settings.Nameservers); err != nil {
		return err
	}
	if settings.OverrideLocal && len(settings.Nameservers) == 0 {
		return selvage.Errorf(selvage.KindInvalid, "overrideLocal is set, but there is no nameserver to use instead; add one or clear it")
	}
	if err := checkSplit(settings.Split, domain); err != nil {
		return err
	}
	if err := checkSearch(settings.SearchPaths); err != nil {
		return err
	}
	return checkRecords(settings.Records)
}

func checkSplit(split map[string][]string, domain string) error {
	if len(split) > maxSplit {
		return selvage.Errorf(selvage.KindInvalid, "%d suffixes with resolvers of their own; at most %d are allowed", len(split), maxSplit)
	}
	for _, suffix := range slices.Sorted(maps.Keys(split)) {
		if err := checkName(suffix, true); err != nil {
			return selvage.Errorf(selvage.KindInvalid, "split DNS suffix: %w", err)
		}
		if suffix == domain && len(split[suffix]) > 0 {
			return selvage.Errorf(selvage.KindInvalid, "split DNS suffix %q is the tailnet's own domain, which devices answer themselves; take its resolvers away", suffix)
		}
		if err := checkResolvers("split DNS suffix "+suffix+": resolver", split[suffix]); err != nil {
			return err
		}
	}
	return nil
}

func checkSearch(paths []string) error {
	if len(paths) > maxSearch {
		return selvage.Errorf(selvage.KindInvalid, "%d search paths; at most %d are allowed", len(paths), maxSearch)
	}
	for _, path := range paths {
		if err := checkName(path, true); err != nil {
			return selvage.Errorf(selvage.KindInvalid, "search path: %w", err)
		}
	}
	return nil
}

func checkRecords(records []selvage.DNSRecord) error {
	if len(records) > maxRecords {
		return selvage.Errorf(selvage.KindInvalid, "%d extra records; at most %d are allowed", len(records), maxRecords)
	}
	type slot struct {
		name string
		is4  bool
	}
	seen := make(map[slot]bool)
	for _, r := range records {
		if err := checkName(r.Name, true); err != nil {
			return selvage.Errorf(selvage.KindInvalid, "extra record: %w", err)
		}
		if !goodValue(r.Value) {
			return selvage.Errorf(selvage.KindInvalid, "extra record %q has no usable value %q; give it an IPv4 or IPv6 address", r.Name, r.Value)
		}
		s := slot{r.Name, r.Value.Is4()}
		if seen[s] {
			return selvage.Errorf(selvage.KindInvalid, "extra record %q has two addresses of one family, and devices answer with the first only; keep one", r.Name)
		}
		seen[s] = true
	}
	return nil
}

func goodValue(ip netip.Addr) bool { return ip.IsValid() && ip.Zone() == "" && !ip.Is4In6() }

func checkResolvers(what string, addrs []string) error {
	if len(addrs) > maxNameservers {
		return selvage.Errorf(selvage.KindInvalid, "%s: %d of them; at most %d are allowed", what, len(addrs), maxNameservers)
	}
	for _, addr := range addrs {
		if err := checkResolver(addr); err != nil {
			return selvage.Errorf(selvage.KindInvalid, "%s %w", what, err)
		}
	}
	return nil
}

// checkResolver accepts what clients from 1.80 to 1.102.5 can use.
func checkResolver(addr string) error {
	if strings.HasPrefix(addr, "https://") {
		return checkDoH(addr)
	}
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		ap, err := netip.ParseAddrPort(addr)
		if err != nil || ap.Port() == 0 {
			return selvage.Errorf(selvage.KindInvalid, "%q is not a resolver; use an IP address, IP:port or the https:// address of a public resolver", addr)
		}
		ip = ap.Addr()
	}
	switch {
	case ip.Zone() != "":
		return selvage.Errorf(selvage.KindInvalid, "%q names an interface of one device; use an address that is the same everywhere", addr)
	case ip == tsaddr.TailscaleServiceIP() || ip == tsaddr.TailscaleServiceIPv6():
		return selvage.Errorf(selvage.KindInvalid, "%q is the resolver of the device itself and would ask itself for ever; use the address of another one", addr)
	case ip.IsUnspecified() || ip.IsMulticast():
		return selvage.Errorf(selvage.KindInvalid, "%q is not the address of a host; use one that is", addr)
	}
	return nil
}

// checkDoH accepts only resolvers whose addresses clients have built in: up to
// 1.102 they refuse each query for any other.
func checkDoH(addr string) error {
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return selvage.Errorf(selvage.KindInvalid, "%q is not a good address; write it like https://dns.quad9.net/dns-query", addr)
	}
	if len(publicdns.DoHIPsOfBase(addr)) == 0 {
		return selvage.Errorf(selvage.KindInvalid, "%q is a DNS-over-HTTPS resolver that clients do not know; use its IP address, or a public one like https://dns.quad9.net/dns-query", addr)
	}
	return nil
}
