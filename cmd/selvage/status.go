package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"

	"selvage/internal/api/admin"
)

func statusCommand() *command {
	return &command{
		name: "status", short: "Show how the server and a tailnet are.",
		examples: []string{"status", "status --tailnet lab --json"},
		setup:    func(*flag.FlagSet) runFunc { return runStatus },
	}
}

func runStatus(ctx context.Context, sh *shell, _ []string) error {
	s, err := get[admin.Status](ctx, sh, "/status", nil)
	if err != nil {
		return err
	}
	return sh.show(s, func(w io.Writer) error {
		var t table
		t.add("Server", s.Server.Version)
		t.add("Clients log in to", s.Server.URL)
		t.add("Started", ago(sh.now(), s.Server.Started))
		if s.Server.Database != "" {
			t.add("Database", s.Server.Database)
		}
		if len(s.Server.Listening) > 0 {
			t.add("Listening on", strings.Join(s.Server.Listening, ", "))
		}
		t.add("Tailnet", s.Tailnet+" ("+s.Domain+")")
		t.add("Devices", devicesLine(s.Nodes))
		t.add("Users", fmt.Sprint(s.Users))
		t.add("Auth keys", fmt.Sprint(s.Keys)+" usable")
		t.add("Policy", policyLine(s.PolicyRevision))
		if s.PolicyProblem != "" {
			t.add("Policy problem", s.PolicyProblem)
		}
		for _, p := range s.Server.Problems {
			t.add("Problem", p)
		}
		return t.write(w)
	})
}

func devicesLine(c admin.NodeCounts) string {
	line := fmt.Sprintf("%d, %d online", c.Total, c.Online)
	if c.Waiting > 0 {
		line += fmt.Sprintf(", %d waiting for approval", c.Waiting)
	}
	if c.Expired > 0 {
		line += fmt.Sprintf(", %d expired", c.Expired)
	}
	return line
}

func policyLine(revision int64) string {
	if revision == 0 {
		return "the default one"
	}
	return fmt.Sprintf("revision %d", revision)
}
