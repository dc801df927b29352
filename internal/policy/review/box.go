package review

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"
	"tailscale.com/tailcfg"

	"selvage/internal/policy"
	"selvage/internal/policy/transport"
)

// box is something that may be sent to: ports of a protocol at a range of addresses,
// the same in the internet behind a device, or an application capability.
type box struct {
	kind        kind
	text        string // of isCap
	rng         netipx.IPRange
	proto       int
	first, last uint16
}

type kind uint8

const (
	isRange kind = iota
	isInternet
	isCap
)

// boxes returns what openings allow.
func boxes(openings []policy.Opening) []box {
	var out []box
	for _, o := range openings {
		for _, text := range o.Caps {
			out = append(out, box{kind: isCap, text: text})
		}
		for _, proto := range o.Protos {
			ports := o.Ports
			if !transport.Ported(proto) {
				ports = []tailcfg.PortRange{tailcfg.PortRangeAny}
			}
			for _, p := range ports {
				b := box{proto: proto, first: p.First, last: p.Last}
				if o.Internet {
					b.kind = isInternet
					out = append(out, b)
				}
				for _, rng := range o.Ranges {
					b.kind, b.rng = isRange, rng
					out = append(out, b)
				}
			}
		}
	}
	return out
}

// maxBoxWork bounds how many boxes are compared with one another. Above it, only
// those that are alike count as the same.
const maxBoxWork = 20_000_000

// subtract returns what is in a and not in b.
func subtract(a, b []box) []box {
	also := make(map[box]bool, len(b))
	for _, y := range b {
		also[y] = true
	}
	var out []box
	for _, x := range a {
		if !also[x] {
			out = append(out, x)
		}
	}
	if len(out)*len(b) > maxBoxWork {
		return out
	}
	for _, y := range b {
		var left []box
		for _, x := range out {
			left = x.without(left, y)
		}
		out = left
	}
	return out
}

// without appends to out what of x is not in y: at most four boxes.
func (x box) without(out []box, y box) []box {
	apart := x.kind != y.kind || x.text != y.text || x.proto != y.proto || x.last < y.first || y.last < x.first ||
		x.kind == isRange && !x.rng.Overlaps(y.rng)
	if apart {
		return append(out, x)
	}
	if x.kind == isCap {
		return out
	}
	if x.kind == isRange {
		if x.rng.From().Less(y.rng.From()) {
			part := x
			part.rng = netipx.IPRangeFrom(x.rng.From(), y.rng.From().Prev())
			out = append(out, part)
			x.rng = netipx.IPRangeFrom(y.rng.From(), x.rng.To())
		}
		if y.rng.To().Less(x.rng.To()) {
			part := x
			part.rng = netipx.IPRangeFrom(y.rng.To().Next(), x.rng.To())
			out = append(out, part)
			x.rng = netipx.IPRangeFrom(x.rng.From(), y.rng.To())
		}
	}
	if x.first < y.first {
		part := x
		part.last = y.first - 1
		out = append(out, part)
	}
	if y.last < x.last {
		part := x
		part.first = y.last + 1
		out = append(out, part)
	}
	return out
}

// normal returns the same with nothing twice, in an order that depends on nothing
// else.
func normal(bs []box) []box {
	bs = slices.Clone(bs)
	slices.SortFunc(bs, compareBoxes)
	bs = slices.Compact(bs)
	if len(bs)*len(bs) > maxBoxWork {
		return bs
	}
	var out []box
	for _, b := range bs {
		left := []box{b}
		for _, y := range out {
			var next []box
			for _, x := range left {
				next = x.without(next, y)
			}
			left = next
		}
		out = append(out, left...)
	}
	slices.SortFunc(out, compareBoxes)
	return out
}

func compareBoxes(a, b box) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), strings.Compare(a.text, b.text), a.rng.From().Compare(b.rng.From()),
		a.rng.To().Compare(b.rng.To()), cmp.Compare(a.proto, b.proto), cmp.Compare(a.first, b.first), cmp.Compare(a.last, b.last))
}

// Access is what may be sent to one destination.
type Access struct {
	// To is the name of a device, a network or address that it serves, or
	// "the internet".
	To string `json:"to"`
	// Ports are as policies write them: "22", "tcp:80-90", "icmp:*"; without a
	// protocol they are of TCP and UDP, and ICMP is open with them.
	Ports []string `json:"ports,omitempty"`
	// Caps are application capabilities with their values.
	Caps []string `json:"caps,omitempty"`
}

// String returns the form "web: 22, tcp:443".
func (a Access) String() string {
	return a.To + ": " + strings.Join(append(slices.Clone(a.Ports), a.Caps...), ", ")
}

// maxTargets bounds how many networks of one device are named with the same ports;
// more are only counted.
const maxTargets = 20

// describe writes boxes of a device in words.
func (n *Network) describe(bs []box, d Node) []Access {
	var order []string
	groups := make(map[string][]box)
	for _, b := range normal(bs) {
		to := b.target(d)
		if groups[to] == nil {
			order = append(order, to)
		}
		groups[to] = append(groups[to], b)
	}
	var out []Access
	alike := make(map[string]int) // networks with the same ports
	for _, to := range order {
		a := Access{To: to, Ports: portTexts(groups[to])}
		for _, b := range groups[to] {
			if b.kind == isCap {
				a.Caps = append(a.Caps, b.text)
			}
		}
		if strings.HasSuffix(to, " by "+d.Name) && groups[to][0].kind == isRange {
			ports := strings.Join(a.Ports, " ")
			if alike[ports]++; alike[ports] > maxTargets {
				continue
			}
		}
		out = append(out, a)
	}
	for _, ports := range slices.Sorted(maps.Keys(alike)) {
		if more := alike[ports] - maxTargets; more > 0 {
			out = append(out, Access{To: fmt.Sprintf("%d more networks by %s", more, d.Name), Ports: strings.Fields(ports)})
		}
	}
	return out
}

// target names what a box is at.
func (b box) target(d Node) string {
	own := func(a netip.Addr) bool { return slices.Contains(d.Addrs, a) }
	switch {
	case b.kind == isCap, b.kind == isRange && own(b.rng.From()) && own(b.rng.To()):
		return d.Name
	case b.kind == isInternet:
		return "the internet by " + d.Name
	}
	for _, s := range d.Services {
		if slices.Contains(s.Addrs, b.rng.From()) {
			return s.Name
		}
	}
	if p, ok := b.rng.Prefix(); ok {
		if p.IsSingleIP() {
			return p.Addr().String() + " by " + d.Name
		}
		return p.String() + " by " + d.Name
	}
	return b.rng.String() + " by " + d.Name
}

// The IP protocols that rules without a protocol open.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// portTexts writes the ports of boxes at one target.
func portTexts(bs []box) []string {
	byProto := make(map[int][]string)
	for _, b := range bs {
		if b.kind == isCap {
			continue
		}
		text := transport.Text(tailcfg.PortRange{First: b.first, Last: b.last})
		if !slices.Contains(byProto[b.proto], text) {
			byProto[b.proto] = append(byProto[b.proto], text)
		}
	}
	var out []string
	icmp := byProto[protoICMP] != nil || byProto[protoICMPv6] != nil
	if tcp := byProto[protoTCP]; icmp && tcp != nil && slices.Equal(tcp, byProto[protoUDP]) {
		out = tcp
		for _, p := range []int{protoTCP, protoUDP, protoICMP, protoICMPv6} {
			delete(byProto, p)
		}
	} else if icmp {
		delete(byProto, protoICMPv6)
		byProto[protoICMP] = []string{"*"}
	}
	protos := make([]int, 0, len(byProto))
	for p := range byProto {
		protos = append(protos, p)
	}
	slices.Sort(protos)
	for _, p := range protos {
		for _, text := range byProto[p] {
			out = append(out, fmt.Sprintf("%s:%s", transport.Name(p), text))
		}
	}
	return out
}
