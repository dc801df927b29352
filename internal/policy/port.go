package policy

import (
	"fmt"
	"strconv"
	"strings"

	"tailscale.com/tailcfg"

	"selvage/internal/policy/source"
)

const maxPort = 65535

// The IP protocols whose packets have ports.
const (
	protoTCP  = 6
	protoUDP  = 17
	protoSCTP = 132
)

var allPorts = tailcfg.PortRange{First: 0, Last: maxPort}

// protocols are the names that the language has for IP protocols. As at the service,
// "icmp" is that of IPv4 alone, while a rule without a protocol opens both.
var protocols = map[string]int{
	"icmp":      1,
	"igmp":      2,
	"ipv4":      4,
	"ip-in-ip":  4,
	"tcp":       protoTCP,
	"egp":       8,
	"igp":       9,
	"udp":       protoUDP,
	"gre":       47,
	"esp":       50,
	"ah":        51,
	"ipv6-icmp": 58,
	"sctp":      protoSCTP,
}

// parseProto reads a protocol's name or number; "" means TCP, UDP and ICMP, which
// filters express by no protocol at all.
func parseProto(s string) ([]int, error) {
	if s == "" {
		return nil, nil
	}
	if p, ok := protocols[strings.ToLower(s)]; ok {
		return []int{p}, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 255 {
		return nil, fmt.Errorf("unknown protocol %q: want a name such as tcp, udp or icmp, or a number to 255", source.Clip(s))
	}
	return []int{n}, nil
}

// hasPorts reports whether packets of one of the protocols have ports.
func hasPorts(protos []int) bool {
	for _, p := range protos {
		if p == protoTCP || p == protoUDP || p == protoSCTP {
			return true
		}
	}
	return len(protos) == 0
}

// parsePorts reads "*", "22", "80,443" or "8000-8999", or a mixture.
func parsePorts(s string) ([]tailcfg.PortRange, error) {
	if s == "*" {
		return []tailcfg.PortRange{allPorts}, nil
	}
	parts := strings.Split(s, ",")
	if len(parts) > maxPortRanges {
		return nil, fmt.Errorf("%d port ranges; at most %d are allowed", len(parts), maxPortRanges)
	}
	out := make([]tailcfg.PortRange, 0, len(parts))
	for _, part := range parts {
		part = strings.TrimSpace(part)
		first, last, isRange := strings.Cut(part, "-")
		a, ok := parsePort(first)
		if !ok {
			return nil, fmt.Errorf("port range %q: invalid first integer", source.Clip(part))
		}
		b := a
		if isRange {
			if b, ok = parsePort(last); !ok {
				return nil, fmt.Errorf("port range %q: invalid last integer", source.Clip(part))
			}
		}
		if b < a {
			return nil, fmt.Errorf("port range %q: the first is above the last", source.Clip(part))
		}
		out = append(out, tailcfg.PortRange{First: a, Last: b})
	}
	return out, nil
}

func parsePort(s string) (uint16, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 16)
	return uint16(n), err == nil
}

// splitPorts splits "host:ports" at the last colon. An IPv6 address may be in
// brackets.
func splitPorts(s string) (host, ports string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	host, ports = s[:i], s[i+1:]
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	return host, ports, true
}
