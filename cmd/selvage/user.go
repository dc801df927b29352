package main

import (
	"context"
	"flag"
	"fmt"
	"io"

	"selvage"
	"selvage/internal/api/admin"
)

func userCommand() *command {
	change := func(c command, change func(args []string) admin.UserChange, said string) *command {
		c.least, c.most = max(c.least, 1), max(c.most, 1)
		c.complete = append([]completion{completeUser}, c.complete...)
		c.setup = func(*flag.FlagSet) runFunc {
			return func(ctx context.Context, sh *shell, args []string) error {
				u, err := call[admin.User](ctx, sh, "PATCH", in("users", args[0]), nil, change(args))
				if err != nil {
					return err
				}
				return sh.say(u, said, u.Login, u.Role)
			}
		}
		return &c
	}
	yes, no := true, false
	return &command{
		name: "user", short: "Show and change users.",
		long: "A user is named by the login, such as ann@example.com.",
		sub: []*command{
			{
				name: "list", short: "List users.",
				examples: []string{"user list", "user list --json"},
				setup:    func(*flag.FlagSet) runFunc { return listUsers },
			},
			userCreate(),
			change(command{
				name: "role", args: "LOGIN ROLE", least: 2, most: 2, short: "Give a user another role.",
				long:     "Roles: owner, admin, network-admin, it-admin, billing-admin, auditor, member.",
				examples: []string{"user role ann@example.com admin", "user role ben@example.com auditor"},
				complete: []completion{completeRole},
			}, func(args []string) admin.UserChange {
				role := selvage.Role(args[1])
				return admin.UserChange{Role: &role}
			}, "User %s has the role %s."),
			change(command{
				name: "rename", args: "LOGIN NEW-LOGIN", least: 2, most: 2, short: "Change a user's login; policies that name the old one have to follow.",
				examples: []string{"user rename owner ann@example.com", "user rename ann@example.com ann@example.org"},
				complete: []completion{completeNothing},
			}, func(args []string) admin.UserChange {
				return admin.UserChange{Login: &args[1]}
			}, "The user is now %[1]s."),
			change(command{
				name: "suspend", args: "LOGIN", short: "Keep a user from signing in and from adding devices.",
				long:     "Their sessions end, and their tokens and auth keys are refused. Devices that are in the\nnetwork stay connected: `selvage node list --user LOGIN` shows those of the user,\n`selvage node expire` or `selvage node delete` ends one. Tagged devices are nobody's.",
				examples: []string{"user suspend ann@example.com", "user suspend ann@example.com --json"},
			}, func([]string) admin.UserChange { return admin.UserChange{Suspended: &yes} }, "User %[1]s is suspended. Devices that they have connected stay connected: `selvage node list --user %[1]s` shows them, `selvage node expire NODE` or `selvage node delete NODE` ends one."),
			change(command{
				name: "restore", args: "LOGIN", short: "End a suspension.",
				examples: []string{"user restore ann@example.com", "user restore ann@example.com --json"},
			}, func([]string) admin.UserChange { return admin.UserChange{Suspended: &no} }, "User %[1]s may sign in again."),
			{
				name: "link", args: "LOGIN", least: 1, most: 1, short: "Make a one-time link that signs a user in.",
				long:     "Whoever has the link can be the user, once, within 24 hours: send it by a safe way.",
				examples: []string{"user link ann@example.com", "user link owner --json"},
				complete: []completion{completeUser},
				setup:    func(*flag.FlagSet) runFunc { return linkUser },
			},
			{
				name: "delete", args: "LOGIN", least: 1, most: 1, short: "Remove a user with their devices and auth keys.",
				examples: []string{"user delete ann@example.com", "user delete ann@example.com --tailnet lab"},
				complete: []completion{completeUser},
				setup:    func(*flag.FlagSet) runFunc { return deleteUser },
			},
		},
	}
}

func listUsers(ctx context.Context, sh *shell, _ []string) error {
	list, err := get[[]admin.User](ctx, sh, "/users", nil)
	if err != nil {
		return err
	}
	return sh.show(list, func(w io.Writer) error {
		t := table{}
		t.add("LOGIN", "NAME", "ROLE", "STATE", "DEVICES", "CREATED")
		for _, u := range list {
			state := "active"
			if u.Pending {
				state = "not signed in yet"
			}
			if u.Suspended {
				state = "suspended"
			}
			t.add(u.Login, u.DisplayName, string(u.Role), state, fmt.Sprint(u.Nodes), ago(sh.now(), u.Created))
		}
		return t.write(w)
	})
}

func userCreate() *command {
	return &command{
		name: "create", args: "LOGIN", least: 1, most: 1, short: "Create a user.",
		examples: []string{"user create ann@example.com", "user create ann@example.com --name Ann --role admin"},
		values:   map[string]completion{"role": completeRole},
		setup: func(fs *flag.FlagSet) runFunc {
			name := fs.String("name", "", "`name` that people see")
			role := fs.String("role", "member", "what the user may do: a `role`")
			return func(ctx context.Context, sh *shell, args []string) error {
				u, err := post[admin.User](ctx, sh, "/users", admin.UserCreate{Login: args[0], DisplayName: *name, Role: selvage.Role(*role)})
				if err != nil {
					return err
				}
				return sh.say(u, "User %s is there; `selvage user link %s` makes a link to sign in.", u.Login, u.Login)
			}
		},
	}
}

func linkUser(ctx context.Context, sh *shell, args []string) error {
	l, err := post[admin.Link](ctx, sh, in("users", args[0], "link"), nil)
	if err != nil {
		return err
	}
	if !sh.global.json {
		// To stderr, so that the link alone can be piped on.
		fmt.Fprintf(sh.err, "This link signs %s in, once, until %s:\n", printable(l.User), l.Expires.Local().Format("2006-01-02 15:04"))
	}
	return sh.say(l, "%s", l.URL)
}

func deleteUser(ctx context.Context, sh *shell, args []string) error {
	answer, err := call[struct{}](ctx, sh, "DELETE", in("users", args[0]), nil, nil)
	if err != nil {
		return err
	}
	return sh.say(answer, "User %s is removed.", args[0])
}
