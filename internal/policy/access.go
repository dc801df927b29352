package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"
	"tailscale.com/tailcfg"

	"selvage/internal/policy/transport"
)

// RuleInfo is a rule of acls, grants or ssh for people.
type RuleInfo struct {
	Section string `json:"section"` // "acls", "grants" or "ssh"
	Index   int    `json:"index"`   // in the section, from 0
	Line    int    `json:"line"`    // from 1
	Col     int    `json:"col"`
	// Text is the rule as the file has it; empty for what a policy without rules
	// means.
	Text string `json:"text,omitempty"`
	// Src, Dst, Via and Posture name what the rule names.
	Src     []string `json:"src"`
	Dst     []string `json:"dst"`
	Via     []string `json:"via,omitempty"`
	Posture []string `json:"posture,omitempty"`
	// IP has, for each of Dst, what is open there: "22", "tcp:80-90", "icmp:*".
	IP [][]string `json:"ip,omitempty"`
	// App has the names of the application capabilities that it gives.
	App []string `json:"app,omitempty"`
	// Check is set for ssh rules that ask for a proof of identity, and Users has
	// the local users.
	Check bool     `json:"check,omitempty"`
	Users []string `json:"users,omitempty"`
}

// String returns the form "grants[3], line 12".
func (r RuleInfo) String() string { return fmt.Sprintf("%s[%d], line %d", r.Section, r.Index, r.Line) }

// Opening is what one rule opens from one device to another: ports, application
// capabilities, or both.
type Opening struct {
	Rule int // the index into Rules
	// Ranges are the addresses that it opens of those that the device has or
	// serves; Internet is set if it opens the internet behind it.
	Ranges   []netipx.IPRange
	Internet bool
	// Protos are IP protocols and Ports what it opens of each; protocols without
	// ports are open as a whole if there is any.
	Protos []int
	Ports  []tailcfg.PortRange
	// Caps are application capabilities with their values, in JSON.
	Caps []string
}

// Rules returns the rules of grants and acls, in the order of the filters.
func (pol *Policy) Rules() []RuleInfo {
	out := make([]RuleInfo, len(pol.rules))
	for i := range pol.rules {
		ru := &pol.rules[i]
		info := pol.info(ru.section(), ru.index, ru.off, ru.end)
		info.Src, info.Via, info.Posture = written(ru.src), written(ru.via), postureNames(ru.posture)
		for _, t := range ru.dst {
			name := written([]selector{t.sel})[0]
			ip := t.texts(ru)
			if n := len(info.Dst); n > 0 && info.Dst[n-1] == name && slices.Equal(info.IP[n-1], ip) {
				continue // another range of the same IP set
			}
			info.Dst, info.IP = append(info.Dst, name), append(info.IP, ip)
		}
		for _, app := range ru.app {
			info.App = append(info.App, string(app.name))
		}
		out[i] = info
	}
	return out
}

// SSHRules returns the rules of ssh, in the order of the text.
func (pol *Policy) SSHRules() []RuleInfo {
	out := make([]RuleInfo, len(pol.ssh))
	for i := range pol.ssh {
		ru := &pol.ssh[i]
		info := pol.info("ssh", ru.index, ru.off, ru.end)
		info.Src, info.Dst, info.Posture = written(ru.src), written(ru.dst), postureNames(ru.posture)
		info.Check, info.Users = ru.check, slices.Clone(ru.users)
		for _, d := range ru.domains {
			info.Users = append(info.Users, localpart+d)
		}
		out[i] = info
	}
	return out
}

func (pol *Policy) info(section string, index, off, end int) RuleInfo {
	info := RuleInfo{Section: section, Index: index}
	info.Line, info.Col = pol.src.At(off)
	if end > off {
		info.Text = pol.text[off:end]
	}
	return info
}

// written returns selectors as the policy writes them, each once.
func written(sels []selector) []string {
	var out []string
	for _, s := range sels {
		text := s.text()
		if s.kind == selAddr && s.name != "" {
			text = s.name
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// Openings returns what src itself may open to dst, and to what dst serves.
func (c *Compiled) Openings(src, dst Device) []Opening {
	all := make([]int, len(c.pol.rules))
	for i := range all {
		all[i] = i
	}
	return c.OpeningsBy(all, src, dst)
}

// OpeningsBy is Openings for some of the rules, by their indices into Rules.
func (c *Compiled) OpeningsBy(rules []int, src, dst Device) []Opening {
	var out []Opening
	src.Routes = nil
	for _, i := range rules {
		ru := &c.pol.rules[i]
		if !c.isSource(ru.src, ru.posture, src) {
			continue
		}
		for _, t := range ru.dst {
			if c.reachesRule(ru, t.sel, src, dst) {
				out = append(out, c.openings(i, t, dst)...)
			}
		}
	}
	return out
}

// openings returns what one destination of a rule opens.
func (c *Compiled) openings(i int, t target, dst Device) []Opening {
	ru := &c.pol.rules[i]
	ranges := dst.opened(t.sel)
	var out []Opening
	for k, protos := range ru.protc {
		if len(t.ports[k]) == 0 {
			continue
		}
		o := Opening{Rule: i, Ranges: ranges, Internet: t.sel.kind == selInternet || t.sel.kind == selAny && dst.servesAll(), Protos: protos, Ports: t.ports[k]}
		if len(protos) == 0 {
			o.Protos = []int{transport.TCP, transport.UDP, 1, 58}
		}
		out = append(out, o)
	}
	if len(ru.app) > 0 && len(ru.via) == 0 && t.sel.kind != selInternet {
		o := Opening{Rule: i}
		for _, app := range ru.app {
			o.Caps = append(o.Caps, appTexts(app)...)
		}
		out = append(out, o)
	}
	return out
}

func appTexts(app capability) []string {
	if len(app.values) == 0 {
		return []string{string(app.name)}
	}
	var out []string
	for _, v := range app.values {
		out = append(out, string(app.name)+" "+string(v))
	}
	return out
}

// opened returns the addresses of the device, and of what it serves but the
// internet, that a destination names which the device matches.
func (d Device) opened(s selector) []netipx.IPRange {
	switch s.kind {
	case selInternet:
		return nil
	case selService:
		return ranges(d.serviceAddrs(s.name))
	case selAny, selAddr:
	default:
		return ranges(d.Addrs)
	}
	all := ranges(d.Addrs)
	for _, r := range d.Routes {
		if r.Bits() > 0 {
			all = append(all, netipx.RangeOfPrefix(r))
		}
	}
	for _, sv := range d.Services {
		all = append(all, ranges(sv.Addrs)...)
	}
	switch {
	case s.kind == selAny:
		return all
	case slices.ContainsFunc(d.Routes, func(r netip.Prefix) bool { return r.Bits() == 0 && r.Contains(s.rng.From()) }):
		return []netipx.IPRange{s.rng} // an exit node takes all of it, if it takes any
	}
	var out []netipx.IPRange
	for _, r := range all {
		if r.Overlaps(s.rng) {
			first, last := r.From(), r.To()
			if first.Less(s.rng.From()) {
				first = s.rng.From()
			}
			if s.rng.To().Less(last) {
				last = s.rng.To()
			}
			out = append(out, netipx.IPRangeFrom(first, last))
		}
	}
	return out
}

func ranges(addrs []netip.Addr) []netipx.IPRange {
	out := make([]netipx.IPRange, len(addrs))
	for i, a := range addrs {
		out[i] = netipx.IPRangeFrom(a, a)
	}
	return out
}

// servesAll reports whether the device is an exit node.
func (d Device) servesAll() bool {
	return slices.ContainsFunc(d.Routes, func(r netip.Prefix) bool { return r.Bits() == 0 })
}

// Attempt says which conditions of a rule a packet meets.
type Attempt struct {
	Rule                           int // the index into Rules
	Src, Posture, Dst, Via, Opened bool
	// Closest is a destination that the packet's meets, as the policy writes it, or
	// else the first; Opens what is open there.
	Closest string
	Opens   []string
}

// Met returns how many conditions the packet meets.
func (a Attempt) Met() int {
	n := 0
	for _, ok := range []bool{a.Src, a.Posture, a.Dst, a.Via, a.Opened} {
		if ok {
			n++
		}
	}
	return n
}

// Allowed reports whether the packet meets all conditions.
func (a Attempt) Allowed() bool { return a.Met() == 5 }

// Attempts tries a packet from src, or from an address that it serves, to a port of
// an IP protocol at dst on each rule that opens ports. to is the address, or invalid
// for any that dst has. For protocols without ports the port does not matter.
func (c *Compiled) Attempts(src, dst Device, to netip.Addr, proto int, port uint16) []Attempt {
	var out []Attempt
	for i := range c.pol.rules {
		ru := &c.pol.rules[i]
		if len(ru.protc) == 0 {
			continue
		}
		best := Attempt{Closest: "", Rule: i}
		for n, t := range ru.dst {
			a := c.attempt(ru, t, src, dst, to, proto, port)
			a.Rule = i
			if n == 0 || a.Met() > best.Met() {
				best = a
			}
		}
		out = append(out, best)
	}
	return out
}

func (c *Compiled) attempt(ru *rule, t target, src, dst Device, to netip.Addr, proto int, port uint16) Attempt {
	a := Attempt{
		Src:     c.anyMatches(ru.src, src),
		Posture: len(ru.posture) == 0 || holds(ru.posture, src.Attrs),
		Dst:     c.reachesTarget(t.sel, src, dst),
		Closest: written([]selector{t.sel})[0],
	}
	a.Via = len(ru.via) == 0 || c.isTarget(ru, t.sel, dst)
	if len(ru.posture) > 0 {
		own := src
		own.Routes = nil
		a.Src = c.anyMatches(ru.src, own)
	}
	switch {
	case !a.Dst || !to.IsValid():
	case t.sel.kind == selInternet:
		a.Dst = slices.ContainsFunc(internetRanges, func(s string) bool {
			rng, err := parseRange(s)
			return err == nil && rng.Contains(to)
		})
	default:
		a.Dst = slices.ContainsFunc(dst.opened(t.sel), func(r netipx.IPRange) bool { return r.Contains(to) }) || t.sel.kind == selAny && dst.servesAll()
	}
	for k, protos := range ru.protc {
		if carries(protos, proto) && hasPort(t.ports[k], proto, port) {
			a.Opened = true
		}
	}
	a.Opens = t.texts(ru)
	return a
}

// texts returns what is open at a destination.
func (t target) texts(ru *rule) []string {
	var out []string
	for k, protos := range ru.protc {
		out = append(out, transport.Texts(protos, t.ports[k])...)
	}
	return out
}

// Involved returns the rules that devices of the class are sources and destinations
// of, in order; indices are those of Rules. Rules for autogroup:self are in both
// lists, though they hold only among devices of one owner.
func (c *Compiled) Involved(id Class) (src, dst []int) {
	k := c.class(id)
	src = slices.Collect(k.src.all())
	to := slices.Clone(k.dst)
	if k.self != nil {
		to.or(k.self)
	}
	return src, slices.Collect(to.all())
}

// SSHInvolved returns the ssh rules that let somebody log in to devices of the class,
// as indices into SSHRules.
func (c *Compiled) SSHInvolved(id Class) []int {
	k := c.class(id)
	var out []int
	for i, ru := range c.ssh {
		if k.ssh.has(i) || k.sshSelf != nil && k.sshSelf.has(i) {
			out = append(out, ru.index)
		}
	}
	slices.Sort(out)
	return out
}

// SSHSource returns the ssh rules that devices of the class are sources of, as
// indices into SSHRules.
func (c *Compiled) SSHSource(id Class) []int {
	k := c.class(id)
	var out []int
	for i, ru := range c.ssh {
		if k.sshFeeds.has(i) {
			out = append(out, ru.index)
		}
	}
	slices.Sort(out)
	return out
}

// RuleKeys returns, for each of Rules, a text that is equal for rules of any policy
// that mean the same for the devices that are their sources and destinations.
func (pol *Policy) RuleKeys() []string {
	out := make([]string, len(pol.rules))
	for i := range pol.rules {
		ru := &pol.rules[i]
		var key strings.Builder
		for _, s := range ru.src {
			fmt.Fprintf(&key, "%d %s %s\n", s.kind, s.name, s.lit)
		}
		for _, t := range ru.dst {
			fmt.Fprintf(&key, "to %d %s %s %v\n", t.sel.kind, t.sel.name, t.sel.lit, t.ports)
		}
		fmt.Fprintln(&key, ru.protc, written(ru.via), postureNames(ru.posture))
		for _, app := range ru.app {
			fmt.Fprintf(&key, "%q\n", appTexts(app))
		}
		out[i] = key.String()
	}
	return out
}
