package main

import (
	"context"
	"flag"
	"fmt"
	"io"

	"selvage/internal/api/admin"
)

func tailnetCommand() *command {
	return &command{
		name: "tailnet", short: "List and create tailnets.",
		long: "A tailnet is one network: its own users, devices, policy, names and addresses. A\nserver begins with one, \"home\". Other commands take --tailnet NAME.",
		sub: []*command{
			{
				name: "list", short: "List tailnets.",
				examples: []string{"tailnet list", "tailnet list --json"},
				setup:    func(*flag.FlagSet) runFunc { return listTailnets },
			},
			{
				name: "create", args: "NAME", short: "Create a tailnet with an owner who has not signed in yet.", least: 1, most: 1,
				examples: []string{"tailnet create lab", "tailnet create lab && selvage user link owner --tailnet lab"},
				setup:    func(*flag.FlagSet) runFunc { return createTailnet },
			},
		},
	}
}

func listTailnets(ctx context.Context, sh *shell, _ []string) error {
	list, err := get[[]admin.Tailnet](ctx, sh, "/tailnets", nil)
	if err != nil {
		return err
	}
	return sh.show(list, func(w io.Writer) error {
		t := table{}
		t.add("NAME", "DOMAIN", "DEVICES", "USERS", "CREATED")
		for _, n := range list {
			t.add(n.Name, n.Domain, fmt.Sprint(n.Nodes), fmt.Sprint(n.Users), ago(sh.now(), n.Created))
		}
		return t.write(w)
	})
}

func createTailnet(ctx context.Context, sh *shell, args []string) error {
	n, err := post[admin.Tailnet](ctx, sh, "/tailnets", admin.TailnetCreate{Name: args[0]})
	if err != nil {
		return err
	}
	return sh.say(n, "Tailnet %s is there: its devices are called NAME.%s.", n.Name, n.Domain)
}
