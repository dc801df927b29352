package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"selvage/test/clients"
)

// The rules are written as people find them in the language's documentation, comments
// included.
const sshPolicy = `{
	"groups": {
		"group:on-call":   ["ann@example.com"],
		"group:engineers": ["ann@example.com", "ben@example.com"],
		"group:admins":    ["ann@example.com"],
	},
	"tagOwners": {"tag:prod": [], "tag:staging": [], "tag:subnet-router": []},
	"autoApprovers": {"exitNode": ["group:admins"], "routes": {"10.0.0.0/16": ["tag:subnet-router"]}},
	"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}],
	"ssh": [ // On-call gets root only with re-auth in last 5 minutes
		{"action": "check", "src": ["group:on-call"], "dst": ["tag:prod"], "users": ["root"], "checkPeriod": "5m"},
		// Engineers get their own user, no re-auth required
		{"action": "accept", "src": ["group:engineers"], "dst": ["tag:staging"], "users": ["autogroup:nonroot"]} ],
}`

// rootPolicy lets ann be root at staging, and says nothing else of SSH.
const rootPolicy = `{
	"tagOwners": {"tag:prod": [], "tag:staging": []},
	"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}],
	"ssh": [{"action": "accept", "src": ["ann@example.com"], "dst": ["tag:staging"], "users": ["root"]}],
}`

const (
	noSSHPolicy = `{
	"tagOwners": {"tag:prod": [], "tag:staging": []},
	"grants": [{"src": ["*"], "dst": ["*"], "ip": ["*"]}],
}`
	// nologin is what the shell of the user nobody says: whoever hears it was let in.
	nologin = "This account is currently not available"
)

// inside is a command whose output, insideSays, is not in its own text.
var inside = []string{"echo", "$((617*1000))"}

const insideSays = "617000"

// ssh logs in to a device by its client's own ssh command.
func (c *client) ssh(ctx context.Context, user, ip string, command ...string) string {
	out, err := c.Tailscale(ctx, append([]string{"ssh", user + "@" + ip}, command...)...)
	if err != nil {
		out += " " + err.Error()
	}
	return out
}

// Who may log in as whom is what the policy says, at once when it changes.
func TestSSH(t *testing.T) {
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("no ssh here (apt-get install openssh-client)")
	}
	w := newWorld(t)
	w.server.run("user", "create", "ann@example.com")
	w.server.run("user", "create", "ben@example.com")
	w.server.setPolicy(sshPolicy)
	ann := w.joinAs(clients.Current, w.public("ann"), w.server.newKey("--user", "ann@example.com"))
	staging := w.joinAs(clients.Current, w.public("staging"), w.server.newKey("--tag", "tag:staging"), "--ssh")
	prod := w.joinAs(clients.Current, w.public("prod"), w.server.newKey("--tag", "tag:prod"), "--ssh")
	w.meet(ann, staging, prod)
	says := func(what, user, ip, want string, command ...string) {
		t.Helper()
		w.await(what, 2*policyTime, func() error {
			ctx, cancel := context.WithTimeout(w.ctx, policyTime)
			defer cancel()
			if out := ann.ssh(ctx, user, ip, command...); !strings.Contains(out, want) {
				return fmt.Errorf("got %q, want %q", out, want)
			}
			return nil
		})
	}
	says("an engineer is a user at staging", "nobody", staging.ip4(), nologin)
	says("an engineer is not root at staging", "root", staging.ip4(), "not permit", inside...)
	says("an engineer is no user at prod", "nobody", prod.ip4(), "not permit")

	w.server.setPolicy(rootPolicy)
	says("root at staging", "root", staging.ip4(), insideSays, inside...)
	says("root at staging is no other user", "nobody", staging.ip4(), "not permit")

	ended := make(chan string, 1)
	begun := make(chan struct{})
	go func() {
		close(begun)
		ctx, cancel := context.WithTimeout(w.ctx, 90*time.Second)
		defer cancel()
		ended <- ann.ssh(ctx, "root", staging.ip4(), "sleep", "80")
	}()
	<-begun
	w.await("a session runs", policyTime, func() error {
		if out, err := staging.Host.Run(w.ctx, "pgrep", "-f", "^sleep 80$"); err != nil || strings.TrimSpace(out) == "" {
			return fmt.Errorf("no such process: %v", err)
		}
		return nil
	})
	w.server.setPolicy(noSSHPolicy)
	select {
	case out := <-ended:
		if !strings.Contains(out, "Access revoked") {
			t.Errorf("the session ends with %q", out)
		}
	case <-time.After(60 * time.Second):
		t.Error("the session goes on without a rule for it")
	}
	if out := ann.ssh(w.ctx, "root", staging.ip4(), inside...); strings.Contains(out, insideSays) {
		t.Errorf("without a rule for it, a login says %q", out)
	}
}

// An application asks its client who is there, and with which capabilities.
func TestCapabilities(t *testing.T) {
	w := newWorld(t)
	w.server.run("user", "create", "ann@example.com")
	w.server.setPolicy(`{
	"tagOwners": {"tag:files": []},
	"grants": [{"src": ["ann@example.com"], "dst": ["tag:files"], "ip": ["tcp:80"],
		"app": {"example.com/cap/files": [{"shares": ["plans"]}]}}],
}`)
	ann := w.joinAs(clients.Current, w.public("ann"), w.server.newKey("--user", "ann@example.com"))
	files := w.joinAs(clients.Current, w.public("files"), w.server.newKey("--tag", "tag:files"))
	w.meet(ann, files)
	w.await("the application is told the capability", policyTime, func() error {
		out, err := files.Tailscale(w.ctx, "whois", "--json", ann.ip4())
		if err != nil {
			return err
		}
		for _, want := range []string{"example.com/cap/files", "plans", "ann@example.com"} {
			if !strings.Contains(out, want) {
				return fmt.Errorf("no %q in %s", want, out)
			}
		}
		return nil
	})
}

// A posture of the policy is judged by what the client reports of itself.
func TestPosture(t *testing.T) {
	w := newWorld(t)
	w.server.run("user", "create", "ann@example.com")
	rule := func(version string) string {
		return `{
	"tagOwners": {"tag:web": []},
	"postures": {"posture:up-to-date": ["node:os == 'linux'", "node:tsVersion >= '` + version + `'"]},
	"grants": [{"src": ["ann@example.com"], "dst": ["tag:web"], "ip": ["tcp:80"], "srcPosture": ["posture:up-to-date"]}],
}`
	}
	w.server.setPolicy(rule("1.90"))
	ann := w.joinAs(clients.Current, w.public("ann"), w.server.newKey("--user", "ann@example.com"))
	web := w.joinAs(clients.Current, w.public("web"), w.server.newKey("--tag", "tag:web"))
	w.serveTCP(web.Host, "80")
	ip := web.ip4()
	ask := func() error { _, err := askTCP(w.ctx, ann.Host, ip, "80"); return err }
	w.await("a device with the posture gets through", meetTime, ask)
	w.server.setPolicy(rule("9.9"))
	w.await("a device without it sees nobody", policyTime, func() error { return ann.lacks(ip) })
	if ask() == nil {
		t.Error("a device without the posture gets through")
	}
}
