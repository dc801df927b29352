package docs

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"selvage"
	"selvage/internal/api/admin"
)

// policyText is in force where a page has devices.
const policyText = `{
	"tagOwners": {"tag:server": ["autogroup:admin"]},
	"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}],
}`

// scenes is what pages take for granted before their first command.
var scenes = map[string]func(s *stage){
	"docs/first-device.md": func(s *stage) {
		s.people()
		s.join("laptop", "--user", "ann@example.com")
		s.join("db", "--tag", "tag:server")
	},
	"docs/cli.md": func(s *stage) { s.people() },
	"docs/keys.md": func(s *stage) {
		s.people()
		s.join("laptop", "--user", "ann@example.com")
		s.join("db")
	},
	"docs/users.md": func(s *stage) { s.people(); s.join("laptop", "--user", "ann@example.com") },
	"docs/dns.md":   func(s *stage) { s.join("laptop") },
	"docs/policy.md": func(s *stage) {
		s.people()
		s.join("laptop", "--user", "ann@example.com")
		s.join("db", "--tag", "tag:server")
	},
	"docs/break-glass.md": func(s *stage) {
		s.people()
		s.join("laptop")
		s.selvage("relay", "add", "berlin")
		s.selvage("backup", "selvage.tar.gz")
		s.selvage("user", "delete", "ann@example.com")
	},
	"docs/routes.md": func(s *stage) {
		s.people()
		s.offer(s.join("router"), append(selvage.ExitRoutes(), netip.MustParsePrefix("192.0.2.0/24"))...)
		s.join("db", "--tag", "tag:server")
	},
	"docs/relays.md": func(s *stage) { s.people(); s.join("laptop"); s.join("db") },
}

// policy puts a policy in force that opens everything.
func (s *stage) policy() {
	s.Helper()
	path := filepath.Join(s.dir, "scene.hujson")
	s.ok(os.WriteFile(path, []byte(policyText), 0o600))
	s.selvage("policy", "set", path)
}

// people makes a user beside the owner, and a policy.
func (s *stage) people() {
	s.Helper()
	s.policy()
	s.selvage("user", "create", "ann@example.com")
}

// placeholder is a part of a command that readers replace by something of theirs.
type placeholder struct {
	// in is what the command has to look like, if not any will do.
	in    *regexp.Regexp
	text  *regexp.Regexp
	value func(s *stage) string
}

func word(s string) *regexp.Regexp { return regexp.MustCompile(`\b` + regexp.QuoteMeta(s) + `\b`) }

func folder(s string) *regexp.Regexp {
	return regexp.MustCompile(regexp.QuoteMeta(s) + `\b`)
}

func under(sub string) func(*stage) string {
	return func(s *stage) string { return filepath.Join(s.dir, sub) }
}

// placeholders are all that pages use. A path of the system becomes one of the stage.
var placeholders = []placeholder{
	{nil, regexp.MustCompile(`https://vpn\.example\.com\b`), func(s *stage) string { return s.url }},
	{nil, folder("/var/lib/selvage"), under("data")},
	{nil, folder("/var/backups"), under("backups")},
	{nil, folder("/etc/selvage"), under("etc")},
	{nil, folder("/srv"), under("srv")},
	{nil, folder("/Applications/Tailscale.app/Contents/MacOS/Tailscale"), func(*stage) string { return "tailscale" }},
	{nil, word("CODE"), (*stage).code},
	{nil, regexp.MustCompile(`=KEY\b`), func(s *stage) string { return "=" + s.authKey() }},
	{word("SELVAGE_TOKEN"), word("TOKEN"), (*stage).token},
	{word("SELVAGE_RELAY_TOKEN"), word("TOKEN"), func(*stage) string { return "token" }},
	{word("key revoke"), word("ID"), func(s *stage) string { return strings.Split(s.authKey(), "-")[2] }},
	{word("token delete"), word("ID"), func(s *stage) string { return strings.Split(s.token(), "-")[2] }},
	{word("age"), word("RECIPIENT"), func(*stage) string { return "recipient" }},
	{word("restore"), word("PASSWORD"), func(*stage) string { return "password" }},
}

// somebody returns the login of a user who may have keys: a page may have suspended the
// owner.
func (s *stage) somebody() string {
	s.Helper()
	var users []admin.User
	s.ok(json.Unmarshal([]byte(s.selvage("user", "list", "--json")), &users))
	for _, u := range users {
		if !u.Suspended {
			return u.Login
		}
	}
	s.Fatal("all users are suspended")
	return ""
}

func (s *stage) authKey() string { return s.selvage("key", "create", "--user", s.somebody()) }

func (s *stage) token() string { return s.selvage("token", "create", "--user", s.somebody()) }

// skipped are blocks that are not run, by a part of them, with the reason.
var skipped = map[string]string{
	"mv /var/lib/selvage/*": "it moves the data folder away from below a running server; the query in it has a test of its own",
	"chown -R --reference":  "it restores in the place of the running server",
	".recover":              "it repairs a database with another program",
}

// fill puts values in the place of placeholders.
func (s *stage) fill(command string) string {
	s.Helper()
	var lines []string
	for _, line := range strings.Split(command, "\n") {
		for _, p := range placeholders {
			if (p.in == nil || p.in.MatchString(line)) && p.text.MatchString(line) {
				line = p.text.ReplaceAllLiteralString(line, p.value(s))
			}
		}
		if m := regexp.MustCompile(`\b(ID|KEY|TOKEN|CODE|NAME|URL|FILE|PASSWORD)\b(?:[^=]|$)`).FindString(line); m != "" {
			s.Errorf("the command %q has %s in it, which is no placeholder that this test knows", line, m)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// outside finds paths of the machine in a command that is really run.
var outside = regexp.MustCompile(`(?:^|[\s=>"'])(/[\w.][^\s"']*)`)

// safe checks that a command touches nothing but the stage.
func (s *stage) safe(command string) bool {
	s.Helper()
	for _, line := range strings.Split(command, "\n") {
		words := strings.Fields(strings.TrimPrefix(line, "sudo "))
		if len(words) > 0 && others[words[0]] != "" {
			if _, redirected, ok := strings.Cut(line, ">"); !ok || !strings.HasPrefix(strings.TrimSpace(redirected), "/") {
				continue
			}
		}
		for _, m := range outside.FindAllStringSubmatch(line, -1) {
			if !strings.HasPrefix(m[1], s.dir) && !strings.Contains(line, "tee "+m[1]) {
				s.Errorf("the command %q would touch %s, which is outside of the test", line, m[1])
				return false
			}
		}
	}
	return true
}

// TestCommands types what the pages tell people to type, page by page.
func TestCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers and devices: not with -short")
	}
	if _, err := os.Stat("/bin/bash"); err != nil {
		t.Skip("no bash on this machine, which is the shell of the pages")
	}
	used := map[string]bool{}
	for _, p := range pages(t) {
		if !slices.ContainsFunc(p.blocks, func(b block) bool { return b.lang == "sh" || b.lang == "console" }) {
			if scenes[p.path] != nil {
				t.Errorf("%s has a scene and no commands", p.path)
			}
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(p.path), ".md"), func(t *testing.T) {
			s := newStage(t)
			if scene := scenes[p.path]; scene != nil {
				scene(s)
			}
			s.configurations(p)
			for _, b := range p.blocks {
				if part := skip(b.text); part != "" {
					used[part] = true
				} else if b.lang == "sh" {
					s.script(p, b)
				} else if b.lang == "console" {
					s.transcript(p, b)
				}
			}
		})
	}
	for part := range skipped {
		if !used[part] && !t.Failed() && t.Name() == "TestCommands" && !filtered() {
			t.Errorf("no block has %q, which is to be skipped", part)
		}
	}
}

// filtered reports whether only some pages are run.
func filtered() bool {
	return slices.ContainsFunc(os.Args, func(a string) bool { return strings.Contains(a, "test.run") && strings.Contains(a, "/") })
}

// skip returns the reason's key if the block is not to be run.
func skip(text string) string {
	for part := range skipped {
		if strings.Contains(text, part) {
			return part
		}
	}
	return ""
}

// configurations writes the first configuration of the page to where pages say it is.
func (s *stage) configurations(p *page) {
	s.Helper()
	for _, b := range p.blocks {
		if b.lang == "yaml" && b.about == "" {
			s.ok(os.WriteFile(filepath.Join(s.dir, "etc", "selvage.yaml"), []byte(b.text), 0o600))
			return
		}
	}
}

// script runs a block of commands; it ends at the first that fails.
func (s *stage) script(p *page, b block) {
	s.Helper()
	command := s.fill(b.text)
	if !s.safe(command) {
		return
	}
	if out, err := s.bash(command, "-e", "-x"); err != nil {
		s.Errorf("%s:%d: %v\n%s", p.path, b.line, err, out)
	}
}

// transcript runs each command of a block and compares what it prints.
func (s *stage) transcript(p *page, b block) {
	s.Helper()
	for _, part := range strings.Split("\n"+b.text, "\n$ ")[1:] {
		command, want, _ := strings.Cut(part, "\n")
		command = s.fill(command)
		if !s.safe(command) {
			continue
		}
		out, err := s.bash(command)
		if err != nil && !strings.Contains(want, "selvage: ") {
			s.Errorf("%s:%d: $ %s\n%v\n%s", p.path, b.line, command, err, out)
			continue
		}
		out = strings.ReplaceAll(out, s.url, "https://vpn.example.com")
		out = strings.ReplaceAll(out, filepath.Join(s.dir, "srv"), "/srv")
		if !printed(want).MatchString(strings.TrimSpace(out) + "\n") {
			s.Errorf("%s:%d: $ %s\nit prints:\n%s\nthe page says:\n%s", p.path, b.line, command, out, want)
		}
	}
}

var blanks = regexp.MustCompile(` +`)

// printed returns the pattern of what a page says that a command prints.
func printed(want string) *regexp.Regexp {
	pattern := `^`
	for _, line := range strings.Split(strings.TrimSpace(want), "\n") {
		if strings.TrimSpace(line) == "…" {
			pattern += `(?:.*\n)*?`
			continue
		}
		var parts []string
		for _, part := range strings.Split(line, "…") {
			parts = append(parts, blanks.ReplaceAllString(regexp.QuoteMeta(part), ` +`))
		}
		pattern += strings.Join(parts, `.*?`) + ` *\n`
	}
	return regexp.MustCompile(pattern + `$`)
}

// TestPrinted checks the comparison itself.
func TestPrinted(t *testing.T) {
	for _, c := range []struct {
		name, want, out string
		match           bool
	}{
		{"equal", "a b\nc", "a b\nc\n", true},
		{"other columns", "a  b", "a      b\n", true},
		{"other word", "a b", "a c\n", false},
		{"part of a line", "key …;", "key 12 34;\n", true},
		{"some lines", "a\n…\nd", "a\nb\nc\nd\n", true},
		{"no lines", "a\n…\nd", "a\nd\n", true},
		{"one line more", "a", "a\nb\n", false},
		{"one line less", "a\nb", "a\n", false},
		{"dots are dots", "a.b", "axb\n", false},
	} {
		if got := printed(c.want).MatchString(c.out); got != c.match {
			t.Errorf("%s: %v, want %v", c.name, got, c.match)
		}
	}
}
