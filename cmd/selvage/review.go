package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"selvage"
	"selvage/internal/api/admin"
	"selvage/internal/policy"
	"selvage/internal/policy/review"
)

// targetHelp explains what commands take that ask about a port.
const targetHelp = "A target is NAME:PORT or NAME:PORT/PROTOCOL, such as web:443, [fd7a::1]:53/udp or web/icmp.\nNames are those of devices; logins, tags and addresses will do, too."

func policyDiffCommand() *command {
	return &command{
		name: "diff", args: "FILE|-", least: 1, most: 1, short: "Say what a policy would change, before it is set.",
		long:     "Which people and devices gain (+) and lose (-) which ports, SSH logins and attributes,\nand how many devices would get a message. Nothing is changed.",
		examples: []string{"policy diff policy.hujson", "policy diff --markdown policy.hujson > comment.md"},
		complete: []completion{completeFile},
		setup: func(fs *flag.FlagSet) runFunc {
			markdown := fs.Bool("markdown", false, "print a table for a pull request")
			return func(ctx context.Context, sh *shell, args []string) error {
				return diffPolicy(ctx, sh, args[0], *markdown)
			}
		},
	}
}

func diffPolicy(ctx context.Context, sh *shell, name string, markdown bool) error {
	text, err := sh.readInput(name, maxPolicy)
	if err != nil {
		return err
	}
	d, err := post[review.Diff](ctx, sh, "/policy/diff", admin.PolicyText{Text: text})
	var refused *refusal
	if errors.As(err, &refused) && len(refused.problems) > 0 {
		sh.tell(name, text, refused.problems)
		return selvage.Errorf(selvage.KindInvalid, "the policy %s would be refused: %s", name, count(refused.problems))
	}
	if err != nil {
		return err
	}
	return sh.show(d, func(w io.Writer) error {
		if markdown {
			return lines(w, d.Markdown())
		}
		return lines(w, d.Text())
	})
}

// lines prints text of several lines, whatever is in the names in it.
func lines(w io.Writer, text string) error {
	for line := range strings.Lines(text) {
		if _, err := fmt.Fprintln(w, printable(strings.TrimSuffix(line, "\n"))); err != nil {
			return err
		}
	}
	return nil
}

func policyExplainCommand() *command {
	return &command{
		name: "explain", short: "Say whether the policy lets somebody reach something, and why.",
		long:     "It names the rule and its line, or the rule that comes closest and what it lacks, and\nwhat else matters: expiry, approval, posture, routes, relays.\n" + targetHelp,
		examples: []string{"policy explain --from ann@example.com --to web:443", "policy explain --from laptop --to 192.168.1.9:631/tcp --json"},
		values:   map[string]completion{"from": completeNode, "to": completeNode},
		setup: func(fs *flag.FlagSet) runFunc {
			from := fs.String("from", "", "who sends: a `name` of a device, a login, a tag or an address")
			to := fs.String("to", "", "what is to be reached, as `NAME:PORT[/PROTOCOL]`")
			return func(ctx context.Context, sh *shell, _ []string) error {
				if *from == "" || *to == "" {
					return usagef("policy explain needs --from and --to, such as --from laptop --to web:443")
				}
				if _, _, _, err := review.ParseTarget(*to); err != nil {
					return err
				}
				a, err := get[review.Answer](ctx, sh, "/policy/explain", url.Values{"from": {*from}, "to": {*to}})
				if err != nil {
					return err
				}
				return sh.show(a, func(w io.Writer) error { return lines(w, a.Text()) })
			}
		},
	}
}

func policyWhoCommand() *command {
	return &command{
		name: "who", args: "NAME:PORT[/PROTOCOL]", least: 1, most: 1, short: "List who may reach a port of a device.",
		long:     targetHelp,
		examples: []string{"policy who db:5432", "policy who 192.168.1.9:631 --json"},
		complete: []completion{completeNode},
		setup: func(*flag.FlagSet) runFunc {
			return func(ctx context.Context, sh *shell, args []string) error {
				if _, _, _, err := review.ParseTarget(args[0]); err != nil {
					return err
				}
				list, err := get[[]review.Reached](ctx, sh, "/policy/who", url.Values{"to": {args[0]}})
				if err != nil {
					return err
				}
				return sh.showReached(list, "Nobody may reach "+args[0]+".")
			}
		},
	}
}

func policyReachCommand() *command {
	return &command{
		name: "reach", args: "USER|NODE", least: 1, most: 1, short: "List what a person, tag or device may reach.",
		examples: []string{"policy reach ann@example.com", "policy reach laptop --json"},
		complete: []completion{completeNode},
		setup: func(*flag.FlagSet) runFunc {
			return func(ctx context.Context, sh *shell, args []string) error {
				list, err := get[[]review.Reached](ctx, sh, in("policy", "reach", args[0]), nil)
				if err != nil {
					return err
				}
				return sh.showReached(list, args[0]+" may reach nothing.")
			}
		},
	}
}

func (sh *shell) showReached(list []review.Reached, none string) error {
	return sh.show(list, func(w io.Writer) error {
		if len(list) == 0 {
			return lines(w, none)
		}
		t := table{}
		t.add("FROM", "TO", "OWNER", "MAY REACH", "BY LINE")
		for _, r := range list {
			t.add(r.From, r.To, r.Owner, r.What(), r.Lines())
		}
		return t.write(w)
	})
}

func policyRulesCommand() *command {
	return &command{
		name: "rules", args: "NODE", least: 1, most: 1, short: "Show the rules in force on a device.",
		long:     "In words, or with --raw the packet filter and SSH rules, with addresses.",
		examples: []string{"policy rules web", "policy rules web --raw"},
		complete: []completion{completeNode},
		setup: func(fs *flag.FlagSet) runFunc {
			raw := fs.Bool("raw", false, "print the packet filter and the SSH rules as JSON")
			return func(ctx context.Context, sh *shell, args []string) error {
				return policyRules(ctx, sh, args[0], *raw)
			}
		},
	}
}

func policyRules(ctx context.Context, sh *shell, node string, raw bool) error {
	r, err := get[review.RulesOf](ctx, sh, in("policy", "rules", node), nil)
	if err != nil {
		return err
	}
	return sh.show(r, func(w io.Writer) error {
		if !raw {
			return lines(w, r.Text())
		}
		text, err := json.MarshalIndent(struct {
			PacketFilter any
			SSHPolicy    any `json:",omitempty"`
		}{r.Filter, r.SSHPolicy}, "", "  ")
		if err != nil {
			return fmt.Errorf("encode the rules of %s: %w", node, err)
		}
		return lines(w, string(text))
	})
}

func policyFormatCommand() *command {
	return &command{
		name: "fmt", args: "FILE|-", least: 1, most: 1, short: "Make the layout of a policy regular.",
		long:     "Comments stay. The result is printed, or with --write takes the place of the file. No\nserver is asked.",
		examples: []string{"policy fmt policy.hujson", "policy fmt --write policy.hujson"},
		complete: []completion{completeFile},
		setup: func(fs *flag.FlagSet) runFunc {
			write := fs.Bool("write", false, "change the file")
			return func(_ context.Context, sh *shell, args []string) error {
				return formatPolicy(sh, args[0], *write)
			}
		},
	}
}

func formatPolicy(sh *shell, name string, write bool) error {
	if write && name == "-" {
		return usagef("--write needs the name of a file")
	}
	text, err := sh.readInput(name, maxPolicy)
	if err != nil {
		return err
	}
	out, err := review.Format(text)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if write && out != text {
		info, err := os.Stat(name)
		if err != nil {
			return fmt.Errorf("look at file: %w", err)
		}
		if err := os.WriteFile(name, []byte(out), info.Mode().Perm()); err != nil {
			return fmt.Errorf("write file: %w", err)
		}
	}
	return sh.show(formatted{Text: out, Changed: out != text}, func(w io.Writer) error {
		if write {
			return nil
		}
		_, err := io.WriteString(w, out)
		return err
	})
}

// formatted is what policy fmt says with --json.
type formatted struct {
	Text    string `json:"text"`
	Changed bool   `json:"changed"`
}

func policySamplesCommand() *command {
	return &command{
		name: "samples", args: "[NAME]", most: 1, short: "List policies to start from, or print one.",
		examples: []string{"policy samples", "policy samples servers > policy.hujson"},
		complete: []completion{completeSample},
		setup:    func(*flag.FlagSet) runFunc { return policySamples },
	}
}

func completeSample(context.Context, *shell) []string {
	var names []string
	for _, s := range policy.Samples() {
		names = append(names, s.Name)
	}
	return names
}

// sampleJSON is a sample as policy samples prints it with --json.
type sampleJSON struct {
	Name  string `json:"name"`
	About string `json:"about"`
	Text  string `json:"text"`
}

func policySamples(_ context.Context, sh *shell, args []string) error {
	list := []sampleJSON{}
	for _, s := range policy.Samples() {
		list = append(list, sampleJSON(s))
	}
	if len(args) == 0 {
		return sh.show(list, func(w io.Writer) error {
			t := table{}
			t.add("NAME", "ABOUT")
			for _, s := range list {
				t.add(s.Name, s.About)
			}
			return t.write(w)
		})
	}
	for _, s := range list {
		if s.Name == args[0] {
			return sh.show(s, func(w io.Writer) error {
				_, err := io.WriteString(w, s.Text)
				return err
			})
		}
	}
	return selvage.Errorf(selvage.KindNotFound, "no sample %q; `selvage policy samples` lists them", args[0])
}
