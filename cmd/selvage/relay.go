package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"selvage/internal/api/admin"
	"selvage/internal/config"
	"selvage/internal/relay"
	"selvage/internal/server"
)

func relayCommand() *command {
	return &command{
		name: "relay", short: "Run relays on other hosts, and say which there are.",
		long: "A relay carries packets between devices that reach each other in no other way. The\nserver is one itself; more of them near the devices make the detour shorter.",
		sub: []*command{
			{
				name: "add", args: "NAME", least: 1, most: 1, short: "Register a relay and make its token, which is shown once.",
				long:     "NAME is also the short name of the relay's region.",
				examples: []string{"relay add berlin", "relay add lima --json"},
				setup:    func(*flag.FlagSet) runFunc { return addRelay },
			},
			{
				name: "list", short: "List relays.",
				examples: []string{"relay list", "relay list --json"},
				setup:    func(*flag.FlagSet) runFunc { return listRelays },
			},
			{
				name: "remove", args: "NAME", least: 1, most: 1, short: "Remove a relay; its token stops working.",
				examples: []string{"relay remove berlin", "relay remove berlin --json"},
				complete: []completion{completeRelay},
				setup: func(*flag.FlagSet) runFunc {
					return func(ctx context.Context, sh *shell, args []string) error {
						answer, err := call[struct{}](ctx, sh, http.MethodDelete, in("relays", args[0]), nil, nil)
						if err != nil {
							return err
						}
						return sh.say(answer, "Relay %s is removed.", args[0])
					}
				},
			},
			relayRun(),
		},
	}
}

func addRelay(ctx context.Context, sh *shell, args []string) error {
	r, err := post[admin.Relay](ctx, sh, "/relays", admin.RelayCreate{Name: args[0]})
	if err != nil {
		return err
	}
	return sh.show(r, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "Relay %s is region %d. Its token is shown only now; on its host, run:\n\n  SELVAGE_RELAY_TOKEN=%s \\\n    selvage relay run --server URL --host NAME-OR-ADDRESS\n", r.Name, r.Region, r.Token)
		return err
	})
}

func listRelays(ctx context.Context, sh *shell, _ []string) error {
	list, err := get[[]admin.Relay](ctx, sh, "/relays", nil)
	if err != nil {
		return err
	}
	return sh.show(list, func(w io.Writer) error {
		if len(list) == 0 {
			_, err := fmt.Fprintln(w, "No relays but the server's own. Register one with `selvage relay add NAME`.")
			return err
		}
		t := table{}
		t.add("NAME", "REGION", "ADDRESS", "STATE", "LAST SEEN", "VERSION")
		for _, r := range list {
			state, address := "offline", ""
			if r.Online {
				state = "online"
			}
			if r.Host != "" {
				address = fmt.Sprintf("%s:%d", r.Host, r.Port)
			}
			t.add(r.Name, fmt.Sprint(r.Region), address, state, ago(sh.now(), r.Seen), r.Version)
		}
		return t.write(w)
	})
}

// relayFlags are the settings of a relay on a host of its own.
type relayFlags struct {
	server, token, tokenFile string
	host, listen, stun       string
	port                     int
	seed, cert, key          string
	limit                    uint64
}

func relayRun() *command {
	return &command{
		name: "run", short: "Be a relay for the devices of a server.",
		long: "The token of `selvage relay add` comes from SELVAGE_RELAY_TOKEN or a file, so that it\nis not among the arguments, which all users of the host can see. Without --cert the\nrelay makes a certificate itself, which devices are told about.",
		examples: []string{
			"relay run --server https://vpn.example.com --host relay.example.com --token-file token",
			"relay run --server https://vpn.example.com --host 198.51.100.7 --listen :8443 --stun none",
		},
		own: true,
		setup: func(fs *flag.FlagSet) runFunc {
			var f relayFlags
			fs.StringVar(&f.server, "server", "", "`URL` of the server")
			fs.StringVar(&f.tokenFile, "token-file", "", "`file` with the token; default: SELVAGE_RELAY_TOKEN")
			fs.StringVar(&f.host, "host", "", "`name` or address at which devices reach the relay")
			fs.StringVar(&f.listen, "listen", ":443", "TCP `address` to listen on")
			fs.IntVar(&f.port, "port", 0, "TCP `port` at which devices reach it, if another")
			fs.StringVar(&f.stun, "stun", ":3478", "UDP `address` of STUN, or none")
			fs.StringVar(&f.seed, "seed-file", "", "`file` with the relay's secret, which is made at the first start; default: relay.seed in the data folder")
			fs.StringVar(&f.cert, "cert", "", "PEM `file` with a publicly trusted certificate")
			fs.StringVar(&f.key, "key", "", "PEM `file` with its key")
			fs.Uint64Var(&f.limit, "limit", 0, "`bytes` per second that one device may send; 0 is no limit")
			return func(ctx context.Context, sh *shell, _ []string) error { return runRelay(ctx, sh, f) }
		},
	}
}

func runRelay(ctx context.Context, sh *shell, f relayFlags) error {
	if f.server == "" || f.host == "" {
		return usagef("--server and --host are missing; see `selvage relay run -h`")
	}
	f.token = sh.getenv("SELVAGE_RELAY_TOKEN")
	if f.tokenFile != "" {
		text, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return fmt.Errorf("read the relay's token: %w", err)
		}
		f.token = strings.TrimSpace(string(text))
	}
	if f.seed == "" {
		dir := config.DataDir(sh.source())
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make data folder: %w", err)
		}
		f.seed = filepath.Join(dir, "relay.seed")
	}
	seed, err := relay.LoadSeed(f.seed)
	if err != nil {
		return err
	}
	c := relay.StandaloneConfig{
		Server: f.server, Token: f.token, Host: f.host, Port: f.port, Addr: f.listen, STUNAddr: f.stun, Seed: seed,
		BytesPerSecond: f.limit, Version: server.BuildVersion().Version, Log: slog.New(slog.NewTextHandler(sh.err, nil)),
	}
	if f.stun == config.None {
		c.STUNAddr = ""
	}
	if f.cert != "" || f.key != "" {
		cert, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return fmt.Errorf("read certificate: %w", err)
		}
		c.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	r, err := relay.NewStandalone(c)
	if err != nil {
		return err
	}
	self := r.Self()
	fmt.Fprintf(sh.out, "selvage relay is ready: devices reach it at %s:%d\n", self.Host, self.Port)
	return r.Run(ctx)
}
