package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"

	"selvage/internal/config"
)

func configCommand() *command {
	return &command{
		name: "config", short: "Show the configuration that `selvage serve` would have here, with every setting explained.",
		long:     "Settings come from a file, variables and flags; flags win over variables, which win\nover the file. The output is a file that can be edited and used, but for secrets.",
		examples: []string{"config", "config > selvage.yaml", "config --hostname vpn.example.com --json"},
		setup: func(fs *flag.FlagSet) runFunc {
			flags := config.AddFlags(fs)
			return func(_ context.Context, sh *shell, _ []string) error {
				l, err := config.Load(config.Source{Flags: flags, Environ: sh.environ, UID: sh.uid})
				if err != nil {
					return err
				}
				for _, w := range l.Warnings {
					fmt.Fprintln(sh.err, printable(w))
				}
				if sh.global.json {
					return l.WriteJSON(sh.out)
				}
				return l.WriteYAML(sh.out)
			}
		},
		own: true,
		sub: []*command{
			{
				name: "check", args: "FILE|-", least: 1, most: 1, short: "Say what is wrong with a configuration file, if anything is.",
				examples: []string{"config check selvage.yaml", "config check /etc/selvage/selvage.yaml"},
				complete: []completion{completeFile},
				own:      true,
				setup:    func(*flag.FlagSet) runFunc { return checkConfig },
			},
			{
				name: "running", short: "Show the configuration of the running server.",
				examples: []string{"config running", "config running --json"},
				setup:    func(*flag.FlagSet) runFunc { return runningConfig },
			},
		},
	}
}

// maxConfig is the size of a configuration that is read, in bytes.
const maxConfig = 1 << 20

func checkConfig(_ context.Context, sh *shell, args []string) error {
	text, err := sh.readInput(args[0], maxConfig)
	if err != nil {
		return err
	}
	if err := config.Check([]byte(text), args[0]); err != nil {
		return err
	}
	answer := struct {
		OK bool `json:"ok"`
	}{true}
	return sh.say(answer, "%s is a good configuration.", args[0])
}

func runningConfig(ctx context.Context, sh *shell, _ []string) error {
	values, err := get[map[string]any](ctx, sh, "/config", nil)
	if err != nil {
		return err
	}
	return sh.show(values, func(w io.Writer) error {
		for _, k := range slices.Sorted(maps.Keys(values)) {
			text, err := yaml.Marshal(map[string]any{k: values[k]})
			if err != nil {
				return fmt.Errorf("print configuration: %w", err)
			}
			if _, err := w.Write(text); err != nil {
				return err
			}
		}
		return nil
	})
}
