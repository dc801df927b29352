package natlab

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// The lifetimes of a router's UDP mappings unless NAT.UDPTimeout says otherwise:
// before and after both sides have spoken.
const (
	defaultUDPTimeout       = 30 * time.Second
	defaultUDPStreamTimeout = 120 * time.Second
)

// NAT says how a router treats what passes through it. The zero value translates
// addresses the easy way: the source port is kept where it is free.
type NAT struct {
	// Random gives each flow a random source port, so that the address a
	// STUN server sees says nothing about the next flow ("hard", symmetric).
	Random bool
	// FullCone lets anyone reach this host on the inside through the router's
	// own address, on UDP ports 1024 and up.
	FullCone netip.Addr
	// Plain leaves out address translation: a stateful firewall.
	Plain bool
	// Open accepts new flows from outside and leaves out translation: routing only.
	Open bool
	// BlockUDP drops UDP from the inside, but for DNS to port 53.
	BlockUDP bool
	// OnlyTCP, where not empty, lets nothing but TCP to these ports out.
	OnlyTCP []int
	// Loss drops this share of the forwarded packets (0 to 1).
	Loss float64
	// UDPTimeout is for how long a UDP mapping lives, in whole seconds; zero is
	// 30 s, or 120 s once both sides have spoken.
	UDPTimeout time.Duration
}

// Common kinds of router.
var (
	Easy       = NAT{}
	Hard       = NAT{Random: true}
	UDPBlocked = NAT{BlockUDP: true}
	Firewall   = NAT{Plain: true}
	WebOnly    = NAT{OnlyTCP: []int{80, 443}}
)

// Router is a host that forwards between a LAN and the outside.
type Router struct {
	*Host
	// LAN is the segment behind the router.
	LAN *Switch
	// WANPort and LANPort are the router's two cables.
	WANPort, LANPort *Port
	gateway          string
}

// Router makes a router with the address wanAddr on the switch wan (and the
// default route wanGateway, if not empty) in front of a new LAN, on which it
// has the subnet's first address.
func (l *Lab) Router(name string, wan *Switch, wanAddr, wanGateway, lanSubnet string, nat NAT) (*Router, error) {
	h, err := l.Host(name)
	if err != nil {
		return nil, err
	}
	lan, err := l.Switch(name+"lan", lanSubnet)
	if err != nil {
		return nil, err
	}
	gw := lan.subnet.Addr().Next().String()
	r := &Router{Host: h, LAN: lan, gateway: gw}
	if r.WANPort, err = wan.Plug(h, "wan", wanAddr, wanGateway); err != nil {
		return nil, err
	}
	if r.LANPort, err = lan.Plug(h, "lan", gw, ""); err != nil {
		return nil, err
	}
	if err := h.Sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"); err != nil {
		return nil, err
	}
	return r, r.SetNAT(nat)
}

// Client makes a host behind the router, with the LAN's address number n.
func (r *Router) Client(name string, n int) (*Host, *Port, error) {
	h, err := r.lab.Host(name)
	if err != nil {
		return nil, nil, err
	}
	a := r.LAN.subnet.Addr()
	for range n {
		a = a.Next()
	}
	p, err := r.LAN.Plug(h, "eth0", a.String(), r.gateway)
	return h, p, err
}

// SetNAT changes the router's behaviour, also while flows are on. Mappings
// that exist go on; Forget removes them.
func (r *Router) SetNAT(n NAT) error {
	first, stream := defaultUDPTimeout, defaultUDPStreamTimeout
	if n.UDPTimeout > 0 {
		first, stream = n.UDPTimeout, n.UDPTimeout
	}
	if err := r.NFT(n.rules()); err != nil {
		return err
	}
	return r.Sysctl(
		fmt.Sprintf("net.netfilter.nf_conntrack_udp_timeout=%d", int(first.Seconds())),
		fmt.Sprintf("net.netfilter.nf_conntrack_udp_timeout_stream=%d", int(stream.Seconds())))
}

// rules returns the nftables script that replaces the router's rules.
func (n NAT) rules() string {
	return strings.Join([]string{
		"add table inet natlab",
		"delete table inet natlab",
		"table inet natlab {",
		inputRules, n.forwardRules(), n.translationRules(),
		"}", "",
	}, "\n")
}

// inputRules drop a packet from outside that the router itself would answer or
// reject. Were it let in, the connection tracker would remember it, and the inside
// host's own packet to the same peer would then find its source port taken and be
// given another one: hole punching would depend on which side spoke first.
const inputRules = `  chain input {
    type filter hook input priority filter; policy accept;
    iifname "wan" ct state established,related accept
    iifname "wan" meta l4proto { icmp, ipv6-icmp } accept
    iifname "wan" drop
  }`

func (n NAT) forwardRules() string {
	rules := []string{
		"  chain forward {",
		"    type filter hook forward priority filter; policy drop;",
	}
	add := func(format string, args ...any) { rules = append(rules, "    "+fmt.Sprintf(format, args...)) }
	if n.Loss > 0 {
		add("numgen random mod 10000 < %d drop", int(n.Loss*10000))
	}
	add("ct state established,related accept")
	if n.BlockUDP {
		add(`iifname "lan" udp dport != 53 drop`)
	}
	if len(n.OnlyTCP) > 0 {
		ports := make([]string, len(n.OnlyTCP))
		for i, p := range n.OnlyTCP {
			ports[i] = strconv.Itoa(p)
		}
		add(`iifname "lan" meta l4proto != tcp drop`)
		add(`iifname "lan" tcp dport != { %s } drop`, strings.Join(ports, ", "))
	}
	add(`iifname "lan" accept`)
	if n.Open {
		add(`iifname "wan" accept`)
	}
	// Set by FullCone, or by a port mapping daemon that a test runs here.
	add(`iifname "wan" ct status dnat accept`)
	return strings.Join(append(rules, "  }"), "\n")
}

func (n NAT) translationRules() string {
	var b strings.Builder
	if !n.Plain && !n.Open {
		how := "masquerade"
		if n.Random {
			how = "masquerade fully-random"
		}
		fmt.Fprintf(&b, `  chain post {
    type nat hook postrouting priority srcnat; policy accept;
    oifname "wan" meta nfproto ipv4 %s
  }
`, how)
	}
	if n.FullCone.IsValid() {
		fmt.Fprintf(&b, `  chain pre {
    type nat hook prerouting priority dstnat; policy accept;
    iifname "wan" meta nfproto ipv4 udp dport 1024-65535 dnat ip to %v
  }
`, n.FullCone)
	}
	return b.String()
}

// Forget removes every mapping of the router, as a restart of it would.
// It needs the conntrack command.
func (r *Router) Forget() error {
	_, err := run("ip", "netns", "exec", r.ns, "conntrack", "-F")
	return err
}
