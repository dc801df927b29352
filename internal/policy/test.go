package policy

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
	"tailscale.com/tailcfg"

	"selvage"
	"selvage/internal/policy/source"
	"selvage/internal/policy/transport"
)

// test is an entry of the section "tests": what a source must and must not reach.
type test struct {
	off          int
	src          selector
	accept, deny []testTarget
	protos       []int // nil is TCP or UDP
	attrs        map[string]any
}

type testTarget struct {
	text  source.Text
	sel   selector
	ports []tailcfg.PortRange
}

func (p *parser) readTests(v *hujson.Value, pol *Policy) {
	els := p.Elements(v, "tests")
	if len(els) > maxTests {
		p.Errorf(v.StartOffset, "", "%d tests; at most %d are allowed", len(els), maxTests)
		return
	}
	for i := range els {
		pol.tests = append(pol.tests, p.readTest(&els[i], fmt.Sprintf("tests[%d]", i)))
	}
}

// testsFailed begins the message of whatever is wrong with a test: the service says
// no more than this.
const testsFailed = "test(s) failed: "

func (p *parser) readTest(v *hujson.Value, what string) test {
	f := p.Fields(v, what, "src", "accept", "deny", "proto", "allow", "srcPostureAttrs")
	t := test{off: v.StartOffset}
	src, _ := p.Text(f["src"], "src")
	if src.Off < 0 {
		p.Errorf(v.StartOffset, `name one, for example "src": "alice@example.com"`, "%s%s: no src", testsFailed, what)
		return t
	}
	t.src = p.selector(src, inTest, testsFailed+"src=")
	t.accept = p.testTargets(p.either(f, "accept", "allow"), "accept")
	t.deny = p.testTargets(f["deny"], "deny")
	if f["accept"] == nil && f["deny"] == nil && f["allow"] == nil {
		p.Errorf(v.StartOffset, "say what the source must or must not reach", "%s%s: neither accept nor deny", testsFailed, what)
	}
	proto, _ := p.Text(f["proto"], "proto")
	protos, err := transport.ParseProto(proto.S)
	if err != nil {
		p.Errorf(proto.Off, "", "%s%s: %v", testsFailed, what, err)
	}
	t.protos = protos
	t.attrs = p.testAttrs(f["srcPostureAttrs"])
	return t
}

// testAttrs reads the posture attributes that a test's source has.
func (p *parser) testAttrs(v *hujson.Value) map[string]any {
	if v == nil {
		return nil
	}
	attrs := make(map[string]any)
	for _, m := range p.Members(v, "srcPostureAttrs") {
		var x any
		if err := json.Unmarshal([]byte(p.Raw(m.Val)), &x); err != nil {
			p.Errorf(m.Val.StartOffset, "", "srcPostureAttrs[%q]: %v", source.Clip(m.Name.S), err)
		}
		p.checkAttribute(m.Name.S, m.Name.Off, "srcPostureAttrs")
		attrs[m.Name.S] = x
	}
	return attrs
}

func (p *parser) testTargets(v *hujson.Value, what string) []testTarget {
	var out []testTarget
	for _, t := range p.Texts(v, what) {
		host, ports, ok := transport.SplitPorts(t.S)
		ranges, err := transport.ParsePorts(ports)
		if !ok || err != nil {
			p.Errorf(t.Off, `write "host:22"`, "%s%s: %q has no valid port", testsFailed, what, t.S)
			continue
		}
		sel := p.selector(source.Text{S: host, Off: t.Off}, inTest, fmt.Sprintf("%s%s: ", testsFailed, what))
		if sel.kind == selAddr && sel.rng.From() != sel.rng.To() {
			p.Errorf(t.Off, "name one address in it", "%s%s: %q is a network", testsFailed, what, t.S)
		}
		out = append(out, testTarget{t, sel, ranges})
	}
	return out
}

// runTests runs the tests while parsing. Who has which role is not known then: if
// that matters, Policy.Test has to decide.
func (p *parser) runTests(pol *Policy) {
	if len(pol.tests)+len(pol.sshTests) == 0 {
		return
	}
	if pol.usesRoles() {
		p.Warnf(-1, "", "the tests depend on the roles of people and are run when those are known")
		return
	}
	p.Errs = append(p.Errs, pol.failures(nil)...)
}

// Test runs the tests of the policy for the people of a tailnet. An error is an
// *Error with one diagnostic for each claim that does not hold.
func (pol *Policy) Test(people []Person) error {
	if ds := pol.failures(people); len(ds) > 0 {
		return &Error{Diagnostics: ds}
	}
	return nil
}

// usesRoles reports whether anything that tests look at depends on roles.
func (pol *Policy) usesRoles() bool {
	for s := range pol.ruleSelectors() {
		if s.kind == selRole {
			return true
		}
	}
	return false
}

// ruleSelectors returns the selectors of rules and tests.
func (pol *Policy) ruleSelectors() iter.Seq[selector] {
	return func(yield func(selector) bool) {
		all := func(sels []selector) bool {
			return !slices.ContainsFunc(sels, func(s selector) bool { return !yield(s) })
		}
		for _, ru := range pol.rules {
			if !all(ru.src) || slices.ContainsFunc(ru.dst, func(t target) bool { return !yield(t.sel) }) {
				return
			}
		}
		for _, ru := range pol.ssh {
			if !all(ru.src) || !all(ru.dst) {
				return
			}
		}
		for _, t := range pol.tests {
			if !yield(t.src) || slices.ContainsFunc(slices.Concat(t.accept, t.deny), func(t testTarget) bool { return !yield(t.sel) }) {
				return
			}
		}
		for _, t := range pol.sshTests {
			if !yield(t.src) || !all(t.dst) {
				return
			}
		}
	}
}

// everybody returns the people and, for each login that the policy names and nobody
// has, an invented person: a policy may be ahead of its people.
func (pol *Policy) everybody(people []Person) []Person {
	people = slices.Clone(people)
	seen := make(map[string]bool, len(people))
	for _, p := range people {
		seen[strings.ToLower(p.Login)] = true
	}
	next := nobody - 1
	add := func(login string) {
		if !seen[login] {
			seen[login] = true
			people = append(people, Person{ID: next, Login: login, Role: selvage.RoleMember})
			next--
		}
	}
	for _, name := range slices.Sorted(maps.Keys(pol.groups)) {
		for _, login := range pol.groups[name].logins {
			add(login)
		}
	}
	for s := range pol.ruleSelectors() {
		if s.kind == selUser {
			add(s.name)
		}
	}
	return people
}

// tester runs tests, within a budget.
type tester struct {
	*Compiled
	*source.Reader
	work int // rules looked at
}

// failures runs the tests and returns the claims that do not hold.
func (pol *Policy) failures(people []Person) []Diagnostic {
	t := &tester{
		Compiled: pol.Compile(pol.everybody(people)),
		Reader:   pol.src.Fresh(),
	}
	for _, tt := range pol.tests {
		if t.spend(tt.off, len(t.people)) {
			t.run(tt)
		}
	}
	for _, st := range pol.sshTests {
		if t.spend(st.off, len(t.people)*(1+len(st.dst))) {
			t.runSSH(st)
		}
	}
	return t.Errs
}

// spend takes from the budget and reports whether it lasts.
func (t *tester) spend(off, work int) bool {
	was := t.work <= maxTestWork
	t.work += work
	if t.work <= maxTestWork {
		return true
	}
	if was {
		t.Errorf(off, "use fewer tests, or name a member and not a group", "%sthe tests take too long", testsFailed)
	}
	return false
}

func (t *tester) run(tt test) {
	srcs := t.examples(tt.src)
	if len(srcs) == 0 {
		t.Errorf(tt.off, "", "%s%s selects nobody", testsFailed, tt.src.text())
	}
	for _, src := range srcs {
		if !t.spend(tt.off, len(t.pol.rules)) {
			return
		}
		src.Attrs = tt.attrs
		from := t.rulesFrom(src)
		for _, target := range tt.accept {
			if t.spend(target.text.Off, t.weight(target.sel)) && !t.reaches(from, src, target, tt.protos, true) {
				t.Errorf(target.text.Off, "", "%s%s must reach %s, but no rule opens it", testsFailed, tt.src.text(), target.text.S)
			}
		}
		for _, target := range tt.deny {
			if t.spend(target.text.Off, t.weight(target.sel)) && t.reaches(from, src, target, tt.protos, false) {
				t.Errorf(target.text.Off, "", "%s%s must not reach %s, but a rule opens it", testsFailed, tt.src.text(), target.text.S)
			}
		}
	}
}

// weight is what it costs to find the devices that stand for a selector.
func (t *tester) weight(s selector) int {
	switch s.kind {
	case selGroup, selDomain, selRole:
		return 1 + len(t.people)
	}
	return 1
}

// rulesFrom returns the rules that the device is a source of.
func (c *Compiled) rulesFrom(src Device) []*rule {
	var out []*rule
	for i := range c.pol.rules {
		if ru := &c.pol.rules[i]; c.isSource(ru.src, ru.posture, src) {
			out = append(out, ru)
		}
	}
	return out
}

// nobody is the owner of a made-up device of which only that it has one is known,
// and anonymousTag the tag of a device of which only that it has one is known.
const (
	nobody       selvage.UserID = -1
	anonymousTag                = "tag:"
)

// examples returns devices that stand for a selector in tests: for a group one of
// each member. Addresses stand for a device or a machine behind one, of which
// nothing but the address is known.
func (c *Compiled) examples(s selector) []Device {
	switch s.kind {
	case selUser:
		if u := c.users[s.name]; u != 0 {
			return []Device{{User: u}}
		}
		return nil
	case selTag:
		return []Device{{Tags: []string{s.name}}}
	case selMember:
		return []Device{{User: nobody}}
	case selTagged:
		return []Device{{Tags: []string{anonymousTag}}}
	case selAddr:
		return []Device{{Addrs: []netip.Addr{s.rng.From()}}}
	case selInternet:
		return []Device{{Routes: selvage.ExitRoutes()}}
	case selService:
		return []Device{{Services: []Service{{Name: s.name}}}}
	case selShared:
		return []Device{{Shared: true}}
	case selAny, selDanger:
		return []Device{{}}
	}
	var out []Device
	for id := range c.people {
		if c.matchesUser(s, id) {
			out = append(out, Device{User: id})
		}
	}
	slices.SortFunc(out, func(a, b Device) int { return int(a.User - b.User) })
	return out
}

// destinations returns the devices that stand for a selector as the destination of
// a test.
func (c *Compiled) destinations(s selector, src Device) []Device {
	if s.kind == selSelf {
		return []Device{{User: src.User}}
	}
	return c.examples(s)
}

// reaches reports whether src, by the rules that it is a source of, reaches all of
// a destination (all is set) or any of it: each device that it stands for, and each
// port, by one of the protocols.
func (t *tester) reaches(from []*rule, src Device, target testTarget, protos []int, all bool) bool {
	if len(protos) == 0 {
		protos = []int{transport.TCP, transport.UDP}
	}
	dsts := t.destinations(target.sel, src)
	if len(dsts) == 0 {
		return false
	}
	for _, dst := range dsts {
		if !t.spend(target.text.Off, len(from)+1) {
			return all
		}
		for _, r := range target.ports {
			ok := slices.ContainsFunc(protos, func(proto int) bool {
				return coversPorts(t.opened(from, src, dst, proto), r, all)
			})
			if ok != all {
				return !all
			}
		}
	}
	return all
}

// coversPorts reports whether the open ranges, sorted by the first, have all of r,
// or any of it.
func coversPorts(open []tailcfg.PortRange, r tailcfg.PortRange, all bool) bool {
	next := int(r.First) // the first port not known to be open
	for _, o := range open {
		if int(o.Last) < next || o.First > r.Last {
			continue
		}
		if !all {
			return true
		}
		if int(o.First) > next {
			return false
		}
		next = int(o.Last) + 1
	}
	return all && next > int(r.Last)
}

// opened returns the ports that rules open, sorted by the first.
func (c *Compiled) opened(rules []*rule, src, dst Device, proto int) []tailcfg.PortRange {
	var out []tailcfg.PortRange
	for _, ru := range rules {
		for _, t := range ru.dst {
			if !c.reachesRule(ru, t.sel, src, dst) {
				continue
			}
			for k, protos := range ru.protc {
				if !carries(protos, proto) || len(t.ports[k]) == 0 {
					continue
				}
				if transport.HasPorts([]int{proto}) {
					out = append(out, t.ports[k]...)
				} else {
					out = append(out, transport.AllPorts)
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b tailcfg.PortRange) int { return int(a.First) - int(b.First) })
	return out
}

// reachesRule is reachesTarget for a destination of a rule of acls or grants.
func (c *Compiled) reachesRule(ru *rule, s selector, src, dst Device) bool {
	if len(ru.via) > 0 {
		return c.isTarget(ru, s, dst)
	}
	return c.reachesTarget(s, src, dst)
}

// reachesTarget reports whether dst is the destination that a rule names, for a
// packet from src.
func (c *Compiled) reachesTarget(s selector, src, dst Device) bool {
	if s.kind == selSelf {
		return src.untagged() && dst.untagged() && src.User == dst.User
	}
	return c.matches(s, dst)
}
