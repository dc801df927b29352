package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/netip"

	"selvage"
	"selvage/internal/api/admin"
)

func routeCommand() *command {
	change := func(name, short, said string, examples ...string) *command {
		return &command{
			name: name, args: "NODE ROUTE...", least: 2, most: -1, short: short, examples: examples,
			long:     "ROUTE is a network such as 192.0.2.0/24, or \"exit\" for an exit node.",
			complete: []completion{completeNode, completeRoute},
			setup: func(*flag.FlagSet) runFunc {
				return func(ctx context.Context, sh *shell, args []string) error {
					routes, err := parseRoutes(args[1:])
					if err != nil {
						return err
					}
					n, err := post[admin.Node](ctx, sh, in("nodes", args[0], "routes", name), admin.RouteChange{Routes: routes})
					if err != nil {
						return err
					}
					return sh.say(n, said, n.Name, joined(n.ApprovedRoutes))
				}
			},
		}
	}
	return &command{
		name: "route", short: "Approve subnet routes and exit nodes.",
		sub: []*command{
			{
				name: "list", short: "List routes that devices offer or may serve.",
				examples: []string{"route list", "route list --json"},
				setup:    func(*flag.FlagSet) runFunc { return listRoutes },
			},
			change("approve", "Let a device serve routes that it offers, now or later.", "Device %s may serve: %s.",
				"route approve router 192.0.2.0/24", "route approve router exit"),
			change("withdraw", "Take approval back.", "Device %s may serve: %s.",
				"route withdraw router 192.0.2.0/24", "route withdraw router exit"),
		},
	}
}

func parseRoutes(texts []string) ([]netip.Prefix, error) {
	var routes []netip.Prefix
	for _, s := range texts {
		if s == "exit" {
			routes = append(routes, selvage.ExitRoutes()...)
			continue
		}
		p, err := netip.ParsePrefix(s)
		if addr, addrErr := netip.ParseAddr(s); addrErr == nil {
			p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return nil, usagef("bad route %q: want a network such as 192.0.2.0/24, or \"exit\"", s)
		}
		routes = append(routes, p)
	}
	return routes, nil
}

func listRoutes(ctx context.Context, sh *shell, _ []string) error {
	list, err := get[[]admin.Route](ctx, sh, "/routes", nil)
	if err != nil {
		return err
	}
	return sh.show(list, func(w io.Writer) error {
		if len(list) == 0 {
			_, err := fmt.Fprintln(w, "No routes. A device offers them with `tailscale set --advertise-routes=NETWORK` or --advertise-exit-node.")
			return err
		}
		t := table{}
		t.add("ROUTE", "DEVICE", "OFFERED", "APPROVED", "SERVED")
		for _, r := range list {
			t.add(r.Route.String(), r.Node, yesNo(r.Advertised), yesNo(r.Approved), yesNo(r.Primary))
		}
		return t.write(w)
	})
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
