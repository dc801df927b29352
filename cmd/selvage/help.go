package main

import (
	"flag"
	"fmt"
	"io"
	"strings"
)

// helpFor prints the help of the command that the words name.
func helpFor(sh *shell, words []string) error {
	cmd, path := root(), "selvage"
	for _, w := range words {
		next := cmd.find(w)
		if next == nil {
			return unknownCommand(cmd, path, w)
		}
		cmd, path = next, path+" "+w
	}
	return help(sh.out, path, cmd)
}

// help prints what there is to say about a command.
func help(w io.Writer, path string, cmd *command) error {
	var b strings.Builder
	b.WriteString(cmd.short + "\n")
	if cmd.long != "" {
		b.WriteString("\n" + cmd.long + "\n")
	}
	b.WriteString("\nUsage:\n")
	if cmd.setup != nil {
		fmt.Fprintf(&b, "  %s [flags]\n", strings.TrimSpace(path+" "+cmd.args))
	}
	if len(cmd.sub) > 0 {
		fmt.Fprintf(&b, "  %s COMMAND [flags]\n\nCommands:\n", path)
		var t table
		for _, c := range cmd.sub {
			if !c.hidden {
				t.add("  "+c.name, c.short)
			}
		}
		t.write(&b)
	}
	helpFlags(&b, path, cmd)
	if len(cmd.examples) > 0 {
		b.WriteString("\nExamples:\n")
		for _, e := range cmd.examples {
			b.WriteString("  selvage " + e + "\n")
		}
	}
	if len(cmd.sub) > 0 {
		fmt.Fprintf(&b, "\n`%s COMMAND -h` says more about a command.\n", path)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// helpFlags prints the flags of a command, and after them those that all have.
func helpFlags(b *strings.Builder, path string, cmd *command) {
	fs := newFlagSet(path)
	if cmd.setup != nil {
		cmd.setup(fs)
	}
	own := table{}
	names := map[string]bool{}
	fs.VisitAll(func(f *flag.Flag) {
		names[f.Name] = true
		own.addWrapped("  "+flagLabel(f), usageOf(f))
	})
	if len(own.rows) > 0 {
		b.WriteString("\nFlags:\n")
		own.write(b)
	}
	all := newFlagSet(path)
	new(globals).add(all, cmd.own)
	global := table{}
	all.VisitAll(func(f *flag.Flag) {
		if !names[f.Name] {
			global.addWrapped("  "+flagLabel(f), usageOf(f))
		}
	})
	if len(global.rows) > 0 {
		b.WriteString("\nGlobal flags:\n")
		global.write(b)
	}
}

func flagLabel(f *flag.Flag) string {
	value, _ := flag.UnquoteUsage(f)
	if value == "" {
		return "--" + f.Name
	}
	return "--" + f.Name + " " + strings.ToUpper(value)
}

func usageOf(f *flag.Flag) string {
	_, usage := flag.UnquoteUsage(f)
	switch f.DefValue {
	case "", "false", "0", "0s":
		return usage
	}
	return usage + " (default " + f.DefValue + ")"
}
