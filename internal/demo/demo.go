// Package demo shows Selvage at work: it starts the whole server with a temporary
// data directory, joins three real client engines as a laptop, a database and a build
// machine, and shows what the policy lets pass. It owns the story and its words; the
// server and the clients are the same as in real use.
//
// Read demo.go for the story, device.go for the clients.
package demo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"selvage"
	"selvage/internal/config"
	"selvage/internal/identity"
	"selvage/internal/netmap"
	"selvage/internal/server"
)

// Options are how the demo is to be run.
type Options struct {
	// Check ends the demo after the last step, instead of staying up.
	Check bool
	// JSON prints one object a step instead of lines for people.
	JSON bool
	// Listen is the server's address; a free port of the loopback if empty.
	Listen string
	// Verbose passes on what the server and the clients log.
	Verbose bool
	Out     io.Writer
	// Log is where the server's log goes if Verbose is set.
	Log *slog.Logger
}

// stepTimeout bounds one step; a client needs some seconds to start on a busy machine.
const stepTimeout = 60 * time.Second

// policyText is what the demo's network allows.
const policyText = `{
	// Who is in which group.
	"groups": {"group:developers": ["alice@example.com"]},

	// Machines that belong to no person have tags.
	"tagOwners": {"tag:database": ["group:developers"], "tag:build": ["group:developers"]},

	// Developers reach the database itself, build machines only its health page.
	// What isn't allowed here is denied.
	"grants": [
		{"src": ["group:developers"], "dst": ["tag:database"], "ip": ["tcp:5432"]},
		{"src": ["tag:build"],        "dst": ["tag:database"], "ip": ["tcp:8080"]},
	],

	// Checked at every change; a change that breaks one is refused.
	"tests": [
		{"src": "alice@example.com", "accept": ["tag:database:5432"], "deny": ["tag:database:22"]},
		{"src": "tag:build", "accept": ["tag:database:8080"], "deny": ["tag:database:5432"]},
	],
}
`

// demo is one run of the story.
type demo struct {
	o      Options
	dir    string
	srv    *server.Server
	net    *netmap.Net
	alice  *selvage.User
	failed bool

	laptop, database, build *device
}

// Run tells the story. With Check it returns an error unless every step held;
// otherwise it stays up until ctx ends.
func Run(ctx context.Context, o Options) (err error) {
	quietClients()
	dir, err := os.MkdirTemp("", "selvage-demo-")
	if err != nil {
		return fmt.Errorf("make the demo's data directory: %w", err)
	}
	defer os.RemoveAll(dir)
	d := &demo{o: o, dir: dir}
	log := slog.New(slog.DiscardHandler)
	if o.Verbose {
		log = o.Log
	}
	cfg, err := d.config()
	if err != nil {
		return err
	}
	if d.srv, err = server.Open(ctx, cfg, log); err != nil {
		return err
	}
	d.net = d.srv.Hub().Nets()[0]
	ended := make(chan error, 1)
	ready := make(chan struct{})
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	go func() { ended <- d.srv.Run(serving, func() { close(ready) }) }()
	// Clients log out before their server goes.
	defer func() {
		d.closeDevices()
		stop()
		err = errors.Join(err, <-ended)
	}()
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		return err
	}
	return d.tell(ctx)
}

// config is what a server gets to which nobody said anything but where to be.
func (d *demo) config() (*config.Config, error) {
	listen := cmp.Or(d.o.Listen, "127.0.0.1:0")
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, selvage.Errorf(selvage.KindInvalid, "bad address %q: want HOST:PORT", listen)
	}
	// A configuration of its own, empty: the one of a real server on this machine would
	// bring its database along.
	file := filepath.Join(d.dir, "demo.yaml")
	if err := os.WriteFile(file, []byte("# nothing: the demo runs on the defaults\n"), 0o600); err != nil {
		return nil, fmt.Errorf("write the demo's configuration: %w", err)
	}
	loaded, err := config.Load(config.Source{Environ: []string{
		"SELVAGE_CONFIG=" + file,
		"SELVAGE_DATA_DIR=" + d.dir,
		"SELVAGE_LISTEN=" + listen,
		"SELVAGE_RELAY_STUN_LISTEN=" + net.JoinHostPort(host, "0"),
	}})
	if err != nil {
		return nil, err
	}
	if !strings.Contains(loaded.DSN(), d.dir) {
		return nil, fmt.Errorf("the demo would use the database %s, which is not its own", loaded.DSN())
	}
	return &loaded.Config, nil
}

// tell goes through the steps.
func (d *demo) tell(ctx context.Context) error {
	d.title("A network of your own, in three devices")
	d.step(ctx, "The server runs at "+d.srv.URL(), func(context.Context) (string, error) { return "", nil })
	d.step(ctx, "A policy: developers reach database:5432, build machines only database:8080", d.preparePolicy)
	d.step(ctx, "Alice's laptop joins", func(ctx context.Context) (string, error) {
		return d.join(ctx, &d.laptop, "laptop", selvage.AuthKey{User: d.alice.ID})
	})
	d.step(ctx, "A database joins, tagged tag:database", func(ctx context.Context) (string, error) {
		return d.join(ctx, &d.database, "database", selvage.AuthKey{Tags: []string{"tag:database"}})
	})
	d.step(ctx, "A build machine joins, tagged tag:build", func(ctx context.Context) (string, error) {
		return d.join(ctx, &d.build, "build", selvage.AuthKey{Tags: []string{"tag:build"}})
	})
	d.step(ctx, "The laptop resolves the name \"database\"", d.resolve)
	d.step(ctx, "The laptop connects to database:5432", d.connectAllowed)
	d.step(ctx, "The build machine connects to database:8080", d.connectHealth)
	d.step(ctx, "The build machine is refused at database:5432", d.connectDenied)
	d.step(ctx, "The build machine doesn't even know that the laptop exists", d.hidden)
	if ctx.Err() != nil {
		return nil // Ctrl-C is no failure
	}
	if d.failed {
		return selvage.Errorf(selvage.KindInternal, "a step of the demo did not hold; `selvage demo --verbose` shows the logs")
	}
	if d.o.Check {
		d.title("All steps held.")
		return nil
	}
	if err := d.invite(ctx); err != nil {
		return err
	}
	return d.stay(ctx)
}

// preparePolicy makes the user and puts the policy in force.
func (d *demo) preparePolicy(ctx context.Context) (string, error) {
	alice, err := d.net.CreateUser(ctx, selvage.Local(), "alice@example.com", "Alice", selvage.RoleMember)
	if err != nil {
		return "", err
	}
	d.alice = alice
	_, err = d.net.SetPolicy(ctx, selvage.Local(), policyText)
	return "", err
}

// newKey makes an auth key for a device.
func (d *demo) newKey(ctx context.Context, k selvage.AuthKey) (string, error) {
	text, id, hash := identity.NewAuthKey()
	k.ID, k.Hash = id, hash
	k.Expires = time.Now().Add(24 * time.Hour)
	return text, d.net.CreateAuthKey(ctx, selvage.Local(), &k)
}

func (d *demo) join(ctx context.Context, into **device, name string, k selvage.AuthKey) (string, error) {
	if d.alice == nil {
		return "", errors.New("there is no policy")
	}
	k.Ephemeral = true
	text, err := d.newKey(ctx, k)
	if err != nil {
		return "", err
	}
	dev, err := startDevice(ctx, filepath.Join(d.dir, name), name, d.srv.URL(), text, d.clientLog())
	if err != nil {
		return "", err
	}
	*into = dev
	if name == "database" {
		if err := errors.Join(dev.serve(5432, "hello from the database\n"), dev.serve(8080, "healthy\n")); err != nil {
			return "", err
		}
	}
	return dev.ip.String(), nil
}

func (d *demo) resolve(ctx context.Context) (string, error) {
	ip, err := d.laptop.resolve(ctx, "database."+d.net.View().Domain())
	if err != nil {
		return "", err
	}
	if ip != d.database.ip {
		return "", fmt.Errorf("the name leads to %v, not to %v", ip, d.database.ip)
	}
	return ip.String(), nil
}

func (d *demo) connectAllowed(ctx context.Context) (string, error) {
	answer, err := d.laptop.read(ctx, "database:5432")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%q", answer), nil
}

func (d *demo) connectHealth(ctx context.Context) (string, error) {
	answer, err := d.build.read(ctx, "database:8080")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%q", answer), nil
}

// deniedWait is how long a denied connection is tried: packets that the filter drops
// are not answered, so it ends with silence.
const deniedWait = 3 * time.Second

func (d *demo) connectDenied(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, deniedWait)
	defer cancel()
	answer, err := d.build.read(ctx, netip.AddrPortFrom(d.database.ip, 5432).String())
	if err == nil {
		return "", fmt.Errorf("it got through: %q", answer)
	}
	if !isTimeout(err) && !isRefusal(err) {
		return "", fmt.Errorf("it failed for another reason: %w", err)
	}
	return "no answer", nil
}

func (d *demo) hidden(ctx context.Context) (string, error) {
	peers, err := d.build.peers(ctx)
	if err != nil {
		return "", err
	}
	if want := "database." + d.net.View().Domain() + "."; !slices.Equal(peers, []string{want}) {
		return "", fmt.Errorf("it knows %v, and should know only %s", peers, want)
	}
	return "its only peer is the database", nil
}

// result is how a step went, for --json.
type result struct {
	Step   string  `json:"step"`
	OK     bool    `json:"ok"`
	Detail string  `json:"detail,omitempty"`
	Error  string  `json:"error,omitempty"`
	Took   float64 `json:"seconds"`
}

// step does one thing and says how it went. After a failure the later ones are tried
// all the same, as far as they can be.
func (d *demo) step(ctx context.Context, name string, do func(context.Context) (string, error)) {
	if ctx.Err() != nil {
		return
	}
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	start := time.Now()
	detail, err := d.try(ctx, do)
	r := result{Step: name, OK: err == nil, Detail: detail, Took: time.Since(start).Seconds()}
	if err != nil {
		if whole.Err() != nil {
			return
		}
		d.failed = true
		r.Error = err.Error()
	}
	d.print(r)
}

// try does a step; one that needs a device that did not start fails.
func (d *demo) try(ctx context.Context, do func(context.Context) (string, error)) (detail string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a device that this step needs did not start")
		}
	}()
	return do(ctx)
}

func (d *demo) print(r result) {
	if d.o.JSON {
		json.NewEncoder(d.o.Out).Encode(r)
		return
	}
	mark, detail := "ok  ", r.Detail
	if !r.OK {
		mark, detail = "FAIL", r.Error
	}
	fmt.Fprintf(d.o.Out, "  %s  %s", mark, r.Step)
	if detail != "" {
		fmt.Fprintf(d.o.Out, "\n          %s", detail)
	}
	fmt.Fprintln(d.o.Out)
}

func (d *demo) title(text string) {
	if !d.o.JSON {
		fmt.Fprintf(d.o.Out, "\n%s\n\n", text)
	}
}
