package policy

import (
	"slices"
	"strings"

	"selvage/internal/policy/source"
)

// sharedDomains are the domains of logins that belong to no tailnet.
var sharedDomains = []string{"passkey", "github"}

// CheckDomains refuses user:*@domain and localpart:*@domain for domains other than
// owned, those of the tailnet's own mail addresses. A server whose tailnets own no
// domains has no use for it: there such selectors name whoever has such a login. An
// error is an *Error.
func (pol *Policy) CheckDomains(owned ...string) error {
	r := pol.src.Fresh()
	check := func(section, domain string, off int) {
		own := func(d string) bool { return strings.EqualFold(d, domain) }
		if !slices.ContainsFunc(owned, own) && !slices.ContainsFunc(sharedDomains, own) {
			r.Errorf(off, "name a group", "[%s] %s is not associated with this Tailnet and cannot be used in user:*@<domain> expressions", section, domain)
		}
	}
	all := func(section string, sels []selector) {
		for _, s := range sels {
			if s.kind == selDomain {
				check(section, s.name, s.off)
			}
		}
	}
	for _, ru := range pol.rules {
		all(ru.section(), ru.src)
		for _, t := range ru.dst {
			all(ru.section(), []selector{t.sel})
		}
	}
	for _, ru := range pol.ssh {
		all("ssh", ru.src)
		all("ssh", ru.dst)
		for i, d := range ru.domains {
			check("ssh", d, ru.partOffs[i])
		}
	}
	if len(r.Errs) > 0 {
		source.SortDiagnostics(r.Errs)
		return &Error{Diagnostics: r.Errs}
	}
	return nil
}

// section returns the name of the section that the rule stands in.
func (ru *rule) section() string {
	if ru.grant {
		return "grants"
	}
	return "acls"
}
