package review

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"selvage"
	"selvage/internal/policy"
	"selvage/internal/policy/transport"
)

// Question is whether something may be sent.
type Question struct {
	// From and To name a device, a login, a tag, or an address of a device or of
	// what one serves.
	From, To string
	Proto    int    // an IP protocol; 6 is TCP
	Port     uint16 // does not matter for protocols without ports
}

// Answer says whether something may be sent, and why.
type Answer struct {
	Allowed bool `json:"allowed"`
	// From and To are the devices that were looked at: those of the names in the
	// question that come closest.
	From string `json:"from"`
	To   string `json:"to"`
	// Rule is the one that allows it, or else the one that lacks least; nil if there
	// are no rules.
	Rule *policy.RuleInfo `json:"rule,omitempty"`
	// Lacks says what the rule lacks.
	Lacks []string `json:"lacks,omitempty"`
	// Notes are other things that matter: expiry, approval, posture, routes.
	Notes []string `json:"notes,omitempty"`
}

// Explain answers a question. Where a name means several devices, it looks for two
// that the rules allow to send.
func (n *Network) Explain(q Question) (Answer, error) {
	from, _, err := n.endpoints(q.From, true)
	if err != nil {
		return Answer{}, err
	}
	to, addr, err := n.endpoints(q.To, false)
	if err != nil {
		return Answer{}, err
	}
	best, met := Answer{}, -1
	for _, src := range from {
		for _, dst := range to {
			a, m := n.explain(src, dst, addr, q)
			if m > met {
				best, met = a, m
			}
			if best.Allowed {
				return best, nil
			}
		}
	}
	return best, nil
}

// maxEndpoints bounds how many devices a name in a question stands for.
const maxEndpoints = 100

// endpoints returns the devices that a name means. A login or tag without devices is
// a device that there could be; an address that nobody has is one of those who serve
// it, or of a device that has nothing else.
func (n *Network) endpoints(name string, source bool) ([]Node, netip.Addr, error) {
	var out []Node
	for _, i := range n.find(name) {
		out = append(out, n.nodes[i])
	}
	if len(out) > 0 {
		return out[:min(len(out), maxEndpoints)], netip.Addr{}, nil
	}
	made := Node{Name: name, Approved: true, Online: true}
	if addr, err := netip.ParseAddr(name); err == nil {
		for _, i := range n.servers(addr) {
			out = append(out, n.nodes[i])
		}
		made.Addrs = []netip.Addr{addr}
		if source || len(out) == 0 {
			return []Node{made}, addr, nil
		}
		return out, addr, nil
	}
	if strings.HasPrefix(name, "tag:") && n.pol.HasTag(name) {
		made.Tags = []string{name}
		return []Node{made}, netip.Addr{}, nil
	}
	for id, login := range n.logins {
		if strings.EqualFold(login, name) {
			made.User = id
			return []Node{made}, netip.Addr{}, nil
		}
	}
	return nil, netip.Addr{}, n.unknown(name)
}

// explain answers for two devices, and returns how many conditions the rule meets.
func (n *Network) explain(src, dst Node, to netip.Addr, q Question) (Answer, int) {
	a := Answer{From: src.Name, To: dst.Name}
	src.Routes = nil // what is behind a router is asked about by its address
	var best policy.Attempt
	met := -1
	for _, t := range n.c.Attempts(src.Device, dst.Device, to, q.Proto, q.Port) {
		if t.Src && t.Posture && t.Dst && t.Via && !t.Opened && isICMP(q.Proto) {
			t.Opened = true
			a.Notes = []string{"clients let ICMP in where any port is open"}
		}
		if m := weigh(t); m > met {
			best, met = t, m
		}
	}
	if met >= 0 {
		a.Rule = &n.rules[best.Rule]
		a.Allowed = best.Allowed()
		a.Lacks = n.lacks(best, src, dst, q)
	}
	a.Notes = append(a.Notes, n.notes(src, dst, to)...)
	return a, met
}

func isICMP(proto int) bool { return proto == protoICMP || proto == protoICMPv6 }

// weigh ranks attempts: who sends and where to say more about what a rule was meant
// for than the port does.
func weigh(t policy.Attempt) int {
	w := 0
	for _, c := range []struct {
		ok     bool
		weight int
	}{{t.Src, 4}, {t.Dst, 5}, {t.Opened, 2}, {t.Via, 1}, {t.Posture, 1}} {
		if c.ok {
			w += c.weight
		}
	}
	return w
}

// lacks says why a rule does not allow something.
func (n *Network) lacks(t policy.Attempt, src, dst Node, q Question) []string {
	r := n.rules[t.Rule]
	var out []string
	if !t.Src {
		out = append(out, fmt.Sprintf("its sources, %s, do not have %s, which belongs to %s", list(r.Src, "nobody"), src.Name, n.owner(src.Device)))
	}
	if !t.Posture {
		out = append(out, fmt.Sprintf("no posture of %s holds for %s (it has %s)", list(r.Posture, ""), src.Name, list(n.c.Postures(src.Device), "none")))
	}
	if !t.Dst {
		whose := "which belongs to " + n.owner(dst.Device)
		if _, err := netip.ParseAddr(q.To); err == nil {
			whose = "which is for " + dst.Name
		}
		out = append(out, fmt.Sprintf("its destinations, %s, do not have %s, %s", list(r.Dst, "nothing"), q.To, whose))
	}
	if t.Dst && !t.Via {
		out = append(out, fmt.Sprintf("%s is no router with %s", dst.Name, list(r.Via, "")))
	}
	if !t.Opened {
		what := transport.Name(q.Proto)
		if transport.Ported(q.Proto) {
			what = fmt.Sprintf("%s:%d", what, q.Port)
		}
		out = append(out, fmt.Sprintf("it opens %s at %s, not %s", list(t.Opens, "nothing"), t.Closest, what))
	}
	return out
}

// notes says what besides the rules keeps the two apart.
func (n *Network) notes(src, dst Node, to netip.Addr) []string {
	var out []string
	for _, d := range []Node{src, dst} {
		switch {
		case !d.Approved:
			out = append(out, d.Name+" waits for approval and takes no part")
		case d.Expired:
			out = append(out, "the key of "+d.Name+" has expired; it has to sign in again")
		case !d.Online:
			out = append(out, d.Name+" is not connected")
		case d.NoRelay:
			out = append(out, d.Name+" has no relay: where no direct way is found, nothing passes")
		}
	}
	if !to.IsValid() || slices.Contains(dst.Addrs, to) {
		return out
	}
	for _, d := range n.nodes {
		for _, r := range d.Advertised {
			if r.Contains(to) && !slices.Contains(d.Routes, r) {
				out = append(out, fmt.Sprintf("%s offers %v, which is not approved", d.Name, r))
			}
		}
	}
	var routes []string
	for _, r := range dst.Routes {
		if r.Contains(to) {
			routes = append(routes, r.String())
			if !selvage.IsExitRoute(r) && !slices.Contains(dst.Primary, r) {
				out = append(out, fmt.Sprintf("%s stands by for %v and does not carry it now", dst.Name, r))
			}
		}
	}
	if len(routes) == 0 && len(dst.Services) == 0 {
		out = append(out, fmt.Sprintf("no device of the network has or serves %v", to))
	}
	return out
}
