package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"

	"selvage"
	"selvage/internal/config"
	"selvage/internal/server"
)

// serveCommand runs the server.
func serveCommand() *command {
	return &command{
		name:  "serve",
		short: "Run the server.",
		long: `Without any flag it keeps its data in a folder of the user's, listens on
localhost:8080 and has a relay of its own. With --hostname it gets a certificate
for that name and listens on the ports 443 and 80. The first start prints a link
that makes the first owner.

Each setting is a flag, a variable of the environment and a line of the
configuration file: --dns-base-domain, SELVAGE_DNS_BASE_DOMAIN, base_domain in the
section dns. "selvage config" shows them all.`,
		examples: []string{
			"serve",
			"serve --data-dir /srv/selvage --listen 192.168.1.5:8080",
			"serve --hostname vpn.example.com",
		},
		own: true,
		setup: func(fs *flag.FlagSet) runFunc {
			flags := config.AddFlags(fs)
			accept := fs.Bool("accept-clock", false, "start although the journal has entries from the future; for a clock that was wrong before and is right now")
			return func(ctx context.Context, sh *shell, _ []string) error {
				var options []server.Option
				if *accept {
					options = append(options, server.AcceptClock())
				}
				return sh.serve(ctx, flags, options...)
			}
		},
	}
}

func (sh *shell) serve(ctx context.Context, flags *config.Flags, options ...server.Option) error {
	cfg, err := config.Load(config.Source{Flags: flags, Environ: sh.environ, UID: sh.uid})
	if err != nil {
		return err
	}
	log, err := newLogger(sh.err, cfg.Log)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		log.Warn(w)
	}
	srv, err := server.Open(ctx, &cfg.Config, log, options...)
	if err != nil {
		return err
	}
	links, err := srv.FirstOwnerLinks(ctx)
	if err != nil {
		return err
	}
	return srv.Run(ctx, func() { welcome(sh.out, srv.URL(), links) })
}

// welcome says that the server is ready, and what to do next.
func welcome(w io.Writer, url string, links map[string]string) {
	fmt.Fprintf(w, "Selvage %s is ready at %s\n", server.BuildVersion().Version, url)
	for _, tailnet := range slices.Sorted(maps.Keys(links)) {
		fmt.Fprintf(w, "\nTailnet %q has no owner yet. This link makes you the owner; it works once, within 24 hours:\n\n    %s\n", tailnet, links[tailnet])
	}
	fmt.Fprintf(w, "\nTo join a device:\n\n    tailscale up --login-server=%s\n\n", url)
}

// newLogger returns the log that the configuration asks for.
func newLogger(w io.Writer, c config.Log) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return nil, selvage.Errorf(selvage.KindInvalid, "bad log.level %q: want debug, info, warn or error", c.Level)
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return slog.New(slog.NewTextHandler(w, options)), nil
}
