package main

import (
	"context"
	"flag"
	"io"
	"net/netip"
	"time"

	"selvage/internal/api/admin"
)

func settingsCommand() *command {
	return &command{
		name: "settings", short: "Show and change the settings of a tailnet.",
		sub: []*command{
			{
				name: "get", short: "Show the settings.",
				examples: []string{"settings get", "settings get --json"},
				setup: func(*flag.FlagSet) runFunc {
					return func(ctx context.Context, sh *shell, _ []string) error {
						s, err := get[admin.Settings](ctx, sh, "/settings", nil)
						if err != nil {
							return err
						}
						return showSettings(sh, s)
					}
				},
			},
			settingsSet(),
		},
	}
}

func showSettings(sh *shell, s admin.Settings) error {
	return sh.show(s, func(w io.Writer) error {
		expiry := "never"
		if s.KeyExpirySeconds > 0 {
			expiry = exactly(time.Duration(s.KeyExpirySeconds) * time.Second)
		}
		var t table
		t.add("Domain", s.Domain)
		t.add("IPv4 range", s.IPv4.String())
		t.add("IPv6 range", s.IPv6.String())
		t.add("Keys of devices expire after", expiry)
		t.add("Silent ephemeral devices go after", exactly(time.Duration(s.EphemeralTimeoutSeconds)*time.Second))
		t.add("New devices wait for approval", yesNo(s.DeviceApproval))
		t.add("Devices keep the map on disk", yesNo(s.NetworkMapCaching))
		t.add("Devices send logs to their maker", yesNo(s.ClientLogs))
		return t.write(w)
	})
}

func settingsSet() *command {
	return &command{
		name: "set", short: "Change settings; those that are not given stay.",
		examples: []string{"settings set --device-approval", "settings set --key-expiry 90d", "settings set --key-expiry never --network-map-caching=off"},
		setup: func(fs *flag.FlagSet) runFunc {
			var b admin.SettingsChange
			var approval, caching, logs switchFlag
			fs.Func("key-expiry", "how long the key of a user's device lasts: a `time` such as 90d, or never", secondsOrNever(&b.KeyExpirySeconds))
			fs.Func("ephemeral-timeout", "how long an ephemeral device may be silent: a `time` such as 10m", seconds(&b.EphemeralTimeoutSeconds))
			fs.Var(&approval, "device-approval", "new devices wait for approval: on or off")
			fs.Var(&caching, "network-map-caching", "devices reach each other while the server is away, also after a restart: on or off")
			fs.Var(&logs, "client-logs", "devices send their logs to their maker: on or off")
			fs.Func("domain", "`suffix` of the names of devices", func(s string) error { b.Domain = &s; return nil })
			fs.Func("ipv4", "`range` of IPv4 addresses; devices keep those that they have", prefix(&b.IPv4))
			fs.Func("ipv6", "`range` of IPv6 addresses; devices keep those that they have", prefix(&b.IPv6))
			return func(ctx context.Context, sh *shell, _ []string) error {
				b.DeviceApproval, b.NetworkMapCaching, b.ClientLogs = approval.value, caching.value, logs.value
				if b == (admin.SettingsChange{}) {
					return usagef("nothing to change; see `selvage settings set -h`")
				}
				s, err := call[admin.Settings](ctx, sh, "PATCH", "/settings", nil, b)
				if err != nil {
					return err
				}
				return showSettings(sh, s)
			}
		},
	}
}

func seconds(to **int64) func(string) error {
	return func(text string) error {
		d, err := parseDuration(text)
		n := int64(d / time.Second)
		*to = &n
		return err
	}
}

func secondsOrNever(to **int64) func(string) error {
	return func(text string) error {
		if text == "never" {
			*to = new(int64)
			return nil
		}
		return seconds(to)(text)
	}
}

func prefix(to **netip.Prefix) func(string) error {
	return func(text string) error {
		p, err := netip.ParsePrefix(text)
		*to = &p
		return err
	}
}
