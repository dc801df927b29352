package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"selvage"
	"selvage/internal/api/admin"
	"selvage/internal/policy"
	"selvage/internal/policy/review"
)

// maxPolicy is the size of a policy that is sent, in bytes.
const maxPolicy = 2 << 20

func policyCommand() *command {
	return &command{
		name: "policy", short: "Show, check and replace the policy, which decides who reaches what.",
		sub: []*command{
			{
				name: "get", short: "Print the policy in force.",
				examples: []string{"policy get > policy.hujson", "policy get --revision 3"},
				setup: func(fs *flag.FlagSet) runFunc {
					rev := fs.Int64("revision", 0, "an older one: its `number`, see policy history")
					return func(ctx context.Context, sh *shell, _ []string) error { return getPolicy(ctx, sh, *rev) }
				},
			},
			{
				name: "set", args: "FILE|-", least: 1, most: 1, short: "Check a policy and put it in force.",
				long:     "If it is refused, nothing changes. With --if-match it is set only if the policy in\nforce is still the one with that tag, which policy get --json shows.",
				examples: []string{"policy set policy.hujson", "policy get --revision 3 | selvage policy set -"},
				complete: []completion{completeFile},
				setup: func(fs *flag.FlagSet) runFunc {
					match := fs.String("if-match", "", "`tag` of the policy that is to be replaced")
					return func(ctx context.Context, sh *shell, args []string) error {
						return setPolicy(ctx, sh, args[0], *match)
					}
				},
			},
			{
				name: "check", args: "FILE|-", least: 1, most: 1, short: "Say what is wrong with a policy, if anything is.",
				long:     "The server checks the policy with its tests, for the users who are there. With\n--offline no server is asked, and users are taken for members.",
				examples: []string{"policy check policy.hujson", "policy check --offline policy.hujson"},
				complete: []completion{completeFile},
				setup: func(fs *flag.FlagSet) runFunc {
					offline := fs.Bool("offline", false, "ask no server")
					return func(ctx context.Context, sh *shell, args []string) error {
						return checkPolicy(ctx, sh, args[0], *offline)
					}
				},
			},
			policyDiffCommand(),
			policyExplainCommand(),
			policyWhoCommand(),
			policyReachCommand(),
			policyRulesCommand(),
			policyFormatCommand(),
			{
				name: "history", short: "List the policies that there were, newest first.",
				examples: []string{"policy history", "policy history --json"},
				setup:    func(*flag.FlagSet) runFunc { return policyHistory },
			},
			{
				name: "show", args: "REV", least: 1, most: 1, short: "Print a policy of the history.",
				examples: []string{"policy show 3", "policy show 3 > before.hujson"},
				setup: func(*flag.FlagSet) runFunc {
					return func(ctx context.Context, sh *shell, args []string) error {
						rev, err := revision(args[0])
						if err != nil {
							return err
						}
						return getPolicy(ctx, sh, rev)
					}
				},
			},
			{
				name: "restore", args: "REV", least: 1, most: 1, short: "Put a policy of the history in force again.",
				long:     "Its text is checked and becomes the newest revision, byte for byte; the history keeps\nall that there was.",
				examples: []string{"policy restore 3", "policy restore 3 --json"},
				setup:    func(*flag.FlagSet) runFunc { return restorePolicy },
			},
			policySamplesCommand(),
		},
	}
}

// readInput returns the text of a file, or of standard input for "-".
func (sh *shell) readInput(name string, most int64) (string, error) {
	in := sh.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", fmt.Errorf("read file: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(text)) > most {
		return "", selvage.Errorf(selvage.KindInvalid, "%s has more than %d bytes", name, most)
	}
	return string(text), nil
}

func getPolicy(ctx context.Context, sh *shell, rev int64) error {
	path := "/policy"
	if rev != 0 {
		path = in("policy", "revisions", strconv.FormatInt(rev, 10))
	}
	p, err := get[admin.Policy](ctx, sh, path, nil)
	if err != nil {
		return err
	}
	if p.Problem != "" {
		fmt.Fprintf(sh.err, "A newer policy is not in force: %s\n", printable(p.Problem))
	}
	if p.TestsFail != "" {
		fmt.Fprintf(sh.err, "The tests of the policy no longer hold: %s\n", printable(p.TestsFail))
	}
	return sh.show(p, func(w io.Writer) error {
		_, err := io.WriteString(w, p.Text)
		return err
	})
}

// revision reads the number of a revision.
func revision(s string) (int64, error) {
	rev, err := strconv.ParseInt(s, 10, 64)
	if err != nil || rev < 1 {
		return 0, usagef("%q is no revision: want a number that `selvage policy history` shows", s)
	}
	return rev, nil
}

func restorePolicy(ctx context.Context, sh *shell, args []string) error {
	rev, err := revision(args[0])
	if err != nil {
		return err
	}
	p, err := get[admin.Policy](ctx, sh, in("policy", "revisions", strconv.FormatInt(rev, 10)), nil)
	if err != nil {
		return err
	}
	return sh.putPolicy(ctx, "revision "+args[0], p.Text, "")
}

func setPolicy(ctx context.Context, sh *shell, name, match string) error {
	text, err := sh.readInput(name, maxPolicy)
	if err != nil {
		return err
	}
	return sh.putPolicy(ctx, name, text, match)
}

// putPolicy puts a text in force; name says where it is from.
func (sh *shell) putPolicy(ctx context.Context, name, text, match string) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	header := http.Header{}
	if match != "" {
		header.Set("If-Match", match)
	}
	p, err := callOn[admin.Policy](ctx, c, http.MethodPut, "/policy", nil, admin.PolicyText{Text: text}, header)
	var refused *refusal
	if errors.As(err, &refused) && len(refused.problems) > 0 {
		sh.tell(name, text, refused.problems)
		return selvage.Errorf(selvage.KindInvalid, "the policy %s is refused (%s); the one in force stays", name, count(refused.problems))
	}
	if err != nil {
		return err
	}
	sh.tell(name, text, p.Warnings)
	return sh.say(p, "The policy is in force; it is revision %d.", p.Revision)
}

// tell prints places in a policy to stderr, in the form that editors understand, each
// with its line of the text.
func (sh *shell) tell(name, text string, problems []admin.Problem) {
	lines := strings.Split(text, "\n")
	for _, p := range problems {
		place := name
		if p.Line > 0 {
			place += fmt.Sprintf(":%d:%d", p.Line, p.Column)
		}
		line := place + ": " + p.Severity + ": " + p.Message
		if p.Fix != "" {
			line += "; " + p.Fix
		}
		fmt.Fprintln(sh.err, printable(line))
		if p.Line > 0 && p.Line <= len(lines) {
			fmt.Fprintln(sh.err, "    "+printable(excerpt(lines[p.Line-1])))
		}
	}
}

// excerpt shortens a line of a policy.
func excerpt(line string) string {
	const most = 120 // characters
	r := []rune(strings.TrimSpace(line))
	if len(r) > most {
		return string(r[:most]) + "..."
	}
	return string(r)
}

func count(problems []admin.Problem) string {
	errs := 0
	for _, p := range problems {
		if p.Severity == string(policy.SeverityError) {
			errs++
		}
	}
	if errs == 1 {
		return "1 error"
	}
	return fmt.Sprintf("%d errors", errs)
}

func checkPolicy(ctx context.Context, sh *shell, name string, offline bool) error {
	text, err := sh.readInput(name, maxPolicy)
	if err != nil {
		return err
	}
	result := checkOffline(text)
	if !offline {
		if result, err = post[admin.PolicyCheck](ctx, sh, "/policy/check", admin.PolicyText{Text: text}); err != nil {
			return err
		}
	}
	sh.tell(name, text, result.Problems)
	err = sh.show(result, func(w io.Writer) error {
		if !result.OK {
			return nil
		}
		_, err := fmt.Fprintf(w, "%s is a good policy.\n", printable(name))
		return err
	})
	if err != nil || result.OK {
		return err
	}
	return selvage.Errorf(selvage.KindInvalid, "the policy %s would be refused: %s", name, count(result.Problems))
}

func checkOffline(text string) admin.PolicyCheck {
	problems := admin.Problems(review.Lint(text, nil))
	wrong := func(p admin.Problem) bool { return p.Severity == string(policy.SeverityError) }
	return admin.PolicyCheck{OK: !slices.ContainsFunc(problems, wrong), Problems: problems}
}

func policyHistory(ctx context.Context, sh *shell, _ []string) error {
	list, err := get[[]admin.PolicyRevision](ctx, sh, "/policy/revisions", nil)
	if err != nil {
		return err
	}
	return sh.show(list, func(w io.Writer) error {
		if len(list) == 0 {
			_, err := fmt.Fprintln(w, "The default policy is in force; there was no other.")
			return err
		}
		t := table{}
		t.add("REVISION", "SET", "BY")
		for _, r := range list {
			t.add(fmt.Sprint(r.Revision), ago(sh.now(), r.Created), r.Author)
		}
		return t.write(w)
	})
}
