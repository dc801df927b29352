package review

import (
	"net/netip"
	"slices"
	"strings"

	"selvage"
	"selvage/internal/policy"
)

// nonroot stands for every local user but root.
const nonroot = "autogroup:nonroot"

// Reached is what a device may do at another.
type Reached struct {
	From string `json:"from"` // the device's name
	// Owner is a login or tags: of From in the answer of Who, else of To.
	Owner  string   `json:"owner"`
	To     string   `json:"to"`
	Access []Access `json:"access"`
	// SSH has the local users that one may become; "root (check)" asks for a proof
	// of identity first.
	SSH []string `json:"ssh,omitempty"`
	// Rules are those that allow it.
	Rules []policy.RuleInfo `json:"rules"`
}

// Reach returns what a person, a tag, or a device may do at which devices. The
// devices of a person may differ, and each has its own entries.
func (n *Network) Reach(name string) ([]Reached, error) {
	from := n.find(name)
	if len(from) == 0 && !n.named(name) {
		return nil, n.unknown(name)
	}
	var out []Reached
	for _, i := range from {
		for j := range n.nodes {
			if r, ok := n.reached(i, j); ok {
				r.Owner = n.owner(n.nodes[j].Device)
				out = append(out, r)
			}
		}
	}
	return out, nil
}

// Who returns which devices may send to a port of a device, or of an address that
// devices serve. For protocols without ports the port does not matter.
func (n *Network) Who(name string, proto int, port uint16) ([]Reached, error) {
	to, addr := n.find(name), netip.Addr{}
	if len(to) == 0 {
		var err error
		if addr, err = netip.ParseAddr(name); err == nil {
			to = n.servers(addr)
		}
	}
	if len(to) == 0 && !n.named(name) {
		return nil, n.unknown(name)
	}
	var out []Reached
	for _, j := range to {
		for i := range n.nodes {
			if i == j || !n.allowed(i, j, addr, proto, port) {
				continue
			}
			if r, ok := n.reached(i, j); ok {
				r.Owner = n.owner(n.nodes[i].Device)
				out = append(out, r)
			}
		}
	}
	return out, nil
}

func (n *Network) allowed(i, j int, to netip.Addr, proto int, port uint16) bool {
	src := n.nodes[i].Device
	src.Routes = nil
	return slices.ContainsFunc(n.c.Attempts(src, n.nodes[j].Device, to, proto, port), policy.Attempt.Allowed)
}

// reached returns what device i may do at device j, if anything.
func (n *Network) reached(i, j int) (Reached, bool) {
	src, dst := n.nodes[i], n.nodes[j]
	if i == j || !src.Approved || !dst.Approved || !n.c.Sees(n.classes[i], n.classes[j]) && len(n.ssh) == 0 {
		return Reached{}, false
	}
	openings := n.c.Openings(src.Device, dst.Device)
	r := Reached{From: src.Name, To: dst.Name, Access: n.describe(boxes(openings), dst), SSH: n.sshUsers(i, j)}
	for _, o := range openings {
		if !slices.ContainsFunc(r.Rules, func(x policy.RuleInfo) bool { return x.Line == n.rules[o.Rule].Line && x.Col == n.rules[o.Rule].Col }) {
			r.Rules = append(r.Rules, n.rules[o.Rule])
		}
	}
	return r, len(r.Access)+len(r.SSH) > 0
}

// sshUsers returns as whom device i may log in to device j by SSH.
func (n *Network) sshUsers(i, j int) []string {
	if len(n.ssh) == 0 {
		return nil
	}
	var out []string
	others := n.c.SSHLogin(n.nodes[i].Device, n.nodes[j].Device, nonroot)
	for _, user := range n.localUsers(i) {
		v := n.c.SSHLogin(n.nodes[i].Device, n.nodes[j].Device, user)
		switch {
		case user != "root" && user != nonroot && v.Allowed == others.Allowed && v.Check == others.Check:
			// said of all but root
		case v.Allowed && v.Check:
			out = append(out, user+" (check)")
		case v.Allowed:
			out = append(out, user)
		}
	}
	return out
}

// localUsers returns the local users that the ssh rules name, and the one that the
// login of the device's owner stands for.
func (n *Network) localUsers(i int) []string {
	out := []string{"root", nonroot}
	part, _, hasPart := strings.Cut(n.logins[n.nodes[i].User], "@")
	for _, ru := range n.ssh {
		for _, u := range ru.Users {
			if !strings.HasPrefix(u, "localpart:") {
				out = append(out, u)
			} else if hasPart && part != "root" {
				out = append(out, part)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// named reports whether a name is that of a tag or a person, who need not have a device.
func (n *Network) named(name string) bool {
	if strings.HasPrefix(name, "tag:") {
		return n.pol.HasTag(name)
	}
	for _, login := range n.logins {
		if strings.EqualFold(login, name) {
			return true
		}
	}
	return false
}

// unknown says that a name means nothing.
func (n *Network) unknown(name string) error {
	return selvage.Errorf(selvage.KindNotFound, "%q is no device, person, tag or address of this network; give a device's name or address, a login or a tag", name)
}

// RulesOf is what is in force on a device.
type RulesOf struct {
	Node string `json:"node"`
	// In are the rules that open something here, in words, and SSH those for logins.
	In  []string `json:"in"`
	SSH []string `json:"ssh,omitempty"`
	// Out are the rules of which the device is a source.
	Out []string `json:"out"`
	// Attributes are the node capabilities that the policy gives the device.
	Attributes []string `json:"attributes,omitempty"`
	// Filter and SSHPolicy are what the client gets.
	Filter    any `json:"filter"`
	SSHPolicy any `json:"sshPolicy,omitempty"`
}

// Rules returns the rules in force on a device, in words and as the client gets them.
func (n *Network) Rules(name string) (RulesOf, error) {
	at := n.find(name)
	if len(at) != 1 {
		return RulesOf{}, n.unknown(name)
	}
	i := at[0]
	d, k := n.nodes[i], n.classes[i]
	src, dst := n.c.Involved(k)
	out := RulesOf{Node: d.Name, In: []string{}, Out: []string{}}
	for _, x := range dst {
		out.In = append(out.In, Words(n.rules[x]))
	}
	for _, x := range src {
		out.Out = append(out.Out, Words(n.rules[x]))
	}
	out.Filter = n.c.Filter(d.Device, k, n.addrs, n.routes...)
	for name := range n.c.CapMap(d.Device) {
		out.Attributes = append(out.Attributes, string(name))
	}
	slices.Sort(out.Attributes)
	if n.c.HasSSH(k) {
		out.SSHPolicy = n.c.SSH(d.Device, k, n.addrs)
		for _, x := range n.c.SSHInvolved(k) {
			out.SSH = append(out.SSH, Words(n.ssh[x]))
		}
	}
	return out, nil
}

// Words writes a rule as a sentence.
func Words(r policy.RuleInfo) string {
	var sb strings.Builder
	sb.WriteString(list(r.Src, "nobody"))
	if len(r.Posture) > 0 {
		sb.WriteString(" (if " + list(r.Posture, "") + " holds)")
	}
	switch {
	case r.Section == "ssh" && r.Check:
		sb.WriteString(" may log in, after a proof of identity, to " + list(r.Dst, "nothing") + " as " + list(r.Users, "nobody"))
	case r.Section == "ssh":
		sb.WriteString(" may log in to " + list(r.Dst, "nothing") + " as " + list(r.Users, "nobody"))
	default:
		sb.WriteString(" may reach " + targets(r))
	}
	if len(r.Via) > 0 {
		sb.WriteString(" by way of " + list(r.Via, ""))
	}
	if len(r.App) > 0 {
		sb.WriteString(" with " + list(r.App, ""))
	}
	sb.WriteString(" (" + r.String() + ")")
	return sb.String()
}

// targets writes the destinations of a rule with what is open there; those with the
// same ports together.
func targets(r policy.RuleInfo) string {
	var parts []string
	for i := 0; i < len(r.Dst); {
		j := i
		for j < len(r.Dst) && slices.Equal(r.IP[j], r.IP[i]) {
			j++
		}
		part := list(r.Dst[i:j], "nothing")
		switch ip := r.IP[i]; {
		case len(ip) == 1 && ip[0] == "*":
			part += " on every port"
		case len(ip) > 0:
			part += " on " + strings.Join(ip, ", ")
		}
		parts = append(parts, part)
		i = j
	}
	return list(parts, "nothing")
}

// list writes a list for people.
func list(names []string, none string) string {
	switch n := len(names); n {
	case 0:
		return none
	case 1:
		return names[0]
	default:
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
}
