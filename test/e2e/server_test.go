package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"selvage/test/natlab"
)

// Bounds of what the server is asked.
const (
	readyTime   = 20 * time.Second
	commandTime = 15 * time.Second
)

// readyLine is what the server prints when clients may come.
var readyLine = regexp.MustCompile(`\bready\b`)

// server is a running `selvage serve` on a host of the lab.
type server struct {
	w    *world
	host *natlab.Host
	dir  string // scratch folder of the story
	log  *tail
	proc *natlab.Proc
}

func newServer(w *world) *server {
	w.Helper()
	dir, err := os.MkdirTemp(scratch, "w")
	w.ok(err)
	h, err := w.lab.Host("srv")
	w.ok(err)
	_, err = w.segment("servers", serverNet, serverCore).Plug(h, "eth0", serverAddr, serverCore)
	w.ok(err)
	return &server{w: w, host: h, dir: dir, log: newTail()}
}

// url is what clients log in to.
func (s *server) url() string { return "http://" + serverAddr + ":" + serverPort }

func (s *server) data() string { return filepath.Join(s.dir, "data") }

// start starts the program and waits until it is ready.
func (s *server) start() {
	s.w.Helper()
	prog, err := program()
	s.w.ok(err)
	ready := s.log.watch(readyLine)
	s.proc, err = s.host.Start(s.log, nil, prog, "serve", "--data-dir", s.data(), "--listen", serverAddr+":"+serverPort)
	s.w.ok(err)
	select {
	case <-ready:
	case <-s.proc.Done():
		s.w.Fatal("the server ended before it was ready")
	case <-time.After(readyTime):
		s.w.Fatalf("the server is not ready after %v", readyTime)
	}
}

// try runs a command of selvage and returns what it printed.
func (s *server) try(ctx context.Context, args ...string) (string, error) {
	prog, err := program()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := s.host.Command(ctx, append([]string{prog, "--data-dir", s.data()}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("selvage %s: %w: %s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out), err
}

// run runs a command of selvage that must succeed.
func (s *server) run(args ...string) string {
	s.w.Helper()
	out, err := s.try(s.w.ctx, args...)
	s.w.ok(err)
	return out
}

// newKey makes an auth key: reusable, and as the flags say.
func (s *server) newKey(flags ...string) string {
	s.w.Helper()
	out := s.run(append([]string{"key", "create", "--reusable", "--json"}, flags...)...)
	var key struct{ Key string }
	if err := json.Unmarshal([]byte(out), &key); err != nil || key.Key == "" {
		s.w.Fatalf("key create printed %q: %v", out, err)
	}
	return key.Key
}

// setPolicy replaces the policy.
func (s *server) setPolicy(text string) {
	s.w.Helper()
	s.run("policy", "set", s.w.file("policy.hujson", text))
}

// node is what `node list` says of a node.
type node struct {
	ID     int64    `json:"id"`
	Name   string   `json:"name"`
	User   string   `json:"user"`
	Tags   []string `json:"tags"`
	IPv4   string   `json:"ipv4"`
	IPv6   string   `json:"ipv6"`
	Online bool     `json:"online"`
}

// nodes lists the nodes.
func (s *server) nodes() ([]node, error) {
	out, err := s.try(s.w.ctx, "node", "list", "--json")
	if err != nil {
		return nil, err
	}
	var list []node
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("node list printed %q: %w", out, err)
	}
	return list, nil
}

// node returns the node with the given name.
func (s *server) node(name string) (node, error) {
	list, err := s.nodes()
	if err != nil {
		return node{}, err
	}
	i := slices.IndexFunc(list, func(n node) bool { return n.Name == name })
	if i < 0 {
		return node{}, fmt.Errorf("no node %s in %v", name, list)
	}
	return list[i], nil
}

// gone returns nil if there is no node with the given name.
func (s *server) gone(name string) error {
	list, err := s.nodes()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(list, func(n node) bool { return n.Name == name }) {
		return fmt.Errorf("node %s is still there", name)
	}
	return nil
}

// online returns nil if the server takes all the nodes for online.
func (s *server) online(names ...string) error {
	for _, name := range names {
		n, err := s.node(name)
		if err != nil {
			return err
		}
		if !n.Online {
			return fmt.Errorf("node %s is offline", name)
		}
	}
	return nil
}
