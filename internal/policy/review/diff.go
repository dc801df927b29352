package review

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"selvage/internal/policy"
)

// maxPairs bounds how many pairs of devices whose access changes a Diff looks at.
const maxPairs = 500_000

// Diff is what a change of policy does to a network.
type Diff struct {
	Changes []Change     `json:"changes"`
	Attrs   []AttrChange `json:"attributes"`
	// Messages is how many of the Devices get a message.
	Messages int `json:"messages"`
	Devices  int `json:"devices"`
	// Truncated is set if so much changes that not all of it was looked at.
	Truncated bool `json:"truncated,omitempty"`

	pairs []pair
}

// Change is what some devices of one owner gain and lose.
type Change struct {
	// Owner is a login or tags, and From names those devices of theirs that it is
	// about; all of them if All is set.
	Owner string   `json:"owner"`
	From  []string `json:"from"`
	All   bool     `json:"all"`
	// Gained and Lost say what at which devices.
	Gained    []Access `json:"gained,omitempty"`
	Lost      []Access `json:"lost,omitempty"`
	SSHGained []Login  `json:"sshGained,omitempty"`
	SSHLost   []Login  `json:"sshLost,omitempty"`
}

// Login is as whom one may log in to a device by SSH.
type Login struct {
	To    string   `json:"to"`
	Users []string `json:"users"` // "root (check)" asks for a proof of identity
}

// AttrChange is which node attributes a device gains and loses.
type AttrChange struct {
	Node   string   `json:"node"`
	Gained []string `json:"gained,omitempty"`
	Lost   []string `json:"lost,omitempty"`
}

// pair is what changes from some devices, all of one class in both policies, to one.
type pair struct {
	from               []int
	to                 int
	gained, lost       []box
	sshGained, sshLost []string
	seesNow, sawBefore bool
}

// Compare returns what changes for the devices of a network when the policy of one
// becomes that of the other. Both are of the same devices, in the same order.
func Compare(before, after *Network) *Diff {
	d := &differ{old: before, new: after, messages: make(map[int]bool)}
	d.group()
	d.align()
	out := &Diff{Devices: len(after.nodes), Changes: []Change{}, Attrs: []AttrChange{}}
	out.pairs, out.Truncated = d.comparePairs()
	d.tellPairs(out.pairs)
	out.Changes = d.changes(out.pairs)
	for i := range after.nodes {
		if a, ok := d.attrs(i); ok {
			out.Attrs = append(out.Attrs, a)
			d.tell(i)
		}
	}
	out.Messages = len(d.messages)
	return out
}

// tellPairs finds the devices that get a message: because they see another or no
// longer do, have other routes by way of another, or another filter or other SSH
// rules.
func (d *differ) tellPairs(pairs []pair) {
	for _, p := range pairs {
		if p.seesNow == p.sawBefore {
			continue
		}
		d.tell(p.to)
		for _, i := range p.from {
			d.tell(i)
		}
	}
	routes := d.new.routers()
	for _, j := range d.joints {
		if !slices.Equal(d.old.carriers(j.old, routes), d.new.carriers(j.new, routes)) {
			for _, i := range j.nodes {
				d.tell(i)
			}
		}
	}
	for i := range d.new.nodes {
		if !d.messages[i] && d.sendsDiffer(i) {
			d.tell(i)
		}
	}
}

// joint is a class of devices that neither policy can tell apart.
type joint struct {
	old, new           policy.Class
	nodes              []int
	rulesOld, rulesNew involved
	sshOld, sshNew     involved // of ssh
	moved              bool     // whether the rules differ
}

// involved are the rules that devices are sources and destinations of.
type involved struct{ src, dst map[int]bool }

// differ compares two networks.
type differ struct {
	old, new *Network
	joints   []*joint
	messages map[int]bool
}

func (d *differ) tell(i int) { d.messages[i] = true }

// group sorts the devices by their classes in both policies.
func (d *differ) group() {
	index := make(map[[2]policy.Class]*joint)
	for i := range d.new.nodes {
		key := [2]policy.Class{d.old.classes[i], d.new.classes[i]}
		j := index[key]
		if j == nil {
			j = &joint{old: key[0], new: key[1]}
			index[key] = j
			d.joints = append(d.joints, j)
		}
		j.nodes = append(j.nodes, i)
	}
}

// align gives rules that are alike in both policies the same number, and finds for
// each joint class whether its rules differ.
func (d *differ) align() {
	numbers := make(map[string]int)
	number := func(n *Network) []int {
		seen := make(map[string]int)
		keys := n.pol.RuleKeys()
		out := make([]int, len(keys))
		for i, key := range keys {
			seen[key]++
			key = fmt.Sprint(seen[key], " ", key)
			if _, ok := numbers[key]; !ok {
				numbers[key] = len(numbers)
			}
			out[i] = numbers[key]
		}
		return out
	}
	was, is := number(d.old), number(d.new)
	for _, j := range d.joints {
		var before, after involved
		j.rulesOld, before = involvement(d.old.c, j.old, was)
		j.rulesNew, after = involvement(d.new.c, j.new, is)
		j.sshOld = logins(d.old.c, j.old)
		j.sshNew = logins(d.new.c, j.new)
		j.moved = !maps.Equal(before.src, after.src) || !maps.Equal(before.dst, after.dst)
	}
}

// involvement returns the rules of a class by their indices, and by their numbers.
func involvement(c *policy.Compiled, k policy.Class, numbers []int) (rules, numbered involved) {
	from, to := c.Involved(k)
	set := func(list []int) (plain, numbered map[int]bool) {
		plain, numbered = make(map[int]bool), make(map[int]bool)
		for _, i := range list {
			plain[i], numbered[numbers[i]] = true, true
		}
		return plain, numbered
	}
	rules.src, numbered.src = set(from)
	rules.dst, numbered.dst = set(to)
	return rules, numbered
}

// comparePairs compares what devices of each joint class may do at each device,
// where a rule between the two differs or logins may.
func (d *differ) comparePairs() (pairs []pair, truncated bool) {
	ssh := !slices.EqualFunc(d.old.ssh, d.new.ssh, sameRule) || d.sshMoved()
	looked := 0
	for _, s := range d.joints {
		for _, t := range d.joints {
			if !s.moved && !t.moved && !ssh {
				continue
			}
			was, is := common(s.rulesOld.src, t.rulesOld.dst), common(s.rulesNew.src, t.rulesNew.dst)
			logins := ssh && len(common(s.sshOld.src, t.sshOld.dst))+len(common(s.sshNew.src, t.sshNew.dst)) > 0
			if len(was)+len(is) == 0 && !logins {
				continue
			}
			for _, to := range t.nodes {
				if looked++; looked > maxPairs {
					return pairs, true
				}
				if p, ok := d.comparePair(s, to, was, is, logins); ok {
					pairs = append(pairs, p)
				}
			}
		}
	}
	return pairs, false
}

func sameRule(a, b policy.RuleInfo) bool {
	return slices.Equal(a.Src, b.Src) && slices.Equal(a.Dst, b.Dst) && slices.Equal(a.Users, b.Users) &&
		slices.Equal(a.Posture, b.Posture) && a.Check == b.Check
}

// logins returns the ssh rules of a class.
func logins(c *policy.Compiled, k policy.Class) involved {
	set := func(list []int) map[int]bool {
		out := make(map[int]bool)
		for _, i := range list {
			out[i] = true
		}
		return out
	}
	return involved{set(c.SSHSource(k)), set(c.SSHInvolved(k))}
}

// sshMoved reports whether a device's part in the ssh rules differs: with the same
// rules it does so only if a group, a posture or a role does.
func (d *differ) sshMoved() bool {
	return len(d.new.ssh) > 0 && slices.ContainsFunc(d.joints, func(j *joint) bool {
		return !maps.Equal(j.sshOld.src, j.sshNew.src) || !maps.Equal(j.sshOld.dst, j.sshNew.dst)
	})
}

// common returns the members of both, in order.
func common(a, b map[int]bool) []int {
	var out []int
	for i := range a {
		if b[i] {
			out = append(out, i)
		}
	}
	slices.Sort(out)
	return out
}

// comparePair compares what the devices of a joint class may do at one.
func (d *differ) comparePair(s *joint, to int, was, is []int, ssh bool) (pair, bool) {
	p := pair{to: to}
	for _, i := range s.nodes {
		if i != to {
			p.from = append(p.from, i)
		}
	}
	if len(p.from) == 0 {
		return p, false
	}
	from := p.from[0]
	before := boxes(d.old.c.OpeningsBy(was, d.old.nodes[from].Device, d.old.nodes[to].Device))
	after := boxes(d.new.c.OpeningsBy(is, d.new.nodes[from].Device, d.new.nodes[to].Device))
	p.gained, p.lost = normal(subtract(after, before)), normal(subtract(before, after))
	if ssh {
		had, has := d.old.sshUsers(from, to), d.new.sshUsers(from, to)
		p.sshGained, p.sshLost = minus(has, had), minus(had, has)
	}
	p.sawBefore = d.old.c.Sees(s.old, d.old.classes[to])
	p.seesNow = d.new.c.Sees(s.new, d.new.classes[to])
	return p, len(p.gained)+len(p.lost)+len(p.sshGained)+len(p.sshLost) > 0 || p.sawBefore != p.seesNow
}

func minus(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}

// changes sums up pairs for people: by owner, and devices with the same changes as
// one.
func (d *differ) changes(pairs []pair) []Change {
	byNode := make(map[int]*Change)
	for _, p := range pairs {
		if len(p.gained)+len(p.lost)+len(p.sshGained)+len(p.sshLost) == 0 {
			continue
		}
		to := d.new.nodes[p.to]
		gained, lost := d.new.describe(p.gained, to), d.new.describe(p.lost, to)
		for _, i := range p.from {
			c := byNode[i]
			if c == nil {
				c = &Change{Owner: d.new.owner(d.new.nodes[i].Device)}
				byNode[i] = c
			}
			c.Gained, c.Lost = append(c.Gained, gained...), append(c.Lost, lost...)
			if len(p.sshGained) > 0 {
				c.SSHGained = append(c.SSHGained, Login{to.Name, p.sshGained})
			}
			if len(p.sshLost) > 0 {
				c.SSHLost = append(c.SSHLost, Login{to.Name, p.sshLost})
			}
		}
	}
	return d.sumUp(byNode)
}

// sumUp makes one of the changes that are the same for several devices of an owner.
func (d *differ) sumUp(byNode map[int]*Change) []Change {
	owned := make(map[string]int)
	index := make(map[string]int)
	out := []Change{}
	for i, node := range d.new.nodes {
		owned[d.new.owner(node.Device)]++
		c := byNode[i]
		if c == nil {
			continue
		}
		for _, list := range [][]Access{c.Gained, c.Lost} {
			slices.SortFunc(list, func(a, b Access) int { return strings.Compare(a.To, b.To) })
		}
		for _, list := range [][]Login{c.SSHGained, c.SSHLost} {
			slices.SortFunc(list, func(a, b Login) int { return strings.Compare(a.To, b.To) })
		}
		key := mustJSON(c)
		at, ok := index[key]
		if !ok {
			at = len(out)
			index[key] = at
			out = append(out, *c)
		}
		out[at].From = append(out[at].From, node.Name)
	}
	for i := range out {
		out[i].All = len(out[i].From) == owned[out[i].Owner]
	}
	slices.SortStableFunc(out, func(a, b Change) int { return strings.Compare(a.Owner, b.Owner) })
	return out
}

func (d *differ) attrs(i int) (AttrChange, bool) {
	node := d.new.nodes[i]
	list := func(n *Network) []string {
		var out []string
		for name, values := range n.c.CapMap(n.nodes[i].Device) {
			text := string(name)
			for _, v := range values {
				text += " " + string(v)
			}
			out = append(out, text)
		}
		slices.Sort(out)
		return out
	}
	had, has := list(d.old), list(d.new)
	c := AttrChange{Node: node.Name, Gained: minus(has, had), Lost: minus(had, has)}
	return c, len(c.Gained)+len(c.Lost) > 0
}

// sendsDiffer reports whether a device's filter or SSH rules differ.
func (d *differ) sendsDiffer(i int) bool {
	sent := func(n *Network) string {
		k, dev := n.classes[i], n.nodes[i].Device
		text := mustJSON(n.c.Filter(dev, k, n.addrs, n.routes...))
		if n.c.HasSSH(k) {
			text += mustJSON(n.c.SSH(dev, k, n.addrs))
		}
		return text
	}
	return sent(d.old) != sent(d.new)
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // values of this package and of the clients' protocol
	}
	return string(b)
}
