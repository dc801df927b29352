package natlab

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// maxRequest is the longest request of port mapping protocols, in bytes.
const maxRequest = 1100

// Result codes of RFC 6886, section 3.5.
const (
	resultUnsupportedVersion = 1
	resultRefused            = 2
	resultUnsupportedOp      = 5
)

// PortMapper makes the router answer NAT-PMP (RFC 6886), so that a client
// behind it can ask for a port on the router's own address. The daemons that
// exist refuse a router whose outside address is of a documentation range, as
// a lab's are. It returns a function that lists the mappings.
func (r *Router) PortMapper() (mappings func() map[uint16]netip.AddrPort, err error) {
	pc, err := r.ListenPacket("udp4", net.JoinHostPort(r.gateway, "5351"))
	if err != nil {
		return nil, err
	}
	m := &portMapper{
		outside: r.WANPort.Addr, load: r.NFT,
		start: time.Now(), ports: map[uint16]netip.AddrPort{},
	}
	r.lab.mu.Lock()
	r.lab.closers = append(r.lab.closers, pc)
	r.lab.mu.Unlock()
	go m.serve(pc)
	return m.list, nil
}

// portMapper answers requests until its socket is closed with the lab.
type portMapper struct {
	outside netip.Addr
	load    func(rules string) error
	start   time.Time

	mu    sync.Mutex // guards the field below
	ports map[uint16]netip.AddrPort
}

func (m *portMapper) list() map[uint16]netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.ports)
}

func (m *portMapper) serve(pc net.PacketConn) {
	b := make([]byte, maxRequest)
	for {
		n, from, err := pc.ReadFrom(b)
		if err != nil {
			return
		}
		if res := m.answer(b[:n], from.(*net.UDPAddr).AddrPort().Addr().Unmap()); res != nil {
			_, _ = pc.WriteTo(res, from) // a lost answer is asked for again
		}
	}
}

// answer returns the answer to a packet from an inside host, or nil for none.
func (m *portMapper) answer(q []byte, from netip.Addr) []byte {
	if len(q) < 2 || q[1] >= 128 {
		return nil
	}
	head := func(result uint16) []byte {
		res := []byte{0, 128 + q[1]}
		res = binary.BigEndian.AppendUint16(res, result)
		return binary.BigEndian.AppendUint32(res, uint32(time.Since(m.start).Seconds())+1)
	}
	switch {
	case q[0] != 0: // PCP
		return head(resultUnsupportedVersion)
	case q[1] == 0:
		return append(head(0), m.outside.AsSlice()...)
	case q[1] == 1 && len(q) >= 12:
		in, ext := binary.BigEndian.Uint16(q[4:]), binary.BigEndian.Uint16(q[6:])
		ext, err := m.add(netip.AddrPortFrom(from, in), ext, binary.BigEndian.Uint32(q[8:]) == 0)
		if err != nil {
			return append(head(resultRefused), make([]byte, 8)...)
		}
		res := binary.BigEndian.AppendUint16(head(0), in)
		res = binary.BigEndian.AppendUint16(res, ext)
		return append(res, q[8:12]...)
	}
	return head(resultUnsupportedOp)
}

// add maps a port to an inside address, or removes that address's mapping, and
// returns the port. Each inside address has one mapping at most.
func (m *portMapper) add(to netip.AddrPort, ext uint16, remove bool) (uint16, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p, have := range m.ports {
		if have == to {
			ext = p
			delete(m.ports, p)
		}
	}
	if !remove {
		if ext == 0 {
			ext = to.Port()
		}
		for _, taken := m.ports[ext]; taken; _, taken = m.ports[ext] {
			ext++
		}
		m.ports[ext] = to
	}
	err := m.load(m.rules())
	if err != nil {
		delete(m.ports, ext)
	}
	return ext, err
}

// rules returns the nftables script for the mappings. m.mu is held.
func (m *portMapper) rules() string {
	var b strings.Builder
	b.WriteString(`add table ip natlab_pmp
delete table ip natlab_pmp
table ip natlab_pmp {
  chain pre {
    type nat hook prerouting priority dstnat; policy accept;
`)
	for p, to := range m.ports {
		fmt.Fprintf(&b, "    iifname \"wan\" udp dport %d dnat to %v\n", p, to)
	}
	b.WriteString("  }\n}\n")
	return b.String()
}
