package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/url"
	"strings"

	"selvage/internal/api/admin"
)

func nodeCommand() *command {
	named := func(c command) *command {
		c.least = max(c.least, 1)
		if c.most == 0 {
			c.most = c.least
		}
		if c.args == "" {
			c.args = "NODE"
		}
		if c.complete == nil {
			c.complete = []completion{completeNode}
		}
		return &c
	}
	return &command{
		name: "node", short: "Show and change devices.",
		long: "A NODE is named by its name, its full name, an address or its ID.",
		sub: []*command{
			nodeList(),
			named(command{
				name: "show", short: "Show what is known about a device.",
				examples: []string{"node show laptop", "node show 100.64.0.1 --json"},
				setup:    func(*flag.FlagSet) runFunc { return showNode },
			}),
			nodeRegister(),
			named(command{
				name: "rename", args: "NODE [NAME]", most: 2, short: "Give a device a name; without one it follows its host name again.",
				examples: []string{"node rename laptop anns-laptop", "node rename anns-laptop"},
				setup:    func(*flag.FlagSet) runFunc { return renameNode },
			}),
			named(command{
				name: "tag", args: "NODE TAG...", least: 1, most: -1, short: "Give a device these tags and no others; it then belongs to no user.",
				examples: []string{"node tag web1 tag:web", "node tag web1 tag:web tag:prod"},
				complete: []completion{completeNode, completeTag},
				setup:    func(*flag.FlagSet) runFunc { return tagNode },
			}),
			named(command{
				name: "approve", short: "Let a device that waits for approval take part.",
				examples: []string{"node approve laptop", "node approve 17"},
				setup:    func(*flag.FlagSet) runFunc { return approveNode },
			}),
			named(command{
				name: "expire", short: "End a device's key now; it has to log in again.",
				examples: []string{"node expire laptop", "node expire 17"},
				setup:    func(*flag.FlagSet) runFunc { return expireNode },
			}),
			nodeKeyExpiry(named),
			nodePing(named),
			named(command{
				name: "delete", short: "Remove a device; it may join again as a new one.",
				examples: []string{"node delete laptop", "node delete 17"},
				setup:    func(*flag.FlagSet) runFunc { return deleteNode },
			}),
		},
	}
}

func nodeList() *command {
	return &command{
		name: "list", args: "[WORD]", most: 1, short: "List devices, all or those that a word finds.",
		long:     "WORD is part of a name, user, tag, address or operating system.",
		examples: []string{"node list", "node list ann", "node list --online --tag tag:web --json"},
		values:   map[string]completion{"user": completeUser, "tag": completeTag},
		setup: func(fs *flag.FlagSet) runFunc {
			user := fs.String("user", "", "only devices of the user with this `login`")
			tag := fs.String("tag", "", "only devices with this `tag`")
			online := fs.Bool("online", false, "only devices that are connected")
			offline := fs.Bool("offline", false, "only devices that are not connected")
			waiting := fs.Bool("waiting", false, "only devices that wait for approval")
			expired := fs.Bool("expired", false, "only devices whose key has expired")
			return func(ctx context.Context, sh *shell, args []string) error {
				q := url.Values{}
				if len(args) > 0 {
					q.Set("query", args[0])
				}
				for name, value := range map[string]string{"user": *user, "tag": *tag} {
					if value != "" {
						q.Set(name, value)
					}
				}
				if *online != *offline {
					q.Set("online", fmt.Sprint(*online))
				}
				if *waiting {
					q.Set("approved", "false")
				}
				if *expired {
					q.Set("expired", "true")
				}
				return listNodes(ctx, sh, q)
			}
		},
	}
}

func listNodes(ctx context.Context, sh *shell, q url.Values) error {
	list, err := get[[]admin.Node](ctx, sh, "/nodes", q)
	if err != nil {
		return err
	}
	return sh.show(list, func(w io.Writer) error {
		if len(list) == 0 && len(q) == 0 {
			_, err := fmt.Fprintln(w, "No devices yet. Make a key with `selvage key create`, then run on a device:\n  tailscale up --login-server=URL --auth-key=KEY")
			return err
		}
		t := table{}
		t.add("ID", "NAME", "OWNER", "ADDRESS", "STATE", "LAST SEEN", "OS", "VERSION")
		for _, n := range list {
			seen := ago(sh.now(), n.LastSeen)
			if n.Online {
				seen = "now"
			}
			version, _, _ := strings.Cut(n.ClientVersion, "-")
			t.add(n.ID.String(), n.Name, ownerOf(n), n.IPv4.String(), stateOf(n), seen, n.OS, version)
		}
		return t.write(w)
	})
}

func ownerOf(n admin.Node) string {
	if len(n.Tags) > 0 {
		return strings.Join(n.Tags, " ")
	}
	return n.User
}

func stateOf(n admin.Node) string {
	switch {
	case !n.Approved:
		return "waiting"
	case n.Expired:
		return "expired"
	case n.Online:
		return "online"
	}
	return "offline"
}

func showNode(ctx context.Context, sh *shell, args []string) error {
	n, err := get[admin.Node](ctx, sh, in("nodes", args[0]), nil)
	if err != nil {
		return err
	}
	return sh.show(n, func(w io.Writer) error {
		var t table
		t.add("Name", n.FQDN)
		t.add("ID", n.ID.String()+" ("+n.StableID+")")
		t.add("Owner", ownerOf(n))
		t.add("State", stateOf(n))
		t.add("Addresses", n.IPv4.String()+" "+n.IPv6.String())
		t.add("Last seen", ago(sh.now(), n.LastSeen))
		t.add("Key expires", until(sh.now(), n.KeyExpiry))
		t.add("Joined", ago(sh.now(), n.Created))
		t.add("Device", strings.TrimSpace(n.Hostname+" "+n.OS+" "+n.ClientVersion))
		if n.Ephemeral {
			t.add("Ephemeral", "yes: it goes when it is silent")
		}
		t.add("Routes offered", joined(n.AdvertisedRoutes))
		t.add("Routes approved", joined(n.ApprovedRoutes))
		t.add("Routes served", joined(n.PrimaryRoutes))
		t.add("Endpoints", joined(n.Endpoints))
		t.add("Home relay", fmt.Sprint(n.HomeRelay))
		t.add("Node key", n.NodeKey)
		t.add("Machine key", n.MachineKey)
		return t.write(w)
	})
}

// joined writes a list on one line.
func joined[T fmt.Stringer](list []T) string {
	if len(list) == 0 {
		return "none"
	}
	var texts []string
	for _, v := range list {
		texts = append(texts, v.String())
	}
	return strings.Join(texts, " ")
}

func nodeRegister() *command {
	return &command{
		name: "register", args: "CODE", least: 1, most: 1, short: "Connect a device that waits for a person.",
		long:     "CODE is the last part of the link that `tailscale up` prints; the whole link is fine, too.",
		examples: []string{"node register a1b2c3d4e5f6g7h8 --user ann@example.com", "node register a1b2c3d4e5f6g7h8 --tag tag:web"},
		values:   map[string]completion{"user": completeUser, "tag": completeTag},
		setup: func(fs *flag.FlagSet) runFunc {
			user := fs.String("user", "", "`login` of the user who gets the device; default: the owner")
			var tags listFlag
			fs.Var(&tags, "tag", "`tag` for the device, which then belongs to no user; may be repeated")
			return func(ctx context.Context, sh *shell, args []string) error {
				code := args[0][strings.LastIndexByte(args[0], '/')+1:]
				n, err := post[admin.Node](ctx, sh, "/nodes/register", admin.NodeRegister{Code: code, User: *user, Tags: tags.values})
				if err != nil {
					return err
				}
				return sh.say(n, "Device %s (%s) is connected; it belongs to %s.", n.Name, n.IPv4, ownerOf(n))
			}
		},
	}
}

func renameNode(ctx context.Context, sh *shell, args []string) error {
	name := ""
	if len(args) > 1 {
		name = args[1]
	}
	n, err := post[admin.Node](ctx, sh, in("nodes", args[0], "name"), admin.NodeName{Name: name})
	if err != nil {
		return err
	}
	return sh.say(n, "The device is now called %s.", n.FQDN)
}

func tagNode(ctx context.Context, sh *shell, args []string) error {
	n, err := post[admin.Node](ctx, sh, in("nodes", args[0], "tags"), admin.NodeTags{Tags: args[1:]})
	if err != nil {
		return err
	}
	return sh.say(n, "Device %s belongs to %s.", n.Name, ownerOf(n))
}

func approveNode(ctx context.Context, sh *shell, args []string) error {
	n, err := post[admin.Node](ctx, sh, in("nodes", args[0], "approve"), nil)
	if err != nil {
		return err
	}
	return sh.say(n, "Device %s takes part now.", n.Name)
}

func expireNode(ctx context.Context, sh *shell, args []string) error {
	n, err := post[admin.Node](ctx, sh, in("nodes", args[0], "expire"), nil)
	if err != nil {
		return err
	}
	return sh.say(n, "The key of device %s has ended; it has to log in again.", n.Name)
}

func nodeKeyExpiry(named func(command) *command) *command {
	return named(command{
		name: "key-expiry", short: "Set when a device's key ends, or that it does not.",
		examples: []string{"node key-expiry laptop --in 30d", "node key-expiry server --never"},
		setup: func(fs *flag.FlagSet) runFunc {
			var life lifeFlag
			fs.Var(&life, "in", "the key ends after this `time`, such as 30d")
			never := fs.Bool("never", false, "the key does not end, also after later logins")
			return func(ctx context.Context, sh *shell, args []string) error {
				if life.given == *never || life.given && life.d == 0 {
					return usagef("say either --in TIME or --never")
				}
				var b admin.NodeKeyExpiry
				if life.given {
					b.At = sh.now().Add(life.d).UTC()
				}
				n, err := post[admin.Node](ctx, sh, in("nodes", args[0], "key-expiry"), b)
				if err != nil {
					return err
				}
				return sh.say(n, "The key of device %s ends: %s.", n.Name, until(sh.now(), n.KeyExpiry))
			}
		},
	})
}

func nodePing(named func(command) *command) *command {
	return named(command{
		name: "ping", args: "NODE OTHER", least: 2, short: "Have a device ping another one, and tell how it reaches it.",
		examples: []string{"node ping laptop server", "node ping laptop 100.64.0.7 --kind ICMP"},
		setup: func(fs *flag.FlagSet) runFunc {
			kind := fs.String("kind", "disco", "`kind` of ping: disco, TSMP, ICMP or peerapi")
			return func(ctx context.Context, sh *shell, args []string) error {
				p, err := post[admin.Pong](ctx, sh, in("nodes", args[0], "ping"), admin.NodePing{To: args[1], Kind: *kind})
				if err != nil {
					return err
				}
				way := "through relay " + p.Relay
				switch {
				case p.Error != "":
					return fmt.Errorf("%s got no answer from %s: %s", args[0], args[1], p.Error)
				case p.Endpoint != "":
					way = "directly at " + p.Endpoint
				case p.Relay == "":
					way = "by a way it does not tell"
				}
				return sh.say(p, "%s answers %s %s after %.1f ms.", args[1], args[0], way, p.LatencySeconds*1000)
			}
		},
	})
}

func deleteNode(ctx context.Context, sh *shell, args []string) error {
	answer, err := call[struct{}](ctx, sh, "DELETE", in("nodes", args[0]), nil, nil)
	if err != nil {
		return err
	}
	return sh.say(answer, "Device %s is removed.", args[0])
}
