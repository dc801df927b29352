package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"tailscale.com/tailcfg"

	"selvage"
)

// checkURL is where a client asks for the outcome of a check: a path on the
// connection that it has to the server, so the host does not matter.
const checkURL = "https://unused/machine/ssh/action/$SRC_NODE_ID/to/$DST_NODE_ID?local_user=$LOCAL_USER"

// compiledSSH is an ssh rule with its sources and destinations as numbers of sets.
type compiledSSH struct {
	*sshRule
	srcSet int
	anySrc int // the sources whatever their posture
	recSet int // who records; -1 if nobody
	dstSet int // without autogroup:self
	self   bool
}

// SSHVerdict is what the policy says of one SSH login.
type SSHVerdict struct {
	Allowed bool
	// Check is set if the person has to prove who they are first, unless they did
	// so within Period. A zero Period means each time.
	Check  bool
	Period time.Duration
	Line   int // of the rule

	rule *compiledSSH
}

// SSHLogin decides an SSH login from src to dst as a local user. Rules with checks
// come before those without, as in what clients get.
func (c *Compiled) SSHLogin(src, dst Device, local string) SSHVerdict {
	login := ""
	if src.untagged() {
		login = c.person(src.User).login
	}
	for _, ru := range c.ssh {
		if !ru.admits(login, local) || !c.isSource(ru.src, ru.posture, src) {
			continue
		}
		itself := src.Node != 0 && src.Node == dst.Node && ru.toItself()
		if !itself && !slices.ContainsFunc(ru.dst, func(s selector) bool { return c.reachesTarget(s, src, dst) }) {
			continue
		}
		return SSHVerdict{Allowed: true, Check: ru.check, Period: ru.period, Line: c.pol.line(ru.off), rule: ru}
	}
	return SSHVerdict{}
}

// toItself reports whether the rule lets each of its sources log in to itself. The
// service writes such rules for all that have localpart:*@domain. Sessions that are
// to be recorded have no part in it.
func (ru *sshRule) toItself() bool { return len(ru.domains) > 0 && len(ru.recorder) == 0 }

// FeedsSSH reports whether the addresses of src's devices are written into the SSH
// policy of dst's.
func (c *Compiled) FeedsSSH(src, dst Class) bool {
	s, d := c.class(src), c.class(dst)
	return s.sshFeeds.meets(d.ssh) || s.sshRecords.meets(d.ssh) || s.sshRecords.meets(d.sshSelf) ||
		d.sshSelf != nil && s.user == d.user && s.sshFrom.meets(d.sshSelf)
}

// HasSSH reports whether some rule can let somebody else log in to devices of the
// class.
func (c *Compiled) HasSSH(dst Class) bool {
	k := c.class(dst)
	return k.sshSelf != nil || k.ssh.meets(k.ssh)
}

// SSH returns the SSH rules of a device of class dst; not nil. members is that of
// Filter. Rules with checks come first: the client takes the first that matches,
// and a check must not be lost to a rule without one.
func (c *Compiled) SSH(d Device, dst Class, members func(Class) []netip.Addr) *tailcfg.SSHPolicy {
	k := c.class(dst)
	pol := &tailcfg.SSHPolicy{Rules: []*tailcfg.SSHRule{}}
	for i, ru := range c.ssh {
		if k.ssh.has(i) {
			pol.Rules = c.sshRules(pol.Rules, ru, c.classes.bySet[ru.srcSet].all(), members, members)
		}
		self := k.sshSelf != nil && k.sshSelf.has(i)
		if self {
			pol.Rules = c.sshRules(pol.Rules, ru, c.sshSiblings(k, i), members, members)
		}
		if !self && !k.ssh.has(i) && ru.toItself() && k.sshFeeds.has(i) {
			pol.Rules = c.sshRules(pol.Rules, ru, []Class{dst}, func(Class) []netip.Addr { return d.Addrs }, members)
		}
	}
	return pol
}

// sshRules appends what a rule means for the sources: one rule for all of them, or
// one for each person if the local user follows from who it is. from returns the
// addresses of the sources, members those of recorders.
func (c *Compiled) sshRules(rules []*tailcfg.SSHRule, ru *compiledSSH, srcs []Class, from, members func(Class) []netip.Addr) []*tailcfg.SSHRule {
	recorders := c.recordersOf(ru, members)
	add := func(principals []*tailcfg.SSHPrincipal, users map[string]string) {
		if len(principals) == 0 {
			return
		}
		rules = append(rules, &tailcfg.SSHRule{Principals: principals, SSHUsers: users, Action: ru.record(ru.action(), recorders), AcceptEnv: ru.env})
	}
	if len(ru.domains) == 0 {
		add(principals(srcs, from), ru.localUsers())
		return rules
	}
	srcs = slices.Clone(srcs)
	slices.SortStableFunc(srcs, func(a, b Class) int { return cmp.Compare(c.class(a).user, c.class(b).user) })
	for len(srcs) > 0 {
		user := c.class(srcs[0]).user
		n := slices.IndexFunc(srcs, func(k Class) bool { return c.class(k).user != user })
		if n < 0 {
			n = len(srcs)
		}
		ps := principals(srcs[:n], from)
		srcs = srcs[n:]
		add(ps, ru.localUsers())
		if part, ok := ru.localPart(c.person(user).login); ok {
			add(ps, map[string]string{part: part})
		}
	}
	return rules
}

func (ru *sshRule) action() *tailcfg.SSHAction {
	if ru.check {
		return &tailcfg.SSHAction{HoldAndDelegate: checkURL}
	}
	return acceptSSH()
}

func acceptSSH() *tailcfg.SSHAction {
	return &tailcfg.SSHAction{
		Accept:                    true,
		AllowAgentForwarding:      true,
		AllowLocalPortForwarding:  true,
		AllowRemotePortForwarding: true,
	}
}

// principals returns the addresses of the classes' devices, sorted.
func principals(classes []Class, members func(Class) []netip.Addr) []*tailcfg.SSHPrincipal {
	var addrs []netip.Addr
	for _, k := range classes {
		addrs = append(addrs, members(k)...)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	addrs = slices.Compact(addrs)
	out := make([]*tailcfg.SSHPrincipal, len(addrs))
	for i, a := range addrs {
		out[i] = &tailcfg.SSHPrincipal{NodeIP: a.String()}
	}
	return out
}

// collectSSH gives the ssh rules their sets, checks first.
func (c *Compiled) collectSSH(n *numberer) {
	for _, check := range []bool{true, false} {
		for i := range c.pol.ssh {
			ru := &c.pol.ssh[i]
			if ru.check != check {
				continue
			}
			dst, self := withoutSelf(ru.dst)
			cr := &compiledSSH{sshRule: ru, srcSet: n.sources(ru.src, ru.posture), dstSet: n.number(setPlain, dst), recSet: -1, self: self}
			if len(ru.recorder) > 0 {
				cr.recSet = n.number(setPlain, ru.recorder)
			}
			if cr.anySrc = cr.srcSet; self && len(ru.posture) > 0 {
				cr.anySrc = n.number(setPlain, ru.src)
			}
			c.ssh = append(c.ssh, cr)
		}
	}
}

// addSSH fills in what a new class has to do with the ssh rules.
func (c *Compiled) addSSH(k *class, ident, matched bitset, user selvage.UserID) {
	n := len(c.ssh)
	k.ssh, k.sshFeeds, k.sshRecords = newBitset(n), newBitset(n), newBitset(n)
	for i, ru := range c.ssh {
		if ru.recSet >= 0 && ident.has(ru.recSet) {
			k.sshRecords.set(i)
		}
		if ident.has(ru.srcSet) {
			k.sshFeeds.set(i)
		}
		if matched.has(ru.dstSet) {
			k.ssh.set(i)
		}
		if ru.self && user != 0 && matched.has(ru.anySrc) {
			if k.sshSelf == nil {
				k.sshSelf, k.sshFrom = newBitset(n), newBitset(n)
			}
			k.sshSelf.set(i)
			if matched.has(ru.srcSet) {
				k.sshFrom.set(i)
			}
		}
	}
}

// sshSiblings returns the classes of the same owner that are sources of the rule.
func (c *Compiled) sshSiblings(k *class, i int) []Class {
	var out []Class
	for _, id := range k.siblings.all() {
		if from := c.class(id).sshFrom; from != nil && from.has(i) {
			out = append(out, id)
		}
	}
	return out
}
