package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"

	"go4.org/netipx"

	"selvage"
	"selvage/internal/policy/source"
)

// selKind says what a selector selects by.
type selKind uint8

const (
	selNone     selKind = iota // nothing: a selector that was refused, or that can never match here
	selAny                     // *
	selDanger                  // autogroup:danger-all: every address there is
	selUser                    // name is a login, in lower case
	selDomain                  // user:*@name
	selGroup                   // name with "group:"
	selTag                     // name with "tag:"
	selMember                  // autogroup:member
	selTagged                  // autogroup:tagged
	selRole                    // name is the role
	selSelf                    // autogroup:self
	selInternet                // autogroup:internet
	selAddr                    // rng, written as lit; name is the host or IP set that it is of, if any
	selService                 // name with "svc:"
	selShared                  // autogroup:shared
)

// selector is one entry of a list of sources, destinations, targets or owners.
type selector struct {
	kind selKind
	name string
	rng  netipx.IPRange
	lit  string // of selAddr: what packet filters say
	off  int    // in the text
}

// text returns the selector as a policy writes it, for messages.
func (s selector) text() string {
	switch s.kind {
	case selAny:
		return "*"
	case selDanger:
		return "autogroup:danger-all"
	case selDomain:
		return "user:*@" + s.name
	case selMember:
		return "autogroup:member"
	case selTagged:
		return "autogroup:tagged"
	case selRole:
		return "autogroup:" + s.name
	case selSelf:
		return "autogroup:self"
	case selInternet:
		return "autogroup:internet"
	case selShared:
		return "autogroup:shared"
	case selAddr:
		return s.lit
	}
	return s.name
}

// byIdentity reports whether matching devices have their addresses written into
// filters, as opposed to the text of the selector.
func (s selector) byIdentity() bool {
	switch s.kind {
	case selUser, selDomain, selGroup, selTag, selMember, selTagged, selRole, selShared:
		return true
	}
	return false
}

// place is where a selector stands, which decides what it may be.
type place uint8

const (
	inSource place = iota
	inDest
	inTarget // nodeAttrs
	inOwner  // tagOwners, autoApprovers
	inSSHSource
	inSSHDest
	inTest
)

// autogroups are the names that the service knows, for suggestions.
var autogroups = []string{
	"autogroup:member", "autogroup:tagged", "autogroup:self", "autogroup:internet", "autogroup:danger-all",
	"autogroup:owner", "autogroup:admin", "autogroup:network-admin", "autogroup:it-admin",
	"autogroup:billing-admin", "autogroup:auditor", "autogroup:shared",
}

// selector reads one selector. what names the place in messages, such as "src=".
func (p *parser) selector(t source.Text, where place, what string) selector {
	s := selector{name: t.S, off: t.Off}
	p.budget--
	switch {
	case p.budget < 0:
		if p.budget == -1 {
			p.Errorf(t.Off, "use groups and tags", "more than %d selectors", maxSelectors)
		}
	case t.S == "":
		p.Errorf(t.Off, "name a user, group, tag, host or address", "%s%q is empty", what, t.S)
	case t.S == "*":
		s.kind = selAny
	case strings.HasPrefix(t.S, "autogroup:"):
		s = p.autogroup(s, where, what)
	case strings.HasPrefix(t.S, "group:"):
		s.kind = selGroup
		if p.groups[t.S] == nil {
			p.Errorf(t.Off, p.suggest(t.S, p.groupNames, "groups"), "%sgroup not found: %q", what, t.S)
		}
	case strings.HasPrefix(t.S, "tag:"):
		s.kind = selTag
		if !p.tags[t.S] {
			p.Errorf(t.Off, p.suggest(t.S, p.tagNames, "tagOwners"), "%stag not found: %q", what, t.S)
		}
	case strings.HasPrefix(t.S, "user:*@") && len(t.S) > len("user:*@"):
		s.kind, s.name = selDomain, strings.ToLower(t.S[len("user:*@"):])
	case strings.HasPrefix(t.S, "ipset:"):
		p.Errorf(t.Off, "", "%s%q is valid only as a source or destination of acls and grants", what, t.S)
	case strings.HasPrefix(t.S, "svc:"):
		s = p.service(s, where, what)
	default:
		s = p.named(s, where, what)
	}
	return s
}

func (p *parser) autogroup(s selector, where place, what string) selector {
	switch name := strings.TrimPrefix(s.name, "autogroup:"); name {
	case "member", "members":
		s.kind = selMember
	case "tagged":
		s.kind = selTagged
	case "self":
		s.kind = selSelf
		if where == inSource || where == inSSHSource {
			p.Errorf(s.off, "use autogroup:member", "%q not valid on the src side of a rule", s.name)
		} else if where != inDest && where != inSSHDest && where != inTest {
			p.Errorf(s.off, "", "%s%q has no meaning here", what, s.name)
		}
	case "internet":
		s.kind = selInternet
		if where != inDest && where != inTest {
			p.Errorf(s.off, "", "%s%q is valid only as a destination", what, s.name)
		}
	case "danger-all":
		s.kind = selDanger
		if where != inSource {
			p.Errorf(s.off, "", "%s%q is valid only as a source", what, s.name)
		}
	case "shared":
		s.kind = selShared
		p.Warnf(s.off, "", "%s%q selects nothing: this server has no shared devices", what, s.name)
	case "nonroot":
		p.Errorf(s.off, "", "%s%q is valid only in the users of ssh rules", what, s.name)
	default:
		role, err := selvage.ParseRole(name)
		if err != nil || role == selvage.RoleMember {
			p.Errorf(s.off, p.suggest(s.name, autogroups, ""), "%sunknown autogroup %q", what, s.name)
			return s
		}
		s.kind, s.name = selRole, name
	}
	return s
}

// named reads an address, a network, a range, a host of the policy or a login.
func (p *parser) named(s selector, where place, what string) selector {
	if h, ok := p.hosts[s.name]; ok {
		s.kind, s.rng, s.lit = selAddr, h.rng, rangeText(h.rng)
		p.notEverything(s, where)
		return s
	}
	if strings.Contains(s.name, "@") {
		if login := strings.ToLower(strings.TrimSuffix(s.name, "@")); validLogin(login) {
			s.kind, s.name = selUser, login
			return s
		}
		p.Errorf(s.off, "", "%s%q is not a login name", what, s.name)
		return s
	}
	rng, err := parseRange(s.name)
	switch {
	case err == nil:
		s.kind, s.rng, s.lit = selAddr, rng, rangeText(rng)
		p.notEverything(s, where)
	case !validLogin(strings.ToLower(s.name)) || !strings.ContainsFunc(s.name, unicode.IsLetter):
		p.Errorf(s.off, p.suggest(s.name, p.hostNames, ""), "%s%q: invalid address", what, s.name)
	default:
		s.kind, s.name = selUser, strings.ToLower(s.name)
		if n := p.nearest(s.name, p.hostNames); n != "" {
			p.Warnf(s.off, fmt.Sprintf("did you mean the host %q?", n), "%s%q is no host, so it is read as a user's login name", what, s.name)
		}
	}
	return s
}

// notEverything refuses a network of all addresses: it reads like the wildcard but
// would neither select the devices nor open the exit nodes.
func (p *parser) notEverything(s selector, where place) {
	if pfx, ok := s.rng.Prefix(); ok && pfx.Bits() == 0 {
		word := "src"
		if where != inSource {
			word = "dst"
		}
		p.Errorf(s.off, "", "%s %q: to allow all IP addresses, use \"*\" or \"autogroup:internet\"", word, s.name)
	}
}

// nearest is the function of that name, for the first few names only.
func (p *parser) nearest(name string, known []string) string {
	if p.suggestions++; p.suggestions > maxSuggestions {
		return ""
	}
	return source.Nearest(name, known)
}

// suggest says what was probably meant, or where the name must be defined.
func (p *parser) suggest(name string, known []string, section string) string {
	if n := p.nearest(name, known); n != "" {
		return fmt.Sprintf("did you mean %q?", n)
	}
	switch section {
	case "":
	case "groups":
		return fmt.Sprintf("add %q: [\"somebody@example.com\"] to %q", source.Clip(name), section)
	case "tagOwners":
		return fmt.Sprintf("add %q: [\"autogroup:admin\"] to %q", source.Clip(name), section)
	default:
		return fmt.Sprintf("define it in %q", section)
	}
	return ""
}

// parseRange reads "10.0.0.1", "10.0.0.0/8" or "10.0.0.1-10.0.0.9".
func parseRange(s string) (netipx.IPRange, error) {
	var none netipx.IPRange
	if strings.Contains(s, "%") {
		return none, fmt.Errorf("%q: an address with a zone", s)
	}
	if strings.Contains(s, "/") {
		pfx, err := netip.ParsePrefix(s)
		if err != nil {
			return none, err
		}
		if pfx.Addr().Is4In6() {
			return none, fmt.Errorf("%q: an IPv4 network written as IPv6", s)
		}
		return netipx.RangeOfPrefix(pfx.Masked()), nil
	}
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	a, err := netip.ParseAddr(from)
	if err != nil {
		return none, err
	}
	b, err := netip.ParseAddr(to)
	if err != nil {
		return none, err
	}
	rng := netipx.IPRangeFrom(a, b)
	if !rng.IsValid() {
		return none, fmt.Errorf("%q: the first address is above the last, or of another family", s)
	}
	if a.Is4In6() || b.Is4In6() {
		return none, fmt.Errorf("%q: an IPv4 address written as IPv6", s)
	}
	return rng, nil
}

// rangeText returns a range as packet filters write it: an address, a network, or
// first-last.
func rangeText(r netipx.IPRange) string {
	if r.From() == r.To() {
		return r.From().String()
	}
	if p, ok := r.Prefix(); ok {
		return p.String()
	}
	return r.From().String() + "-" + r.To().String()
}

// validLogin reports whether s, in lower case, can be a login name: printable,
// without the characters that the language uses itself.
func validLogin(s string) bool {
	if s == "" || strings.Count(s, "@") > 1 || strings.HasPrefix(s, "@") || strings.HasPrefix(s, "-") {
		return false
	}
	for _, c := range s {
		if c <= ' ' || c == 0x7f || strings.ContainsRune(`%*/:,;"'\()<>[]{}`, c) {
			return false
		}
	}
	return true
}
