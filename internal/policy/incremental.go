package policy

import (
	"net/netip"
	"slices"

	"selvage"
	"selvage/internal/policy/posture"
)

// CompileAfter is Compile for a policy, or for people, that differ little from those
// of last: in who is a member of which group, in logins and roles, in texts that are
// no rules. If the rules are the same, the result goes on with the classes of last,
// so that only devices of the people in changed have to be classed anew; all others
// keep the class they have. ok is false if the rules differ: then the result is that
// of Compile, and so is what has to be done. SSH rules with localpart may read another
// way even for people who are not in changed, if their logins differ.
//
// Classes are never forgotten: when there are many more than devices, compile anew.
func (pol *Policy) CompileAfter(last *Compiled, people []Person, ranges ...netip.Prefix) (c *Compiled, changed []selvage.UserID, ok bool) {
	c = pol.Compile(people, ranges...)
	if !c.sameRules(last) {
		return c, nil, false
	}
	c.classes = last.classes
	for id, p := range c.people {
		if was := last.person(id); !slices.Equal(p.bits, was.bits) {
			changed = append(changed, id)
		}
	}
	for id, was := range last.people {
		if c.people[id] == nil && was.bits.meets(was.bits) {
			changed = append(changed, id)
		}
	}
	slices.Sort(changed)
	return c, changed, true
}

// sameRules reports whether classes mean the same in both: whether their sets and
// rules are the same, by number.
func (c *Compiled) sameRules(o *Compiled) bool {
	if !slices.Equal(c.ranges, o.ranges) {
		return false
	}
	sets := slices.EqualFunc(c.sets, o.sets, func(a, b *set) bool { return a.name == b.name })
	lists := slices.EqualFunc(c.postureLists, o.postureLists, func(a, b []*postureDef) bool { return slices.EqualFunc(a, b, samePosture) })
	rules := slices.EqualFunc(c.rules, o.rules, func(a, b compiledRule) bool {
		return a.srcSet == b.srcSet && a.anySrc == b.anySrc && a.dstSet == b.dstSet && a.viaSet == b.viaSet && a.self == b.self && a.silent == b.silent
	})
	ssh := slices.EqualFunc(c.ssh, o.ssh, func(a, b *compiledSSH) bool {
		return a.srcSet == b.srcSet && a.anySrc == b.anySrc && a.dstSet == b.dstSet && a.recSet == b.recSet && a.self == b.self && slices.Equal(a.domains, b.domains)
	})
	return sets && lists && rules && ssh && slices.Equal(c.back, o.back)
}

func samePosture(a, b *postureDef) bool {
	return slices.EqualFunc(a.conds, b.conds, func(x, y posture.Condition) bool { return x.String() == y.String() })
}
