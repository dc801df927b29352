package main

import (
	"context"
	"flag"
	"log/slog"

	"selvage/internal/demo"
)

// demoCommand shows the product at work.
func demoCommand() *command {
	return &command{
		name:  "demo",
		short: "Start a server with three devices and show what the policy lets pass.",
		long: `It starts the whole server with a temporary data folder on a free port of this
machine, joins three real client engines as a laptop, a database and a build
machine, and shows that an allowed connection passes, that a denied one does not,
and that a name resolves. Then it stays up until Ctrl-C, for you to look around
and to join a device of your own. Nothing of it is left afterwards.`,
		examples: []string{"demo", "demo --check", "demo --listen 192.168.1.5:8080"},
		own:      true,
		setup: func(fs *flag.FlagSet) runFunc {
			check := fs.Bool("check", false, "end after the last step; the exit code is 0 only if every step held")
			listen := fs.String("listen", "", "`address` of the server, HOST:PORT; default: a free port of the loopback")
			verbose := fs.Bool("verbose", false, "print the logs of the server and the devices")
			return func(ctx context.Context, sh *shell, _ []string) error {
				return demo.Run(ctx, demo.Options{
					Check: *check, JSON: sh.global.json, Listen: *listen, Verbose: *verbose, Out: sh.out,
					Log: slog.New(slog.NewTextHandler(sh.err, &slog.HandlerOptions{Level: slog.LevelDebug})),
				})
			}
		},
	}
}
