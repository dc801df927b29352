package policy

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
	"go4.org/netipx"

	"selvage/internal/policy/source"
)

// Diagnostic is one thing to say about a place in the text.
type Diagnostic = source.Diagnostic

// Severity says whether a diagnostic refuses the policy.
type Severity = source.Severity

// The severities.
const (
	SeverityError   = source.SeverityError
	SeverityWarning = source.SeverityWarning
)

// Error says why a policy is refused. It holds at least one diagnostic of
// SeverityError, in the order of the text, and is safe to show.
type Error = source.Error

// Policy is a policy file that was read and checked. It is immutable.
type Policy struct {
	text     string
	warnings []Diagnostic
	src      *source.Reader

	groups   map[string]*group
	owners   map[string][]selector // by tag
	tagOffs  map[string]int        // where in the text each tag is
	tests    []test
	rules    []rule // grants, then acls: the order in which filters are written
	approve  []approver
	exit     []selector // who may serve exit routes without being asked
	attrs    []attrRule
	ssh      []sshRule
	sshTests []sshTest
	postures map[string]*postureDef
	set      settings

	approveServices map[string][]selector // by service
}

// group is a named set of people.
type group struct {
	name   string
	logins []string // in lower case
}

// host is a named address, network or range.
type host struct {
	rng netipx.IPRange
}

// parser holds what is needed while a text is read.
type parser struct {
	*source.Reader
	budget int // selectors that may still be read
	// postureWork and rangeWork count against maxPostureWork and maxRangeWork.
	postureWork, rangeWork int
	groups                 map[string]*group
	hosts                  map[string]host
	tags                   map[string]bool
	ipsets                 map[string]*ipset

	postures       map[string]*postureDef
	defaultPosture []*postureDef // of rules that name none

	hostNames, groupNames, tagNames, ipsetNames, postureNames []string // sorted; for suggestions

	suggestions int // how many were looked for
}

// sections are the names of the sections of a policy file.
var sections = []string{
	"groups", "tagOwners", "hosts", "acls", "grants", "tests", "ssh", "sshTests",
	"autoApprovers", "nodeAttrs", "postures", "defaultSrcPosture", "ipsets",
	"randomizeClientPort", "disableIPv4", "oneCGNATRoute", "derpMap", "apps", "$schema",
}

// Parse reads a policy file and checks it, its tests included. An error is an
// *Error. It takes bounded time and memory for any text.
func Parse(policy string) (*Policy, error) {
	if len(policy) > source.MaxText {
		return nil, &Error{Diagnostics: []Diagnostic{{
			Severity: SeverityError,
			Msg:      fmt.Sprintf("the text has %d bytes; at most %d are allowed", len(policy), source.MaxText),
			Fix:      "use groups and tags",
		}}}
	}
	p := &parser{
		Reader: source.New([]byte(policy)),
		budget: maxSelectors,
		groups: make(map[string]*group),
		hosts:  make(map[string]host),
		tags:   make(map[string]bool),
		ipsets: make(map[string]*ipset),

		postures: make(map[string]*postureDef),
	}
	pol := &Policy{text: policy, src: p.Reader, groups: p.groups, postures: p.postures}
	if root, ok := p.Root(); ok {
		p.policy(root, pol)
	}
	if len(p.Errs) == 0 {
		p.runTests(pol)
	}
	if len(p.Errs) > 0 {
		ds := append(p.Errs, p.Warns...)
		source.SortDiagnostics(ds)
		return nil, &Error{Diagnostics: ds}
	}
	source.SortDiagnostics(p.Warns)
	pol.warnings = p.Warns
	return pol, nil
}

// Text returns the text that was parsed.
func (pol *Policy) Text() string { return pol.text }

// Warnings returns what is odd about the policy but does not refuse it, in the
// order of the text.
func (pol *Policy) Warnings() []Diagnostic { return slices.Clone(pol.warnings) }

// HasTag reports whether the policy defines the tag ("tag:name"), in tagOwners.
func (pol *Policy) HasTag(tag string) bool { _, ok := pol.owners[tag]; return ok }

// Tags returns the tags that the policy defines, sorted.
func (pol *Policy) Tags() []string { return slices.Sorted(maps.Keys(pol.owners)) }

// line returns the line, from 1, of an offset in the text.
func (pol *Policy) line(off int) int {
	line, _ := pol.src.At(off)
	return line
}

// policy reads the sections in the order in which they refer to one another.
func (p *parser) policy(root *hujson.Value, pol *Policy) {
	f := p.Fields(root, "the policy", sections...)
	p.readHosts(f["hosts"])
	p.readGroups(f["groups"])
	p.hostNames, p.groupNames = slices.Sorted(maps.Keys(p.hosts)), slices.Sorted(maps.Keys(p.groups))
	p.readTagOwners(f["tagOwners"], pol)
	p.readIPSets(f["ipsets"])
	p.readPostures(f["postures"])
	p.defaultPosture = p.postureRefs(f["defaultSrcPosture"], "defaultSrcPosture")
	p.refuseApps(f["apps"])
	pol.rules = append(p.grants(f["grants"]), p.acls(f["acls"])...)
	if len(pol.rules) > maxRules {
		p.Errorf(root.StartOffset, "", "%d rules; at most %d are allowed", len(pol.rules), maxRules)
	}
	if f["acls"] == nil && f["grants"] == nil {
		p.Warnf(root.StartOffset, `write "grants": [] to open nothing`, "without acls and grants, every device may reach every other")
		pol.rules = []rule{openRule(root.StartOffset)}
		pol.rules[0].posture = p.defaultPosture
	}
	p.readApprovers(f["autoApprovers"], pol)
	p.readNodeAttrs(f["nodeAttrs"], pol)
	p.readSettings(f, pol)
	p.readSSH(f["ssh"], pol)
	p.readTests(f["tests"], pol)
	p.readSSHTests(f["sshTests"], pol)
	p.checkWork(pol)
}

// openRule is what a policy without any rules means.
func openRule(off int) rule {
	return rule{
		off: off, grant: true,
		src:   []selector{{kind: selAny, name: "*"}},
		dst:   []target{{sel: selector{kind: selAny, name: "*"}, ports: everyPort}},
		protc: [][]int{nil},
	}
}

var validHost = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

func (p *parser) readHosts(v *hujson.Value) {
	if v == nil {
		return
	}
	ms := p.Members(v, "hosts")
	if len(ms) > maxHosts {
		p.Errorf(v.StartOffset, "", "%d hosts; at most %d are allowed", len(ms), maxHosts)
		return
	}
	for _, m := range ms {
		t, ok := p.Text(m.Val, fmt.Sprintf("hosts[%q]", source.Clip(m.Name.S)))
		if !ok {
			continue
		}
		rng, err := parseRange(t.S)
		switch {
		case !validHost.MatchString(m.Name.S) || len(m.Name.S) > source.MaxName:
			p.Errorf(m.Name.Off, "use letters, digits, dots, dashes and underscores", "hosts[%q]: not a name", source.Clip(m.Name.S))
		case isAddress(m.Name.S):
			p.Errorf(m.Name.Off, "choose a name", "hosts[%q]: an address cannot be a name", m.Name.S)
		case err != nil:
			p.Errorf(t.Off, `write an address, a network such as "10.0.0.0/8" or a range`, "hosts[%q]: %q: invalid address", m.Name.S, t.S)
		default:
			p.hosts[m.Name.S] = host{rng}
		}
	}
}

func isAddress(s string) bool { _, err := parseRange(s); return err == nil }

func (p *parser) readGroups(v *hujson.Value) {
	if v == nil {
		return
	}
	ms := p.Members(v, "groups")
	if len(ms) > maxGroups {
		p.Errorf(v.StartOffset, "", "%d groups; at most %d are allowed", len(ms), maxGroups)
		return
	}
	total := 0
	for _, m := range ms {
		what := fmt.Sprintf("groups[%q]", source.Clip(m.Name.S))
		if !strings.HasPrefix(m.Name.S, "group:") || m.Name.S == "group:" || len(m.Name.S) > source.MaxName {
			p.Errorf(m.Name.Off, fmt.Sprintf("write %q", "group:"+source.Clip(m.Name.S)), "%s: group names must start with 'group:'", what)
			continue
		}
		g := &group{name: m.Name.S}
		for _, t := range p.Texts(m.Val, what) {
			if total++; total > maxMembers {
				p.Errorf(t.Off, "", "groups have more than %d members together", maxMembers)
				return
			}
			p.groupMember(g, t, what)
		}
		p.groups[g.name] = g
	}
}

func (p *parser) groupMember(g *group, t source.Text, what string) {
	login := strings.ToLower(strings.TrimSuffix(t.S, "@"))
	switch {
	case strings.HasPrefix(t.S, "group:"):
		p.Errorf(t.Off, "list the people of both", "%s: %q: group members cannot be recursive", what, t.S)
	case strings.Contains(t.S, ":"):
		p.Errorf(t.Off, "groups hold people; name tags beside the group in the rule", "%s: %q is not a login name", what, t.S)
	case !validLogin(login):
		p.Errorf(t.Off, "", "%s: %q is not a login name", what, t.S)
	default:
		g.logins = append(g.logins, login)
	}
}

var validTag = regexp.MustCompile(`^tag:[A-Za-z][A-Za-z0-9-]*$`)

func (p *parser) readTagOwners(v *hujson.Value, pol *Policy) {
	pol.owners, pol.tagOffs = make(map[string][]selector), make(map[string]int)
	if v == nil {
		return
	}
	ms := p.Members(v, "tagOwners")
	if len(ms) > maxTags {
		p.Errorf(v.StartOffset, "", "%d tags; at most %d are allowed", len(ms), maxTags)
		return
	}
	for _, m := range ms { // first all names, since tags own tags
		p.tags[m.Name.S] = true
	}
	p.tagNames = slices.Sorted(maps.Keys(p.tags))
	for _, m := range ms {
		name := m.Name.S
		what := fmt.Sprintf("tagOwners[%q]", source.Clip(name))
		switch {
		case !strings.HasPrefix(name, "tag:"):
			p.Errorf(m.Name.Off, fmt.Sprintf("write %q", "tag:"+source.Clip(name)), "%s: tag names must start with 'tag:'", what)
		case len(name) > len("tag:") && !isLetter(name[len("tag:")]) || name == "tag:":
			p.Errorf(m.Name.Off, "", "%s: tag names must start with a letter, after 'tag:'", what)
		case !validTag.MatchString(name) || len(name) > source.MaxName:
			p.Errorf(m.Name.Off, "", "%s: tag names have letters, digits and dashes after 'tag:'", what)
		}
		pol.owners[name], pol.tagOffs[name] = p.ownerList(m.Val, what), m.Name.Off
	}
}

func isLetter(b byte) bool { b |= 0x20; return b >= 'a' && b <= 'z' }

// ownerList reads people and tags that may do something.
func (p *parser) ownerList(v *hujson.Value, what string) []selector {
	var out []selector
	for _, t := range p.Texts(v, what) {
		s := p.selector(t, inOwner, what+": ")
		switch s.kind {
		case selAny, selAddr, selTagged:
			p.Errorf(t.Off, "name users, groups, roles or tags", "%s: %q cannot be an owner", what, t.S)
			continue
		}
		out = append(out, s)
	}
	return out
}

// checkWork refuses a policy that would take too long to compile: many rules that
// each name big groups.
func (p *parser) checkWork(pol *Policy) {
	work := 0
	for _, ru := range pol.rules {
		for _, s := range ru.src {
			work += p.weight(s)
		}
		for _, t := range ru.dst {
			work += p.weight(t.sel)
		}
		if work > maxWork {
			p.Errorf(ru.off, "use fewer or smaller groups", "rules and groups together are too large to compile")
			return
		}
	}
}

func (p *parser) weight(s selector) int {
	if g := p.groups[s.name]; g != nil && s.kind == selGroup {
		return 1 + len(g.logins)
	}
	return 1
}
