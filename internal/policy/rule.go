package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
	"tailscale.com/tailcfg"

	"selvage/internal/policy/source"
	"selvage/internal/policy/transport"
)

// rule is an entry of acls or grants: who may reach what, and how.
type rule struct {
	off   int
	end   int // where its text ends
	index int // in its section
	src   []selector
	dst   []target
	protc [][]int // the protocol sets that the rule opens, each one filter rule
	app   []capability
	via   []selector // tags; only routers that have one carry what the rule opens
	grant bool
	// posture has the postures of which one must hold for a source; none asks for
	// nothing.
	posture []*postureDef
}

// target is a destination and what it opens there.
type target struct {
	sel selector
	// ports has, for each protocol set of the rule, the port ranges; a nil entry
	// opens nothing.
	ports [][]tailcfg.PortRange
}

// capability is an application capability that a grant gives.
type capability struct {
	name   tailcfg.PeerCapability
	values []tailcfg.RawMessage
}

// everyPort opens all ports of one protocol set.
var everyPort = [][]tailcfg.PortRange{{transport.AllPorts}}

// companions are the capabilities that a device is told of in return: who is given
// the first at another device learns by the second that the device offers it.
var companions = map[tailcfg.PeerCapability]tailcfg.PeerCapability{
	tailcfg.PeerCapabilityTaildrive: tailcfg.PeerCapabilityTaildriveSharer,
	tailcfg.PeerCapabilityRelay:     tailcfg.PeerCapabilityRelayTarget,
}

// ownCapabilities are the capabilities of the tailscale.com domain that a policy
// may grant; the server derives the others.
var ownCapabilities = []string{
	"tailscale.com/cap/aperture", "tailscale.com/cap/drive", "tailscale.com/cap/golink",
	"tailscale.com/cap/kubernetes", "tailscale.com/cap/relay", "tailscale.com/cap/secrets",
	"tailscale.com/cap/tsidp", "tailscale.com/cap/webui",
}

func (p *parser) acls(v *hujson.Value) []rule {
	els := p.Elements(v, "acls")
	rules := make([]rule, 0, len(els))
	for i := range els {
		ru := p.acl(&els[i], fmt.Sprintf("acls[%d]", i))
		ru.index, ru.end = i, els[i].EndOffset
		rules = append(rules, ru)
	}
	return rules
}

func (p *parser) acl(v *hujson.Value, what string) rule {
	f := p.Fields(v, what, "action", "src", "dst", "proto", "users", "ports", "srcPosture")
	ru := rule{off: v.StartOffset, posture: p.postureRefs(f["srcPosture"], "srcPosture")}
	action, _ := p.Text(f["action"], "action")
	if action.S != "accept" {
		off := action.Off
		if off < 0 {
			off = v.StartOffset
		}
		p.Errorf(off, `write "action": "accept"`, "%s: %q is not a valid action", what, action.S)
	}
	proto, _ := p.Text(f["proto"], "proto")
	protos, err := transport.ParseProto(proto.S)
	if err != nil {
		p.Errorf(proto.Off, "", "%s: %v", what, err)
	}
	ru.protc = [][]int{protos}
	ru.src = p.sources(p.either(f, "src", "users"))
	for _, t := range p.Texts(p.either(f, "dst", "ports"), "dst") {
		ru.dst = append(ru.dst, p.aclTargets(t, protos)...)
	}
	p.checkSelf(ru)
	return ru
}

// either returns the value of a field or of its older name.
func (p *parser) either(f map[string]*hujson.Value, name, old string) *hujson.Value {
	if f[name] != nil && f[old] != nil {
		p.Errorf(f[old].StartOffset, fmt.Sprintf("use %q alone", name), "%q and %q mean the same", name, old)
	}
	if f[name] != nil {
		return f[name]
	}
	return f[old]
}

func (p *parser) aclTargets(t source.Text, protos []int) []target {
	host, ports, ok := transport.SplitPorts(t.S)
	if !ok {
		p.Errorf(t.Off, `write "host:port" or "host:*"`, "dst=%q: no port", t.S)
		return nil
	}
	ranges, err := transport.ParsePorts(ports)
	switch {
	case err != nil:
		p.Errorf(t.Off, `ports are "*", "22", "80,443" or "8000-8999"`, "dst=%q: %v", t.S, err)
	case !transport.HasPorts(protos) && !slices.Contains(ranges, transport.AllPorts):
		p.Errorf(t.Off, `write ":*"`, "dst=%q: the protocol has no ports", t.S)
	}
	if err != nil {
		return nil
	}
	var out []target
	for _, sel := range p.selectors(source.Text{S: host, Off: t.Off}, inDest, fmt.Sprintf("dst=%q: ", host)) {
		out = append(out, target{sel: sel, ports: [][]tailcfg.PortRange{ranges}})
	}
	return out
}

func (p *parser) sources(v *hujson.Value) []selector {
	var out []selector
	for _, t := range p.Texts(v, "src") {
		out = append(out, p.selectors(t, inSource, "src=")...)
	}
	return out
}

// checkSelf refuses autogroup:self for sources that are not people: it would give
// them nothing. The service takes a wildcard in acls and refuses it in grants.
func (p *parser) checkSelf(ru rule) {
	i := slices.IndexFunc(ru.dst, func(t target) bool { return t.sel.kind == selSelf })
	if i < 0 {
		return
	}
	for _, s := range ru.src {
		switch s.kind {
		case selUser, selDomain, selGroup, selMember, selRole, selNone:
			continue
		case selAny:
			if !ru.grant {
				continue
			}
		}
		p.Errorf(ru.dst[i].sel.off, "use autogroup:member as the source",
			"autogroup:self can only be used with users, groups, or supported autogroups")
		return
	}
}

func (p *parser) grants(v *hujson.Value) []rule {
	els := p.Elements(v, "grants")
	rules := make([]rule, 0, len(els))
	for i := range els {
		ru := p.grant(&els[i], fmt.Sprintf("grants[%d]", i))
		ru.index, ru.end = i, els[i].EndOffset
		rules = append(rules, ru)
	}
	return rules
}

func (p *parser) grant(v *hujson.Value, what string) rule {
	f := p.Fields(v, what, "src", "dst", "ip", "app", "via", "srcPosture")
	ru := rule{off: v.StartOffset, grant: true, posture: p.postureRefs(f["srcPosture"], "srcPosture")}
	ru.src = p.sources(f["src"])
	ru.via = p.viaTags(f["via"])
	ports := p.grantPorts(f["ip"], &ru)
	if f["app"] != nil {
		ru.app = p.capabilities(f["app"])
	}
	if len(ru.protc) == 0 && len(ru.app) == 0 {
		p.Errorf(v.StartOffset, `say what it grants, for example "ip": ["*"]`, "%s: ip and app can not both be empty", what)
	}
	for _, t := range p.Texts(f["dst"], "dst") {
		for _, sel := range p.selectors(t, inDest, fmt.Sprintf("dst=%q: ", t.S)) {
			if sel.kind == selInternet && len(ru.app) > 0 {
				p.Errorf(t.Off, "", "cannot use app grants with autogroup:internet")
			}
			ru.dst = append(ru.dst, target{sel: sel, ports: ports})
		}
	}
	p.checkSelf(ru)
	p.checkVia(ru)
	return ru
}

// grantPorts reads "ip": entries such as "*", "22", "tcp:443", "icmp:*". Entries of
// the same protocol share a filter rule.
func (p *parser) grantPorts(v *hujson.Value, ru *rule) [][]tailcfg.PortRange {
	var ports [][]tailcfg.PortRange
	index := make(map[string]int)
	total := 0
	for _, t := range p.Texts(v, "ip") {
		name, rng, ok := strings.Cut(t.S, ":")
		if !ok {
			name, rng = "", t.S
		}
		protos, err := transport.ParseProto(name)
		if err == nil && ok && name == "" {
			err = fmt.Errorf("no protocol before the colon")
		}
		var ranges []tailcfg.PortRange
		if err == nil {
			ranges, err = transport.ParsePorts(rng)
		}
		if err == nil && !transport.HasPorts(protos) && !slices.Contains(ranges, transport.AllPorts) {
			err = fmt.Errorf("the protocol has no ports; write %q", name+":*")
		}
		if err != nil {
			p.Errorf(t.Off, `entries are "*", "22", "80-443", "tcp:443" or "icmp:*"`, "ip=%q: %v", t.S, err)
			continue
		}
		if total += len(ranges); total > transport.MaxRanges {
			p.Errorf(t.Off, "", "ip: more than %d port ranges", transport.MaxRanges)
			return nil
		}
		key := fmt.Sprint(protos)
		i, seen := index[key]
		if !seen {
			i = len(ru.protc)
			index[key] = i
			ru.protc, ports = append(ru.protc, protos), append(ports, nil)
		}
		ports[i] = append(ports[i], ranges...)
	}
	return ports
}

func (p *parser) capabilities(v *hujson.Value) []capability {
	var out []capability
	for _, m := range p.Members(v, "app") {
		p.checkCapability(m.Name)
		c := capability{name: tailcfg.PeerCapability(m.Name.S)}
		els := p.Elements(m.Val, fmt.Sprintf("app[%q]", m.Name.S))
		for i := range els {
			c.values = append(c.values, tailcfg.RawMessage(p.Raw(&els[i])))
		}
		out = append(out, c)
	}
	return out
}

func (p *parser) checkCapability(name source.Text) {
	domain, path, ok := strings.Cut(name.S, "/")
	switch {
	case !ok || domain == "" || path == "" || strings.ContainsAny(domain, ": ") || !strings.Contains(domain, "."):
		p.Errorf(name.Off, `for example "example.com/cap/name"`, "app[%q]: capability name must have the form {domain}/{path}", source.Clip(name.S))
	case (domain == "tailscale.com" || strings.HasSuffix(domain, ".tailscale.com")) && !slices.Contains(ownCapabilities, name.S) && !strings.HasPrefix(name.S, "tailscale.com/cap/conn25/"):
		p.Errorf(name.Off, "grantable there are "+strings.Join(ownCapabilities, ", "), "app[%q]: capability name must not be in the tailscale.com domain", source.Clip(name.S))
	}
}
