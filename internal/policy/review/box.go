package review

import (
	"cmp"
	"fmt"
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

// subtract returns what is in a and not in b.
func subtract(a, b []box) []box {
	out := a
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
	var out []box
	for _, b := range bs {
		out = append(out, subtract([]box{b}, out)...)
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

// describe writes boxes of a device in words.
func (n *Network) describe(bs []box, d Node) []Access {
	var out []Access
	at := func(to string) *Access {
		i := slices.IndexFunc(out, func(a Access) bool { return a.To == to })
		if i < 0 {
			i = len(out)
			out = append(out, Access{To: to})
		}
		return &out[i]
	}
	groups := make(map[string][]box)
	for _, b := range normal(bs) {
		to := b.target(d)
		at(to)
		groups[to] = append(groups[to], b)
	}
	for to, group := range groups {
		a := at(to)
		a.Ports = portTexts(group)
		for _, b := range group {
			if b.kind == isCap {
				a.Caps = append(a.Caps, b.text)
			}
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
