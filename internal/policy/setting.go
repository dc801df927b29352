package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/tailscale/hujson"
	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/policy/source"
	"selvage/internal/policy/transport"
)

// OneCGNAT says whether clients route the whole range of tailnet addresses at once.
type OneCGNAT string

// The values of OneCGNATRoute; none leaves it to the client.
const (
	OneCGNATDefault OneCGNAT = ""
	OneCGNATAlways  OneCGNAT = "mac-always"
	OneCGNATNever   OneCGNAT = "mac-never"
)

// Regions of a policy's own are numbered in this range; those below are given.
const (
	firstOwnRegion = 900
	lastOwnRegion  = 999
	maxRegions     = 200
)

// settings are the sections that are no rules.
type settings struct {
	disableIPv4         bool
	randomizeClientPort bool
	oneCGNAT            OneCGNAT
	derpMap             *tailcfg.DERPMap
}

// DisableIPv4 reports whether devices get no IPv4 address.
func (pol *Policy) DisableIPv4() bool { return pol.set.disableIPv4 }

// RandomizeClientPort reports whether devices take another port at each start. Every
// device has the attribute for it, too.
func (pol *Policy) RandomizeClientPort() bool { return pol.set.randomizeClientPort }

// OneCGNATRoute returns whether macOS clients route all tailnet addresses at once.
func (pol *Policy) OneCGNATRoute() OneCGNAT { return pol.set.oneCGNAT }

// DERPMap returns the relays of the policy, or nil if it names none. A nil region
// takes that region out of the server's own. The caller must not change it.
func (pol *Policy) DERPMap() *tailcfg.DERPMap { return pol.set.derpMap }

func (p *parser) readSettings(f map[string]*hujson.Value, pol *Policy) {
	pol.set.disableIPv4 = p.Boolean(f["disableIPv4"], "disableIPv4")
	pol.set.randomizeClientPort = p.Boolean(f["randomizeClientPort"], "randomizeClientPort")
	if pol.set.randomizeClientPort {
		pol.attrs = append(pol.attrs, attrRule{targets: []selector{{kind: selAny}}, names: []string{string(tailcfg.NodeAttrRandomizeClientPort)}})
	}
	if t, ok := p.Text(f["oneCGNATRoute"], "oneCGNATRoute"); ok {
		pol.set.oneCGNAT = OneCGNAT(t.S)
		if !slices.Contains([]OneCGNAT{OneCGNATDefault, OneCGNATAlways, OneCGNATNever}, pol.set.oneCGNAT) {
			p.Errorf(t.Off, `write "mac-always", "mac-never" or ""`, "oneCGNATRoute: %q is not known", source.Clip(t.S))
		}
	}
	pol.set.derpMap = p.derpMap(f["derpMap"])
}

// derpMap reads the relays of the policy.
func (p *parser) derpMap(v *hujson.Value) *tailcfg.DERPMap {
	if v == nil || len(p.Members(v, "derpMap")) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader([]byte(p.Raw(v))))
	dec.DisallowUnknownFields()
	m := new(tailcfg.DERPMap)
	if err := dec.Decode(m); err != nil {
		p.Errorf(v.StartOffset, `for example "Regions": {"900": {"RegionID": 900, "RegionCode": "own", "Nodes": [...]}}`, "derpMap: %v", err)
		return nil
	}
	if len(m.Regions) > maxRegions {
		p.Errorf(v.StartOffset, "", "derpMap: %d regions; at most %d are allowed", len(m.Regions), maxRegions)
		return nil
	}
	for id, r := range m.Regions {
		if r == nil {
			continue // takes a region out
		}
		if why := regionProblem(id, r); why != "" {
			p.Errorf(v.StartOffset, "", "derpMap: region %d: %s", id, why)
		}
	}
	return m
}

// regionProblem returns what is wrong with a region, or "".
func regionProblem(id int, r *tailcfg.DERPRegion) string {
	switch {
	case id < firstOwnRegion || id > lastOwnRegion:
		return fmt.Sprintf("regions of one's own have IDs from %d to %d", firstOwnRegion, lastOwnRegion)
	case r.RegionID != id:
		return "RegionID must be " + strconv.Itoa(id)
	case r.RegionCode == "":
		return "no RegionCode"
	case len(r.Nodes) == 0:
		return "no Nodes"
	}
	for i, n := range r.Nodes {
		switch {
		case n == nil || n.Name == "" || n.HostName == "":
			return fmt.Sprintf("Nodes[%d] needs a Name and a HostName", i)
		case n.RegionID != id:
			return fmt.Sprintf("Nodes[%d]: RegionID must be %d", i, id)
		case n.DERPPort < 0 || n.DERPPort > transport.MaxPort || n.STUNPort < -1 || n.STUNPort > transport.MaxPort:
			return fmt.Sprintf("Nodes[%d]: ports are from 1 to %d", i, transport.MaxPort)
		}
	}
	return ""
}

// ipPool reads the networks that a device's IPv4 address is taken from.
func (p *parser) ipPool(v *hujson.Value, what string) []netip.Prefix {
	var out []netip.Prefix
	within := selvage.DefaultSettings("").IPv4
	for _, t := range p.Texts(v, what+": ipPool") {
		pfx, err := netip.ParsePrefix(t.S)
		switch {
		case err != nil:
			p.Errorf(t.Off, `write a network such as "100.81.0.0/16"`, "%s: ipPool: %q is not a network", what, source.Clip(t.S))
		case !within.Contains(pfx.Addr()) || pfx.Bits() < within.Bits():
			p.Errorf(t.Off, "", "%s: ipPool: %v is not within %v", what, pfx, within)
		default:
			out = append(out, pfx.Masked())
		}
	}
	return out
}

// IPPools returns the networks that the IPv4 address of a new device is to be taken
// from; none leaves the choice to the server. The first entry of nodeAttrs with a
// pool for the device decides.
func (c *Compiled) IPPools(d Device) []netip.Prefix {
	for _, a := range c.pol.attrs {
		if len(a.pool) > 0 && c.anyMatches(a.targets, d) {
			return slices.Clone(a.pool)
		}
	}
	return nil
}

// IPPools returns all networks that some device's IPv4 address is to be taken from.
func (pol *Policy) IPPools() []netip.Prefix {
	var out []netip.Prefix
	for _, a := range pol.attrs {
		out = append(out, a.pool...)
	}
	return out
}

// refuseApps keeps the place of the section of web apps, which are reached by way of
// the server's web edge.
func (p *parser) refuseApps(v *hujson.Value) {
	if v != nil {
		p.Errorf(v.StartOffset, "take it out until then", "apps: this server has no web edge yet, which the section is for")
	}
}
