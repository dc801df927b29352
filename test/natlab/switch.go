package natlab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// carrierTime bounds the wait for a link to come up. The kernel announces a change
// of carrier up to a second late when changes come often.
const carrierTime = 5 * time.Second

// minBurst is the smallest bucket of a rate limit, in bytes.
const minBurst = 16 << 10

// Switch is a layer-2 segment that hosts and routers are plugged into.
type Switch struct {
	lab    *Lab
	bridge string
	subnet netip.Prefix
}

// Switch makes a segment with the given subnet. The switch itself has no address.
func (l *Lab) Switch(name, subnet string) (*Switch, error) {
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("natlab: bad switch name %q", name)
	}
	p, err := netip.ParsePrefix(subnet)
	if err != nil {
		return nil, fmt.Errorf("natlab: subnet of switch %s: %w", name, err)
	}
	s := &Switch{lab: l, bridge: "br" + name, subnet: p.Masked()}
	return s, batch(l.netns(fabric),
		"link add "+s.bridge+" type bridge forward_delay 0 stp_state 0 mcast_snooping 0",
		"link set "+s.bridge+" up")
}

// Core gives the switch an address of its own and makes it route between all
// switches that have one: the core of a small internet. What is for no subnet
// of the lab is answered with "network unreachable", so that a program that
// tries to reach the real internet fails at once instead of timing out.
func (s *Switch) Core(addr string) error {
	ns := s.lab.netns(fabric)
	if err := batch(ns, fmt.Sprintf("addr add %s/%d dev %s", addr, s.subnet.Bits(), s.bridge)); err != nil {
		return err
	}
	return sysctl(ns, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
}

// Route tells the core that a subnet is behind the router at via: for routers
// that do not translate addresses.
func (l *Lab) Route(subnet, via string) error {
	return batch(l.netns(fabric), "route replace "+subnet+" via "+via)
}

// Port is one host's connection to a switch.
type Port struct {
	// Addr is the host's first address on the port.
	Addr netip.Addr

	lab  *Lab
	host *Host
	dev  string // inside the host
	peer string // inside the fabric
}

// Plug connects a host to a switch: the host gets an interface dev with the
// given address, and a default route by way of gateway unless that is empty.
func (s *Switch) Plug(h *Host, dev, addr, gateway string) (*Port, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, fmt.Errorf("natlab: address of %s: %w", h.Name, err)
	}
	if !s.subnet.Contains(a) {
		return nil, fmt.Errorf("natlab: %v is not in %v", a, s.subnet)
	}
	l := s.lab
	l.mu.Lock()
	l.ports++
	p := &Port{lab: l, host: h, dev: dev, peer: "p" + strconv.Itoa(l.ports), Addr: a}
	l.mu.Unlock()
	if err := batch(l.netns(fabric),
		fmt.Sprintf("link add %s type veth peer name %s netns %s", p.peer, dev, h.ns),
		fmt.Sprintf("link set %s master %s up", p.peer, s.bridge)); err != nil {
		return nil, err
	}
	cmds := []string{
		fmt.Sprintf("addr add %v/%d dev %s%s", a, s.subnet.Bits(), dev, noDAD(a)),
		"link set " + dev + " up",
	}
	if gateway != "" {
		cmds = append(cmds, fmt.Sprintf("route add default via %s dev %s", gateway, dev))
	}
	if err := batch(h.ns, cmds...); err != nil {
		return nil, err
	}
	return p, p.awaitCarrier()
}

// noDAD lets an IPv6 address be used at once, without the second that the kernel
// takes to look for another host that has it.
func noDAD(a netip.Addr) string {
	if a.Is6() {
		return " nodad"
	}
	return ""
}

// awaitCarrier waits until both ends of the port's cable are up.
func (p *Port) awaitCarrier() error {
	if err := awaitUp(p.lab.netns(fabric), p.peer); err != nil {
		return err
	}
	return awaitUp(p.host.ns, p.dev)
}

func awaitUp(ns, dev string) error {
	ctx, cancel := context.WithTimeout(context.Background(), carrierTime)
	defer cancel()
	return Poll(ctx, 5*time.Millisecond, func() error {
		out, err := run("ip", "-n", ns, "-d", "-o", "link", "show", "dev", dev, "up")
		if err != nil {
			return err
		}
		forwards := !strings.Contains(out, "bridge_slave") || strings.Contains(out, "bridge_slave state forwarding")
		if !forwards || !strings.Contains(out, "state UP") {
			return fmt.Errorf("natlab: %s in %s is not up: %s", dev, ns, out)
		}
		return nil
	})
}

// AddAddr gives the port one more address, an IPv6 one for instance, and a default
// route for its family unless gateway is empty.
func (p *Port) AddAddr(cidr, gateway string) error {
	pre, err := netip.ParsePrefix(cidr)
	if err != nil {
		return fmt.Errorf("natlab: address of %s: %w", p.host.Name, err)
	}
	if err := batch(p.host.ns, fmt.Sprintf("addr add %v dev %s%s", pre, p.dev, noDAD(pre.Addr()))); err != nil {
		return err
	}
	if gateway == "" {
		return nil
	}
	args := []string{"-n", p.host.ns}
	if pre.Addr().Is6() {
		args = append(args, "-6")
	}
	_, err = run("ip", append(args, "route", "add", "default", "via", gateway, "dev", p.dev)...)
	return err
}

// Unplug takes the carrier away: the host sees its link go down.
func (p *Port) Unplug() error { return batch(p.lab.netns(fabric), "link set "+p.peer+" down") }

// Replug undoes Unplug, and returns when the link is up again. The routes that the
// host had through it may be gone if its own software removed them.
func (p *Port) Replug() error {
	if err := batch(p.lab.netns(fabric), "link set "+p.peer+" up"); err != nil {
		return err
	}
	return p.awaitCarrier()
}

// Blackhole drops every frame to and from the port while the host's link stays
// up, as a dead switch or an overloaded network would. on=false undoes it.
func (p *Port) Blackhole(on bool) error {
	table := "bh_" + p.peer
	script := fmt.Sprintf("add table netdev %s\ndelete table netdev %s\n", table, table)
	if on {
		script += fmt.Sprintf(`table netdev %s {
			chain in  { type filter hook ingress device %q priority 0; drop; }
			chain out { type filter hook egress  device %q priority 0; drop; }
		}`, table, p.peer, p.peer)
	}
	return nft(p.lab.netns(fabric), script)
}

// Rate limits what the host can send and receive, in bits per second.
func (p *Port) Rate(bits int) error {
	// A hundredth of a second's traffic may go out at once.
	burst := max(bits/8/100, minBurst)
	set := func(ns, dev string) error {
		_, err := run("ip", "netns", "exec", ns, "tc", "qdisc", "replace", "dev", dev, "root", "tbf",
			"rate", strconv.Itoa(bits)+"bit", "burst", strconv.Itoa(burst), "latency", "50ms")
		return err
	}
	return errors.Join(set(p.host.ns, p.dev), set(p.lab.netns(fabric), p.peer))
}
