package netmap

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"selvage"
)

// pool knows which addresses of a tailnet are taken. New nodes get the offset after
// the highest one ever taken since the start, so that the address of a node that is
// gone is not given to another soon. Who has the tailnet's turn may use it.
type pool struct {
	taken map[netip.Addr]struct{}
	next  uint32 // offset in the IPv4 range to try first
}

func newPool() pool { return pool{taken: map[netip.Addr]struct{}{}} }

// maxAddressTries bounds the search for a free address: the whole of a /10.
const maxAddressTries = 1 << 22

// reserved are parts of 100.64.0.0/10 that must not be given to nodes: the service
// addresses of clients, and the range that ChromeOS uses for itself.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("100.100.0.0/24"),
	netip.MustParsePrefix("100.100.100.0/24"),
	netip.MustParsePrefix("100.115.92.0/23"),
}

func (p *pool) take(s selvage.Settings, n *selvage.Node) {
	p.taken[n.IPv4] = struct{}{}
	p.taken[n.IPv6] = struct{}{}
	if s.IPv4.Contains(n.IPv4) {
		if off := offset(s.IPv4, n.IPv4); off >= p.next {
			p.next = off + 1
		}
	}
}

func (p *pool) free(n *selvage.Node) {
	delete(p.taken, n.IPv4)
	delete(p.taken, n.IPv6)
}

// find returns a free pair of addresses, the IPv6 one at the same offset as the
// IPv4 one. If the policy names pools for the device, it is from the first of them with
// a free one, and otherwise from none of kept, the pools of others. It takes nothing.
func (p *pool) find(s selvage.Settings, pools, kept []netip.Prefix) (v4, v6 netip.Addr, err error) {
	for _, sub := range pools {
		if !within(s.IPv4, sub) {
			continue // of a range that the tailnet had before
		}
		first := offset(s.IPv4, sub.Addr())
		for off := first; off-first < uint32(1)<<(32-sub.Bits()); off++ {
			v4, v6 = at4(s.IPv4, off), at6(s.IPv6, off)
			if off > 0 && p.usable(v4) && p.usable(v6) {
				return v4, v6, nil
			}
		}
	}
	if len(pools) > 0 {
		return v4, v6, selvage.Errorf(selvage.KindConflict, "no free address left in %v, which the policy has for this device (nodeAttrs, ipPool); remove devices or add a network there", pools)
	}
	hosts := uint32(1)<<(32-s.IPv4.Bits()) - 1 // the last one is broadcast
	off := max(p.next, 1)
	for range min(hosts, maxAddressTries) {
		if off >= hosts {
			off = 1
		}
		v4, v6 = at4(s.IPv4, off), at6(s.IPv6, off)
		if i := slices.IndexFunc(kept, func(k netip.Prefix) bool { return k.Contains(v4) }); i >= 0 {
			off = offset(s.IPv4, kept[i].Addr()) + uint32(1)<<(32-kept[i].Bits())
			continue
		}
		if p.usable(v4) && p.usable(v6) {
			return v4, v6, nil
		}
		off++
	}
	return v4, v6, selvage.Errorf(selvage.KindConflict, "no free address left in %v; remove devices or give the tailnet a larger range", s.IPv4)
}

func (p *pool) usable(a netip.Addr) bool {
	if _, taken := p.taken[a]; taken {
		return false
	}
	for _, r := range reserved {
		if r.Contains(a) {
			return false
		}
	}
	return true
}

func offset(r netip.Prefix, a netip.Addr) uint32 {
	base, addr := r.Masked().Addr().As4(), a.As4()
	return binary.BigEndian.Uint32(addr[:]) - binary.BigEndian.Uint32(base[:])
}

func at4(r netip.Prefix, off uint32) netip.Addr {
	b := r.Masked().Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+off)
	return netip.AddrFrom4(b)
}

func at6(r netip.Prefix, off uint32) netip.Addr {
	b := r.Masked().Addr().As16()
	binary.BigEndian.PutUint64(b[8:], binary.BigEndian.Uint64(b[8:])+uint64(off))
	return netip.AddrFrom16(b)
}

// CheckRanges says what is wrong with a pair of address ranges, if anything is.
func CheckRanges(v4, v6 netip.Prefix) error {
	switch {
	case !v4.IsValid() || !v4.Addr().Is4() || v4.Bits() < 8 || v4.Bits() > 29:
		return selvage.Errorf(selvage.KindInvalid, "bad IPv4 range %v: want a prefix such as 100.64.0.0/10, from /8 to /29", v4)
	case !v6.IsValid() || !v6.Addr().Is6() || v6.Bits() < 32 || v6.Bits() > 96:
		return selvage.Errorf(selvage.KindInvalid, "bad IPv6 range %v: want a prefix such as fd7a:115c:a1e0::/48, from /32 to /96", v6)
	case v4 != v4.Masked():
		return selvage.Errorf(selvage.KindInvalid, "bad IPv4 range %v: it has bits set after the prefix; did you mean %v?", v4, v4.Masked())
	case v6 != v6.Masked():
		return selvage.Errorf(selvage.KindInvalid, "bad IPv6 range %v: it has bits set after the prefix; did you mean %v?", v6, v6.Masked())
	case v4.Contains(netip.MustParseAddr("100.100.100.100")) && v4.Bits() > 24:
		return selvage.Errorf(selvage.KindInvalid, "bad IPv4 range %v: clients use 100.100.100.100 themselves; choose another part of 100.64.0.0/10", v4)
	}
	return nil
}
