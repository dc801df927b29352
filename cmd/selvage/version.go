package main

import (
	"context"
	"flag"
	"io"

	"selvage/internal/server"
)

func versionCommand() *command {
	return &command{
		name: "version", short: "Show which program this is.",
		examples: []string{"version", "version --json"},
		own:      true,
		setup: func(*flag.FlagSet) runFunc {
			return func(_ context.Context, sh *shell, _ []string) error {
				v := server.BuildVersion()
				return sh.show(v, func(w io.Writer) error {
					var t table
					t.add("selvage", v.Version)
					if v.Commit != "" {
						t.add("commit", v.Commit)
					}
					t.add("go", v.Go)
					t.add("tailscale.com", v.Tailscale)
					return t.write(w)
				})
			}
		},
	}
}
