package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tailscale/hujson"
)

// Limits of check periods, as the service has them.
const (
	// DefaultCheckPeriod is how long a proof of identity holds if a rule does not say.
	DefaultCheckPeriod = 12 * time.Hour
	maxCheckPeriod     = 168 * time.Hour
)

// sshRule is an entry of ssh.
type sshRule struct {
	off    int
	end    int // where its text ends
	index  int // in the section
	check  bool
	period time.Duration // of check; 0 asks each time
	src    []selector
	dst    []selector
	users  []string // the local users, without localpart:*@ forms
	// domains are those of localpart:*@domain: people who have a login there may
	// be the local user of the part before the @.
	domains  []string
	partOffs []int // where in the text each of domains is
	env      []string
	posture  []*postureDef // one must hold for a source
	recorder []selector    // tags of those who record the session
	enforce  bool          // no session without a recording
}

const (
	nonroot   = "autogroup:nonroot"
	localpart = "localpart:*@"
)

func (p *parser) readSSH(v *hujson.Value, pol *Policy) {
	els := p.Elements(v, "ssh")
	if len(els) > maxSSHRules {
		p.Errorf(v.StartOffset, "", "%d ssh rules; at most %d are allowed", len(els), maxSSHRules)
		return
	}
	for i := range els {
		ru := p.sshRule(&els[i], fmt.Sprintf("ssh[%d]", i))
		ru.index, ru.end = i, els[i].EndOffset
		pol.ssh = append(pol.ssh, ru)
	}
}

func (p *parser) sshRule(v *hujson.Value, what string) sshRule {
	f := p.Fields(v, what, "action", "src", "dst", "users", "checkPeriod", "acceptEnv", "srcPosture", "recorder", "enforceRecorder")
	ru := sshRule{off: v.StartOffset}
	ru.posture = p.postureRefs(f["srcPosture"], "srcPosture")
	p.recorders(f["recorder"], f["enforceRecorder"], what, &ru)
	action, _ := p.Text(f["action"], "action")
	switch action.S {
	case "accept":
	case "check":
		ru.check = true
	case "":
		p.Errorf(v.StartOffset, `write "accept" or "check"`, "%s: action must be specified", what)
	default:
		p.Errorf(action.Off, `write "accept" or "check"`, "%s: %q is not a valid action", what, action.S)
	}
	ru.period = p.checkPeriod(f["checkPeriod"], what)
	for _, t := range p.Texts(f["src"], "src") {
		s := p.selector(t, inSSHSource, "src=")
		if s.kind == selAny || s.kind == selAddr {
			p.Errorf(t.Off, "name users, groups, autogroups or tags", "%s: invalid src %q", what, t.S)
		}
		ru.src = append(ru.src, s)
	}
	for _, t := range p.Texts(f["dst"], "dst") {
		s := p.selector(t, inSSHDest, fmt.Sprintf("dst=%q: ", t.S))
		if s.kind == selAny || s.kind == selAddr || s.kind == selGroup {
			p.Errorf(t.Off, "name users, tags or autogroup:self", "%s: invalid dst %q", what, t.S)
		}
		ru.dst = append(ru.dst, s)
	}
	p.sshUsers(f["users"], v.StartOffset, what, &ru)
	for _, t := range p.Texts(f["acceptEnv"], "acceptEnv") {
		if t.S == "" {
			p.Errorf(t.Off, "take it out", "%s: acceptEnv values cannot be empty", what)
		}
		ru.env = append(ru.env, t.S)
	}
	return ru
}

func (p *parser) checkPeriod(v *hujson.Value, what string) time.Duration {
	t, _ := p.Text(v, "checkPeriod")
	switch t.S {
	case "":
		return DefaultCheckPeriod
	case "always":
		return 0
	}
	d, err := time.ParseDuration(t.S)
	switch {
	case err != nil:
		p.Errorf(t.Off, `write for example "12h", or "always"`, "%s: %v", what, err)
	case d <= 0:
		p.Errorf(t.Off, `write "always" to ask each time`, "%s: checkPeriod %v must be a positive duration", what, d)
	case d > maxCheckPeriod:
		p.Errorf(t.Off, "", "%s: checkPeriod %v is above the max (168h)", what, d)
	}
	return d
}

func (p *parser) sshUsers(v *hujson.Value, off int, what string, ru *sshRule) {
	users := p.Texts(v, "users")
	if len(users) == 0 {
		p.Errorf(off, `for example "users": ["autogroup:nonroot"]`, "%s: users must be specified", what)
	}
	for _, t := range users {
		domain, isPart := strings.CutPrefix(t.S, localpart)
		switch {
		case t.S == "" || t.S == "*":
			p.Errorf(t.Off, "name local users or autogroup:nonroot", "%s: user %q is not valid", what, t.S)
		case isPart && strings.ContainsAny(domain, "*@"):
			p.Errorf(t.Off, "", "%s: %s is not associated with this Tailnet and cannot be used in user:*@<domain> expressions", what, domain)
		case isPart && domain != "":
			ru.domains, ru.partOffs = append(ru.domains, strings.ToLower(domain)), append(ru.partOffs, t.Off)
		default:
			if t.S != nonroot && strings.Contains(t.S, ":") {
				p.Warnf(t.Off, "", "%s: %q is taken as the name of a local user", what, t.S)
			}
			ru.users = append(ru.users, t.S)
		}
	}
}

// localUsers returns what clients get as the local users of a rule: "=" is the same
// name, "" is not allowed. root needs to be named.
func (ru *sshRule) localUsers() map[string]string {
	m := map[string]string{"root": ""}
	for _, u := range ru.users {
		if u == nonroot {
			m["*"] = "="
		} else {
			m[u] = u
		}
	}
	return m
}

// admits reports whether a person with the login, or "" for a tagged device, may be
// the local user by this rule.
func (ru *sshRule) admits(login, local string) bool {
	if slices.Contains(ru.users, local) || local != "root" && slices.Contains(ru.users, nonroot) {
		return true
	}
	part, ok := ru.localPart(login)
	return ok && part == local
}

// localPart returns the local user that a login stands for by localpart:*@domain.
// It is never root: who chooses logins would otherwise choose who is root.
func (ru *sshRule) localPart(login string) (string, bool) {
	part, domain, ok := strings.Cut(login, "@")
	return part, ok && part != "root" && slices.Contains(ru.domains, domain)
}
