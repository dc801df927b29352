package review

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tailscale/hujson"

	"selvage"
)

// Format returns a policy's text with its layout made regular: comments are kept,
// and nothing that means something changes.
func Format(text string) (string, error) {
	out, err := hujson.Format([]byte(text))
	if err != nil {
		return "", selvage.Errorf(selvage.KindInvalid, "format the policy: %v", err)
	}
	return string(out), nil
}

// Text writes findings as compilers do, each with its line of the text.
func Text(fs []Finding) string {
	var sb strings.Builder
	for _, f := range fs {
		fmt.Fprintf(&sb, "policy:%d:%d: %s: %s\n", f.Line, f.Col, f.Severity, f.Msg)
		if f.Excerpt != "" {
			fmt.Fprintf(&sb, "    %s\n", strings.TrimSpace(f.Excerpt))
		}
		if f.Fix != "" {
			fmt.Fprintf(&sb, "    fix: %s\n", f.Fix)
		}
	}
	return sb.String()
}

// Text writes the answer for people.
func (a Answer) Text() string {
	var sb strings.Builder
	word := "denied"
	if a.Allowed {
		word = "allowed"
	}
	fmt.Fprintf(&sb, "%s: %s to %s\n", word, a.From, a.To)
	switch {
	case a.Rule == nil:
		sb.WriteString("  the policy has no rule that opens ports\n")
	case a.Allowed:
		fmt.Fprintf(&sb, "  by %s\n", Words(*a.Rule))
	default:
		fmt.Fprintf(&sb, "  nearest is %s\n", Words(*a.Rule))
	}
	for _, l := range a.Lacks {
		fmt.Fprintf(&sb, "  but %s\n", l)
	}
	for _, note := range a.Notes {
		fmt.Fprintf(&sb, "  note: %s\n", note)
	}
	return sb.String()
}

// from names the devices of a change.
func (c Change) from() string {
	if c.All {
		return c.Owner
	}
	return c.Owner + " (" + strings.Join(c.From, ", ") + ")"
}

// lines returns what a change says, one thing a line, with a sign before each.
func (c Change) lines() []string {
	var out []string
	for _, part := range []struct {
		sign   string
		access []Access
		logins []Login
	}{{"+", c.Gained, c.SSHGained}, {"-", c.Lost, c.SSHLost}} {
		for _, a := range part.access {
			out = append(out, part.sign+" "+a.String())
		}
		for _, l := range part.logins {
			out = append(out, part.sign+" ssh to "+l.To+" as "+strings.Join(l.Users, ", "))
		}
	}
	return out
}

// Text writes the difference for a terminal.
func (d *Diff) Text() string {
	var sb strings.Builder
	for _, c := range d.Changes {
		fmt.Fprintln(&sb, c.from())
		for _, l := range c.lines() {
			fmt.Fprintln(&sb, "  "+l)
		}
	}
	for _, a := range d.Attrs {
		fmt.Fprintf(&sb, "%s%s%s\n", a.Node, signed(" +", a.Gained), signed(" -", a.Lost))
	}
	sb.WriteString(d.sum() + "\n")
	return sb.String()
}

func signed(sign string, names []string) string {
	var sb strings.Builder
	for _, n := range names {
		sb.WriteString(sign + n)
	}
	return sb.String()
}

// sum is the last line of a difference.
func (d *Diff) sum() string {
	s := fmt.Sprintf("%d of %d devices get a message.", d.Messages, d.Devices)
	if len(d.Changes)+len(d.Attrs) == 0 {
		s = "Nobody gains or loses anything. " + s
	}
	if d.Truncated {
		s += " So much changes that not all of it is listed."
	}
	return s
}

// Markdown writes the difference as tables for a pull request.
func (d *Diff) Markdown() string {
	var sb strings.Builder
	if len(d.Changes) > 0 {
		sb.WriteString("| who | gains | loses |\n|---|---|---|\n")
	}
	for _, c := range d.Changes {
		var gains, losses []string
		for _, l := range c.lines() {
			sign, text, _ := strings.Cut(l, " ")
			if sign == "+" {
				gains = append(gains, cell(text))
			} else {
				losses = append(losses, cell(text))
			}
		}
		fmt.Fprintf(&sb, "| %s | %s | %s |\n", cell(c.from()), strings.Join(gains, "<br>"), strings.Join(losses, "<br>"))
	}
	if len(d.Attrs) > 0 {
		sb.WriteString("\n| device | attributes gained | lost |\n|---|---|---|\n")
	}
	for _, a := range d.Attrs {
		fmt.Fprintf(&sb, "| %s | %s | %s |\n", cell(a.Node), cell(strings.Join(a.Gained, ", ")), cell(strings.Join(a.Lost, ", ")))
	}
	fmt.Fprintf(&sb, "\n%s\n", d.sum())
	return sb.String()
}

// cell makes text safe for a cell of a table: names come from devices, and are not
// to be read as markup.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "<", "&lt;", ">", "&gt;", "\n", " ", "`", "'", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]", "&", "&amp;").Replace(s)
}

// What writes what may be done: ports and logins.
func (r Reached) What() string {
	var parts []string
	for _, a := range r.Access {
		parts = append(parts, a.String())
	}
	if len(r.SSH) > 0 {
		parts = append(parts, "ssh as "+strings.Join(r.SSH, ", "))
	}
	return strings.Join(parts, "; ")
}

// Lines writes the lines of the policy that allow it.
func (r Reached) Lines() string {
	var parts []string
	for _, rule := range r.Rules {
		if line := strconv.Itoa(rule.Line); !slices.Contains(parts, line) {
			parts = append(parts, line)
		}
	}
	return strings.Join(parts, ", ")
}

// ReachText writes what Reach or Who found, one line for each pair of devices.
func ReachText(rs []Reached) string {
	var sb strings.Builder
	for _, r := range rs {
		fmt.Fprintf(&sb, "%s -> %s (%s): %s\n", r.From, r.To, r.Owner, r.What())
	}
	return sb.String()
}

// Text writes the rules of a device in words.
func (r RulesOf) Text() string {
	var sb strings.Builder
	for _, part := range []struct {
		title string
		lines []string
	}{{"to " + r.Node, r.In}, {"logins to " + r.Node, r.SSH}, {"from " + r.Node, r.Out}, {"attributes", r.Attributes}} {
		if len(part.lines) == 0 {
			continue
		}
		fmt.Fprintln(&sb, part.title)
		for _, l := range part.lines {
			fmt.Fprintln(&sb, "  "+l)
		}
	}
	return sb.String()
}
