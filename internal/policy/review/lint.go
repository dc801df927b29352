package review

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go4.org/netipx"

	"selvage/internal/policy"
)

// Finding is something odd about a policy.
type Finding struct {
	Line     int    `json:"line"`
	Col      int    `json:"col"`
	Severity string `json:"severity"` // "error" or "warning"
	Msg      string `json:"message"`
	Fix      string `json:"fix,omitempty"`
	// Excerpt is the line of the text.
	Excerpt string `json:"excerpt,omitempty"`
}

// maxFindings bounds what Lint says of one text.
const maxFindings = 200

// Lint returns the errors of a text, or else what is odd about it, in the order of
// the text. With a network, it knows also what matches nothing there; nil is none.
func Lint(text string, n *Network) []Finding {
	pol, err := policy.Parse(text)
	if err != nil {
		return findings(text, diagnostics(err))
	}
	l := &linter{ds: slices.Clone(pol.Warnings()), pol: pol, rules: pol.Rules()}
	l.wide()
	l.never()
	l.shadowed()
	l.owners()
	l.untested()
	if n != nil && len(n.nodes) > 0 {
		l.unmatched(n)
	}
	slices.SortStableFunc(l.ds, func(a, b policy.Diagnostic) int { return a.Line - b.Line })
	return findings(text, l.ds)
}

// Findings returns what an error of Parse or Test says of a text.
func Findings(text string, err error) []Finding { return findings(text, diagnostics(err)) }

func diagnostics(err error) []policy.Diagnostic {
	var refused *policy.Error
	if errors.As(err, &refused) {
		return refused.Diagnostics
	}
	return []policy.Diagnostic{{Severity: policy.SeverityError, Msg: err.Error()}}
}

// findings adds the excerpts.
func findings(text string, ds []policy.Diagnostic) []Finding {
	lines := strings.Split(text, "\n")
	out := make([]Finding, 0, len(ds))
	for _, d := range ds[:min(len(ds), maxFindings)] {
		f := Finding{Line: d.Line, Col: d.Col, Severity: string(d.Severity), Msg: d.Msg, Fix: d.Fix}
		if d.Line >= 1 && d.Line <= len(lines) {
			const longest = 160
			f.Excerpt = strings.TrimRight(lines[d.Line-1], " \t\r")
			if r := []rune(f.Excerpt); len(r) > longest {
				f.Excerpt = string(r[:longest]) + "..."
			}
		}
		out = append(out, f)
	}
	return out
}

// maxLintWork bounds how many selectors of rules are compared with one another.
const maxLintWork = 5_000_000

type linter struct {
	work  int // selectors compared
	pol   *policy.Policy
	rules []policy.RuleInfo
	ds    []policy.Diagnostic
	dead  map[int]bool // rules that can match nothing
	// members has the logins of groups that were asked about.
	members map[string]map[string]bool
}

// empty reports whether a selector is a group without members.
func (l *linter) empty(s string) bool {
	members, ok := l.group(s)
	return ok && len(members) == 0
}

// group returns the members of a group, and whether there is such a group.
func (l *linter) group(name string) (map[string]bool, bool) {
	if m, ok := l.members[name]; ok {
		return m, m != nil
	}
	logins, ok := l.pol.Members(name)
	var m map[string]bool
	if ok {
		m = make(map[string]bool, len(logins))
		for _, login := range logins {
			m[login] = true
		}
	}
	if l.members == nil {
		l.members = make(map[string]map[string]bool)
	}
	l.members[name] = m
	return m, ok
}

func (l *linter) warn(r policy.RuleInfo, fix, format string, args ...any) {
	msg := fmt.Sprintf("%s[%d]: ", r.Section, r.Index) + fmt.Sprintf(format, args...)
	l.ds = append(l.ds, policy.Diagnostic{Line: r.Line, Col: r.Col, Severity: policy.SeverityWarning, Msg: msg, Fix: fix})
}

// wide warns of rules that open everything to everybody.
func (l *linter) wide() {
	for _, r := range l.rules {
		if r.Text == "" || len(r.Posture) > 0 || len(r.Via) > 0 {
			continue
		}
		if !slices.Contains(r.Src, "*") && !slices.Contains(r.Src, "autogroup:danger-all") {
			continue
		}
		for i, dst := range r.Dst {
			if dst == "*" && slices.Contains(r.IP[i], "*") {
				l.warn(r, "name who needs what", "%s to * opens every port of every device", r.Src[0])
				break
			}
		}
	}
}

// never warns of rules that can match nothing in any network.
func (l *linter) never() {
	l.dead = make(map[int]bool)
	for i, r := range l.rules {
		nobody := !slices.ContainsFunc(r.Src, func(s string) bool { return !l.empty(s) })
		nothing := !slices.ContainsFunc(r.Dst, func(s string) bool { return !l.empty(s) })
		switch {
		case len(r.Src) == 0 || len(r.Dst) == 0:
			l.warn(r, "name somebody, or take the rule out", "it can never match: it has no sources or no destinations")
		case nobody:
			l.warn(r, "add members, or take the rule out", "it can never match: %s has no members", list(r.Src, ""))
		case nothing:
			l.warn(r, "add members, or take the rule out", "it can never match: %s has no members", list(r.Dst, ""))
		default:
			continue
		}
		l.dead[i] = true
	}
}

// shadowed warns of rules that another rule makes superfluous.
func (l *linter) shadowed() {
	const most = 1_000 // rules that are compared with one another
	rules := l.rules[:min(len(l.rules), most)]
	for i, r := range rules {
		for j, o := range rules {
			l.work += 1 + len(r.Src)*len(o.Src) + len(r.Dst)*len(o.Dst)
			if l.work > maxLintWork {
				return
			}
			if i == j || !l.covers(o, r) || l.covers(r, o) && i < j {
				continue
			}
			l.warn(r, "take one of the two out", "%s[%d] in line %d already allows all of it", o.Section, o.Index, o.Line)
			break
		}
	}
}

// covers reports whether rule a allows all that b does, whatever the network.
func (l *linter) covers(a, b policy.RuleInfo) bool {
	if len(b.App) > 0 || len(b.Src) == 0 || len(b.Dst) == 0 || len(a.Via) > 0 && !slices.Equal(a.Via, b.Via) {
		return false
	}
	if len(a.Posture) > 0 && (len(b.Posture) == 0 || !subset(b.Posture, a.Posture)) {
		return false
	}
	for _, s := range b.Src {
		if !slices.ContainsFunc(a.Src, func(t string) bool { return l.contains(t, s) }) {
			return false
		}
	}
	for i, s := range b.Dst {
		if len(b.IP[i]) == 0 {
			return false
		}
		for _, ip := range b.IP[i] {
			if !l.coversPort(a, s, ip) {
				return false
			}
		}
	}
	return true
}

func (l *linter) coversPort(a policy.RuleInfo, dst, ip string) bool {
	for i, t := range a.Dst {
		if l.contains(t, dst) && slices.ContainsFunc(a.IP[i], func(have string) bool {
			return have == "*" && !strings.Contains(ip, ":") || have == ip || inRange(have, ip)
		}) {
			return true
		}
	}
	return false
}

// inRange reports whether the ports of an entry of "ip" are among those of another.
func inRange(have, want string) bool {
	split := func(s string) (proto string, first, last int, ok bool) {
		i := strings.LastIndexByte(s, ':')
		proto, s = s[:i+1], s[i+1:]
		if s == "*" {
			return proto, 0, 65535, true
		}
		if n, err := fmt.Sscanf(s, "%d-%d", &first, &last); err == nil && n == 2 {
			return proto, first, last, true
		}
		_, err := fmt.Sscanf(s, "%d", &first)
		return proto, first, first, err == nil
	}
	hp, hf, hl, ok := split(have)
	wp, wf, wl, ok2 := split(want)
	same := hp == wp || hp == "" && (wp == "tcp:" || wp == "udp:")
	return ok && ok2 && same && hf <= wf && wl <= hl
}

// contains reports whether one selector names all that another names.
func (l *linter) contains(a, b string) bool {
	switch {
	case a == b:
		return true
	case a == "autogroup:danger-all":
		return b == "*"
	case a == "*":
		return !strings.HasPrefix(b, "autogroup:internet") && b != "autogroup:danger-all"
	case strings.HasPrefix(a, "group:"):
		members, _ := l.group(a)
		return members[strings.ToLower(b)]
	case a == "autogroup:tagged":
		return strings.HasPrefix(b, "tag:")
	case a == "autogroup:member":
		return strings.HasPrefix(b, "group:") || strings.HasPrefix(b, "user:") || strings.Contains(b, "@") ||
			strings.HasPrefix(b, "autogroup:") && !slices.Contains([]string{"autogroup:tagged", "autogroup:self", "autogroup:internet", "autogroup:shared", "autogroup:danger-all"}, b)
	}
	x, okX := network(a)
	y, okY := network(b)
	return okX && okY && x.Contains(y.From()) && x.Contains(y.To())
}

func network(s string) (netipx.IPRange, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return netipx.RangeOfPrefix(p.Masked()), true
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return netipx.IPRangeFrom(a, a), true
	}
	r, err := netipx.ParseIPRange(s)
	return r, err == nil
}

func subset(a, b []string) bool {
	return !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}

// owners warns of tags that only administrators may give.
func (l *linter) owners() {
	for _, t := range l.pol.OwnerlessTags() {
		l.ds = append(l.ds, policy.Diagnostic{
			Line: t.Line, Col: t.Col, Severity: policy.SeverityWarning,
			Msg: fmt.Sprintf("%s has no owner: only administrators may give it", t.Name), Fix: `name somebody, for example "autogroup:admin"`,
		})
	}
}

// untested warns of rules that no test has anything to do with.
func (l *linter) untested() {
	tested := l.pol.Tested()
	if len(tested) == 0 {
		if len(l.rules) > 0 && l.rules[0].Text != "" {
			l.warn(l.rules[0], `write "tests"`, "no test depends on this rule, nor on any other")
		}
		return
	}
	for i, r := range l.rules {
		if !tested[i] && !l.dead[i] && r.Text != "" && len(r.IP) > 0 && len(r.IP[0]) > 0 {
			l.warn(r, "add a test that needs it", "no test depends on this rule")
		}
	}
}

// unmatched warns of rules without a source or a destination in the network.
func (l *linter) unmatched(n *Network) {
	if n.pol.Text() != l.pol.Text() {
		return
	}
	src, dst := make(map[int]bool), make(map[int]bool)
	for _, k := range n.classes {
		from, to := n.c.Involved(k)
		for _, i := range from {
			src[i] = true
		}
		for _, i := range to {
			dst[i] = true
		}
	}
	for i, r := range l.rules {
		switch {
		case l.dead[i]:
		case !src[i]:
			l.warn(r, "", "no device is among its sources, %s", list(r.Src, "none"))
		case !dst[i]:
			l.warn(r, "", "no device has or serves any of its destinations, %s", list(r.Dst, "none"))
		}
	}
}
