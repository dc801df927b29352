package policy

import (
	"slices"

	"tailscale.com/tailcfg"

	"selvage/internal/policy/transport"
)

// Explain reports whether the policy lets src send packets of an IP protocol (6 is
// TCP) to a port of dst, or of what dst serves, and the line of the first rule that
// does. port is ignored for protocols without ports.
func (c *Compiled) Explain(src, dst Device, proto int, port uint16) (allowed bool, line int) {
	for i := range c.pol.rules {
		ru := &c.pol.rules[i]
		if c.isSource(ru.src, ru.posture, src) && c.opensTo(ru, src, dst, proto, port) {
			return true, c.pol.line(ru.off)
		}
	}
	return false, 0
}

// opensTo reports whether the rule, of which src is a source, opens the port.
func (c *Compiled) opensTo(ru *rule, src, dst Device, proto int, port uint16) bool {
	for _, t := range ru.dst {
		if !c.reachesRule(ru, t.sel, src, dst) {
			continue
		}
		for k, protos := range ru.protc {
			if carries(protos, proto) && hasPort(t.ports[k], proto, port) {
				return true
			}
		}
	}
	return false
}

// carries reports whether proto is one of protos, where none stands for TCP, UDP
// and ICMP.
func carries(protos []int, proto int) bool {
	if len(protos) == 0 {
		return proto == transport.TCP || proto == transport.UDP || proto == 1 || proto == 58
	}
	return slices.Contains(protos, proto)
}

func hasPort(ranges []tailcfg.PortRange, proto int, port uint16) bool {
	if !transport.HasPorts([]int{proto}) {
		return len(ranges) > 0
	}
	return slices.ContainsFunc(ranges, func(r tailcfg.PortRange) bool { return r.Contains(port) })
}
