package policy

import (
	"fmt"
	"strings"

	"github.com/tailscale/hujson"

	"selvage/internal/policy/source"
)

// sshTest is an entry of sshTests: as whom a source may and may not log in.
type sshTest struct {
	off                 int
	src                 selector
	dst                 []selector
	accept, check, deny []source.Text
	attrs               map[string]any
}

func (p *parser) readSSHTests(v *hujson.Value, pol *Policy) {
	els := p.Elements(v, "sshTests")
	if len(els) > maxTests {
		p.Errorf(v.StartOffset, "", "%d SSH tests; at most %d are allowed", len(els), maxTests)
		return
	}
	for i := range els {
		pol.sshTests = append(pol.sshTests, p.readSSHTest(&els[i], fmt.Sprintf("sshTests[%d]", i)))
	}
}

func (p *parser) readSSHTest(v *hujson.Value, what string) sshTest {
	f := p.Fields(v, what, "src", "dst", "accept", "check", "deny", "srcPostureAttrs")
	t := sshTest{off: v.StartOffset, attrs: p.testAttrs(f["srcPostureAttrs"])}
	src, _ := p.Text(f["src"], "src")
	if src.Off < 0 {
		p.Errorf(v.StartOffset, `name one, for example "src": "alice@example.com"`, "%s%s: no src", testsFailed, what)
		return t
	}
	t.src = p.selector(src, inTest, testsFailed+"src=")
	for _, d := range p.Texts(f["dst"], "dst") {
		if strings.HasPrefix(d.S, "tag:") && !p.tags[d.S] {
			p.Errorf(d.Off, p.suggest(d.S, p.tagNames, "tagOwners"), "SSH tests dst contains unknown tag %q", d.S)
			continue
		}
		s := p.selector(d, inTest, testsFailed+"dst: ")
		if s.kind == selAddr {
			if _, named := p.hosts[d.S]; !named {
				p.Errorf(d.Off, "name a tag, a user or a host", "%sdst %q is an address", testsFailed, d.S)
			} else {
				p.Warnf(d.Off, "name a tag or user as well", "the SSH test of %q is not run: it depends on whose device has that address", d.S)
			}
			continue
		}
		t.dst = append(t.dst, s)
	}
	t.accept, t.check, t.deny = p.Texts(f["accept"], "accept"), p.Texts(f["check"], "check"), p.Texts(f["deny"], "deny")
	if len(t.accept)+len(t.check)+len(t.deny) == 0 {
		p.Errorf(v.StartOffset, "say which local users", "%s%s: neither accept, check nor deny", testsFailed, what)
	}
	return t
}

// runSSH runs an SSH test and records the claims that do not hold.
func (t *tester) runSSH(st sshTest) {
	srcs := t.examples(st.src)
	if len(srcs) == 0 {
		t.Errorf(st.off, "", "%s%s selects nobody", testsFailed, st.src.text())
	}
	claims := len(st.accept) + len(st.check) + len(st.deny)
	for _, src := range srcs {
		src.Attrs = st.attrs
		for _, s := range st.dst {
			for _, dst := range t.destinations(s, src) {
				if !t.spend(st.off, claims*(len(t.ssh)+1)) {
					return
				}
				t.sshClaims(st, s, src, dst)
			}
		}
	}
}

func (t *tester) sshClaims(st sshTest, s selector, src, dst Device) {
	for _, claim := range []struct {
		users []source.Text
		must  string
		holds func(SSHVerdict) bool
	}{
		{st.accept, "must log in to", func(v SSHVerdict) bool { return v.Allowed && !v.Check }},
		{st.check, "must log in, with a check, to", func(v SSHVerdict) bool { return v.Allowed && v.Check }},
		{st.deny, "must not log in to", func(v SSHVerdict) bool { return !v.Allowed }},
	} {
		for _, u := range claim.users {
			if !claim.holds(t.SSHLogin(src, dst, u.S)) {
				t.Errorf(u.Off, "", "%s%s %s %s as %s, and that does not hold", testsFailed, st.src.text(), claim.must, s.text(), u.S)
			}
		}
	}
}
