package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/chromedp/chromedp"
	"tailscale.com/control/tsp"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage/test/natlab"
)

// The window of the browser, in pixels.
const (
	windowWidth  = 1280
	windowHeight = 1000
)

// settleTime bounds the wait for what the picture shows.
const settleTime = 30 * time.Second

const policyText = `{
	"tagOwners": {"tag:web": ["autogroup:admin"], "tag:router": ["autogroup:admin"], "tag:build": ["autogroup:admin"]},
	"grants": [
		{"src": ["autogroup:member"], "dst": ["autogroup:self", "autogroup:internet", "10.20.0.0/16"], "ip": ["*"]},
		{"src": ["autogroup:member"], "dst": ["tag:web"], "ip": ["tcp:22", "tcp:443"]},
	],
}`

// machine is a device in the picture.
type machine struct {
	owner, host, os, distro, version string
	away                             bool // it has joined, and is not connected
	routes                           []netip.Prefix
}

func machines() []machine {
	exit := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	return []machine{
		{owner: "ada", host: "adas-laptop", os: "macOS"},
		{owner: "ada", host: "adas-phone", os: "iOS"},
		{owner: "bob", host: "bobs-desktop", os: "windows"},
		{owner: "bob", host: "old-tablet", os: "android", away: true},
		{owner: "tag:build", host: "build-1", os: "linux", distro: "debian", version: "13.1"},
		{owner: "tag:router", host: "gateway", os: "linux", distro: "alpine", version: "3.22", routes: append(exit, netip.MustParsePrefix("10.20.0.0/16"))},
		{owner: "tag:web", host: "web-1", os: "linux", distro: "ubuntu", version: "24.04"},
		{owner: "tag:web", host: "web-2", os: "linux", distro: "ubuntu", version: "24.04"},
	}
}

// office is a running server.
type office struct {
	program, dir, url, link string
}

var linkPattern = regexp.MustCompile(`http://\S+/welcome/\S+`)

// consolePicture starts a server with some devices and takes the picture of its first
// page.
func consolePicture(ctx context.Context, program, dir string) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o := &office{program: program, dir: filepath.Join(dir, "data")}
	stop, err := o.serve(ctx)
	if err != nil {
		return nil, err
	}
	defer stop()
	if err := o.furnish(ctx, dir); err != nil {
		return nil, err
	}
	for _, m := range machines() {
		hangUp, err := o.join(ctx, m)
		if err != nil {
			return nil, fmt.Errorf("join %s: %w", m.host, err)
		}
		defer hangUp()
	}
	if _, err := o.selvage(ctx, "route", "approve", "gateway", "10.20.0.0/16", "exit"); err != nil {
		return nil, err
	}
	if err := o.settle(ctx); err != nil {
		return nil, err
	}
	return o.shoot(ctx)
}

// settle waits until those who are away count as that, which has a grace.
func (o *office) settle(ctx context.Context) error {
	away := 0
	for _, m := range machines() {
		if m.away {
			away++
		}
	}
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	return natlab.Poll(ctx, time.Second/10, func() error {
		text, err := o.selvage(ctx, "node", "list", "--offline", "--json")
		if err != nil {
			return err
		}
		var nodes []struct{ Name string }
		if err := json.Unmarshal([]byte(text), &nodes); err != nil {
			return fmt.Errorf("read the list of devices: %w", err)
		}
		if len(nodes) != away {
			return fmt.Errorf("%d devices are offline, want %d", len(nodes), away)
		}
		return nil
	})
}

// serve starts the server and reads where it is.
func (o *office) serve(ctx context.Context) (stop func(), err error) {
	cmd := exec.CommandContext(ctx, o.program, "serve", "--data-dir", o.dir, "--listen", "127.0.0.1:0", "--relay-stun-listen", "127.0.0.1:0", "--log-level", "error")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	stop = func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	}
	for lines := bufio.NewScanner(out); o.link == "" && lines.Scan(); {
		o.link = linkPattern.FindString(lines.Text())
	}
	if o.link == "" {
		stop()
		return nil, errors.New("the server printed no link for its owner")
	}
	go io.Copy(io.Discard, out)
	o.url, _, _ = strings.Cut(o.link, "/welcome/")
	return stop, nil
}

// selvage runs the command line and returns what it prints.
func (o *office) selvage(ctx context.Context, args ...string) (string, error) {
	var problem strings.Builder
	cmd := exec.CommandContext(ctx, o.program, append([]string{"--data-dir", o.dir}, args...)...)
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("selvage %s: %w\n%s", strings.Join(args, " "), err, problem.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// furnish makes users and a policy.
func (o *office) furnish(ctx context.Context, dir string) error {
	file := filepath.Join(dir, "policy.hujson")
	if err := os.WriteFile(file, []byte(policyText), 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"user", "create", "ada", "--name", "Ada Weaver", "--role", "admin"},
		{"user", "create", "bob", "--name", "Bob Loom"},
		{"policy", "set", file},
	} {
		if _, err := o.selvage(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// join connects a device in the clients' protocol, and keeps it connected until it is
// hung up.
func (o *office) join(ctx context.Context, m machine) (hangUp func(), err error) {
	flag := "--user"
	if strings.HasPrefix(m.owner, "tag:") {
		flag = "--tag"
	}
	auth, err := o.selvage(ctx, "key", "create", flag, m.owner)
	if err != nil {
		return nil, err
	}
	c, err := tsp.NewClient(tsp.ClientOpts{ServerURL: o.url, MachineKey: key.NewMachine()})
	if err != nil {
		return nil, err
	}
	if _, err := c.DiscoverServerKey(ctx); err != nil {
		return nil, err
	}
	node := key.NewNode()
	info := &tailcfg.Hostinfo{
		Hostname: m.host, OS: m.os, Distro: m.distro, DistroVersion: m.version, IPNVersion: "1.102.5", RoutableIPs: m.routes,
	}
	resp, err := c.Register(ctx, tsp.RegisterOpts{NodeKey: node, Hostinfo: info, AuthKey: auth})
	if err != nil {
		return nil, err
	}
	if resp.Error != "" || !resp.MachineAuthorized {
		return nil, fmt.Errorf("the server refused it: %s", resp.Error)
	}
	session, err := c.Map(ctx, tsp.MapOpts{NodeKey: node, Hostinfo: info, Stream: true})
	if err != nil {
		return nil, err
	}
	if _, err := session.Next(); err != nil {
		return nil, err
	}
	hangUp = func() {
		session.Close()
		c.Close()
	}
	if m.away {
		hangUp()
		return func() {}, nil
	}
	go func() {
		for {
			if _, err := session.Next(); err != nil {
				return
			}
		}
	}()
	return hangUp, nil
}

// shoot signs in as a person would, and takes the picture.
func (o *office) shoot(ctx context.Context) ([]byte, error) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		return nil, fmt.Errorf("the package chromium is needed: %w", err)
	}
	link, err := o.selvage(ctx, "user", "link", "ada")
	if err != nil {
		return nil, err
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("host-resolver-rules", "EXCLUDE 127.0.0.1, MAP * ~NOTFOUND"),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("hide-scrollbars", true),
	)
	alloc, cancelAlloc := chromedp.NewExecAllocator(ctx, opts...)
	defer cancelAlloc()
	tab, cancel := chromedp.NewContext(alloc)
	defer cancel()
	if err := chromedp.Do(tab, chromedp.EmulateViewport(windowWidth, windowHeight), chromedp.Navigate(link)); err != nil {
		return nil, fmt.Errorf("open the link: %w", err)
	}
	if _, err := chromedp.RunResponse(tab, chromedp.Click(chromedp.CSS("main button.big"))); err != nil {
		return nil, fmt.Errorf("sign in: %w", err)
	}
	if err := chromedp.Do(tab, chromedp.Navigate(o.url+"/"), chromedp.WaitVisible(chromedp.CSS("table"))); err != nil {
		return nil, fmt.Errorf("open the first page: %w", err)
	}
	return chromedp.Run(tab, chromedp.CaptureScreenshot())
}
