package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"selvage/internal/config"
)

// command is a command or a group of them. Each has a function that returns it, and
// the whole tree is in tree.go.
type command struct {
	name  string
	args  string // what follows the name, for help: "NODE NAME"
	short string // one sentence
	long  string // more, if there is more to say
	// examples are command lines without "selvage ".
	examples []string
	// setup adds the command's flags and returns what runs it after they are parsed.
	// A group has none, unless it does something by itself.
	setup func(fs *flag.FlagSet) runFunc
	sub   []*command
	// least and most are how many arguments it takes; most < 0 is any number.
	least, most int
	// complete says what the arguments are, for completion; the last one repeats.
	complete []completion
	// values says what the values of flags are, for completion.
	values map[string]completion
	hidden bool
	// own is set for commands that speak to no server and have no global flags but
	// --json.
	own bool
}

// runFunc runs a command with its arguments.
type runFunc func(ctx context.Context, sh *shell, args []string) error

// globals are the flags that may stand before or after a command.
type globals struct {
	dataDir, socket, tailnet string
	json                     bool
}

// add adds the global flags to a set; those that the command has itself stay its own.
func (g *globals) add(fs *flag.FlagSet, own bool) {
	text := func(p *string, name, usage string) {
		if fs.Lookup(name) == nil {
			fs.StringVar(p, name, *p, usage)
		}
	}
	if fs.Lookup("json") == nil {
		fs.BoolVar(&g.json, "json", g.json, "print JSON, errors as well")
	}
	if own {
		return
	}
	text(&g.dataDir, "data-dir", "`folder` of the server, in which its socket is")
	text(&g.socket, "socket", "`path` of the server's socket")
	text(&g.tailnet, "tailnet", "`name` of the tailnet; default: SELVAGE_TAILNET, or the first")
}

// hand gives a command that has such a flag itself what was given before its name.
func (g *globals) hand(fs *flag.FlagSet) error {
	for name, value := range map[string]string{"data-dir": g.dataDir, "socket": g.socket} {
		if f := fs.Lookup(name); value != "" && f != nil && f.Value.String() != value {
			if err := fs.Set(name, value); err != nil {
				return usagef("--%s: %v", name, err)
			}
		}
	}
	return nil
}

// dispatch finds the command and runs it.
func dispatch(ctx context.Context, sh *shell, cmd *command, args []string) error {
	path := "selvage"
	for len(cmd.sub) > 0 {
		if cmd.setup != nil && (len(args) == 0 || cmd.find(args[0]) == nil) {
			break // a group that does something by itself
		}
		fs := newFlagSet(path)
		sh.global.add(fs, false)
		if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
			return help(sh.out, path, cmd)
		} else if err != nil {
			return flagError(fs, path, err)
		}
		args = fs.Args()
		if len(args) == 0 {
			help(sh.err, path, cmd)
			return silentError{exitUsage}
		}
		if args[0] == "help" {
			return helpFor(sh, args[1:])
		}
		next := cmd.find(args[0])
		if next == nil {
			return unknownCommand(cmd, path, args[0])
		}
		cmd, path, args = next, path+" "+next.name, args[1:]
	}
	return sh.runLeaf(ctx, path, cmd, args)
}

// runLeaf parses the flags of a command and runs it.
func (sh *shell) runLeaf(ctx context.Context, path string, cmd *command, args []string) error {
	fs := newFlagSet(path)
	run := cmd.setup(fs)
	sh.global.add(fs, cmd.own)
	if err := sh.global.hand(fs); err != nil {
		return err
	}
	rest, err := parseMixed(fs, args)
	if errors.Is(err, flag.ErrHelp) {
		return help(sh.out, path, cmd)
	}
	if err != nil {
		return flagError(fs, path, err)
	}
	if len(rest) < cmd.least || cmd.most >= 0 && len(rest) > cmd.most {
		if len(rest) > 0 && len(cmd.sub) > 0 {
			return unknownCommand(cmd, path, rest[0])
		}
		what := "not enough arguments"
		if len(rest) > cmd.least {
			what = "too many arguments"
		}
		return usagef("%s: want %q; see `%s -h`", what, strings.TrimSpace(path+" "+cmd.args), path)
	}
	return run(ctx, sh, rest)
}

func newFlagSet(path string) *flag.FlagSet {
	fs := flag.NewFlagSet(path, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	return fs
}

// parseMixed parses flags that stand before, between and after the arguments, and
// returns the arguments. After "--" all are arguments.
func parseMixed(fs *flag.FlagSet, args []string) ([]string, error) {
	var rest []string
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		left := fs.Args()
		if len(left) == 0 {
			return rest, nil
		}
		if parsed := args[:len(args)-len(left)]; len(parsed) > 0 && parsed[len(parsed)-1] == "--" {
			return append(rest, left...), nil
		}
		rest = append(rest, left[0])
		args = left[1:]
	}
}

// flagError says what is wrong with the flags.
func flagError(fs *flag.FlagSet, path string, err error) error {
	name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !ok {
		return usagef("%s; see `%s -h`", strings.ReplaceAll(err.Error(), " -", " --"), path)
	}
	var known []string
	fs.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
	return usagef("unknown flag --%s for `%s`%s", strings.TrimPrefix(name, "-"), path, suggestion(strings.TrimPrefix(name, "-"), "--", known, path))
}

func unknownCommand(cmd *command, path, name string) error {
	var known []string
	for _, c := range cmd.sub {
		if !c.hidden {
			known = append(known, c.name)
		}
	}
	return usagef("unknown command %q for `%s`%s", name, path, suggestion(name, "", known, path))
}

func suggestion(name, prefix string, known []string, path string) string {
	if near := config.Nearest(name, known); near != "" {
		return fmt.Sprintf("; did you mean %s%s?", prefix, near)
	}
	return fmt.Sprintf("; see `%s -h`", path)
}

func (c *command) find(name string) *command {
	i := slices.IndexFunc(c.sub, func(s *command) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return c.sub[i]
}

// listFlag is a flag that may be repeated; one occurrence may hold several values
// separated by commas.
type listFlag struct {
	values []string
	given  bool
}

// String returns what was given, for flag's own use.
func (l *listFlag) String() string { return strings.Join(l.values, ",") }

// Set takes the value of one occurrence.
func (l *listFlag) Set(s string) error {
	l.given = true
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			l.values = append(l.values, part)
		}
	}
	return nil
}

// switchFlag is a flag for true or false that knows whether it was given.
type switchFlag struct{ value *bool }

// String returns what was given, for flag's own use.
func (s *switchFlag) String() string {
	if s.value == nil {
		return ""
	}
	return fmt.Sprint(*s.value)
}

// Set takes the value.
func (s *switchFlag) Set(text string) error {
	on := map[string]bool{"true": true, "on": true, "yes": true, "false": false, "off": false, "no": false}
	v, ok := on[strings.ToLower(text)]
	if !ok {
		return errors.New("want on or off")
	}
	s.value = &v
	return nil
}

// IsBoolFlag lets the flag alone mean on.
func (s *switchFlag) IsBoolFlag() bool { return true }
