// Package transport reads and writes the IP protocols and ports of a policy: "tcp",
// "80-90", "host:22".
package transport

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"tailscale.com/tailcfg"

	"selvage/internal/policy/source"
)

// MaxPort is the last port, and MaxRanges how many port ranges a list has at most.
const (
	MaxPort   = 65535
	MaxRanges = 1_024
)

// The IP protocols whose packets have ports.
const (
	TCP  = 6
	UDP  = 17
	SCTP = 132
)

// AllPorts is every port.
var AllPorts = tailcfg.PortRange{First: 0, Last: MaxPort}

// protocols are the names that the language has for IP protocols. As at the service,
// "icmp" is that of IPv4 alone, while a rule without a protocol opens both.
var protocols = map[string]int{
	"icmp":      1,
	"igmp":      2,
	"ipv4":      4,
	"ip-in-ip":  4,
	"tcp":       TCP,
	"egp":       8,
	"igp":       9,
	"udp":       UDP,
	"gre":       47,
	"esp":       50,
	"ah":        51,
	"ipv6-icmp": 58,
	"sctp":      SCTP,
}

// ParseProto reads a protocol's name or number; "" means TCP, UDP and ICMP, which
// filters express by no protocol at all.
func ParseProto(s string) ([]int, error) {
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

// HasPorts reports whether packets of one of the protocols have ports.
func HasPorts(protos []int) bool {
	for _, p := range protos {
		if p == TCP || p == UDP || p == SCTP {
			return true
		}
	}
	return len(protos) == 0
}

// ParsePorts reads "*", "22", "80,443" or "8000-8999", or a mixture.
func ParsePorts(s string) ([]tailcfg.PortRange, error) {
	if s == "*" {
		return []tailcfg.PortRange{AllPorts}, nil
	}
	parts := strings.Split(s, ",")
	if len(parts) > MaxRanges {
		return nil, fmt.Errorf("%d port ranges; at most %d are allowed", len(parts), MaxRanges)
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

// SplitPorts splits "host:ports" at the last colon. An IPv6 address may be in
// brackets.
func SplitPorts(s string) (host, ports string, ok bool) {
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

// Texts writes protocols and ports as grants do.
func Texts(protos []int, ports []tailcfg.PortRange) []string {
	prefixes := []string{""}
	if len(protos) > 0 {
		prefixes = prefixes[:0]
		for _, p := range protos {
			prefixes = append(prefixes, Name(p)+":")
		}
	}
	var out []string
	for _, prefix := range prefixes {
		for _, r := range ports {
			out = append(out, prefix+Text(r))
		}
	}
	return out
}

// Text writes a range of ports as policies do: "22", "80-90" or "*".
func Text(r tailcfg.PortRange) string {
	switch {
	case r == AllPorts:
		return "*"
	case r.First == r.Last:
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// Name returns the name of an IP protocol, or its number.
func Name(p int) string {
	best := ""
	for name, n := range protocols {
		if n == p && (best == "" || cmp.Or(cmp.Compare(len(name), len(best)), strings.Compare(name, best)) < 0) {
			best = name
		}
	}
	if best == "" {
		return fmt.Sprint(p)
	}
	return best
}

// Ported reports whether packets of the protocol have ports.
func Ported(proto int) bool { return HasPorts([]int{proto}) }
