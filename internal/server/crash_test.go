package server_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tailscale.com/control/tsp"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/config"
	"selvage/internal/identity"
	"selvage/internal/journal"
	"selvage/internal/netmap"
	"selvage/internal/server"
	"selvage/internal/store"
)

// envCrashChild makes the test binary be a server under load until it is killed.
const envCrashChild = "SELVAGE_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envCrashChild); dir != "" {
		if err := crashChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func testConfig(dir string) (*config.Config, error) {
	l, err := config.Load(config.Source{Environ: []string{
		"SELVAGE_DATA_DIR=" + dir, "SELVAGE_LISTEN=127.0.0.1:0", "SELVAGE_RELAY_STUN_LISTEN=127.0.0.1:0",
	}})
	if err != nil {
		return nil, err
	}
	return &l.Config, nil
}

// crashChild serves, and changes things all the time. It prints what was acknowledged,
// one line each: "user NAME", "name NODE-KEY NAME", and first the server's address and
// an auth key.
func crashChild(dir string) error {
	cfg, err := testConfig(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	s, err := server.Open(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	n := s.Hub().Nets()[0]
	text, id, hash := identity.NewAuthKey()
	k := &selvage.AuthKey{ID: id, Hash: hash, User: n.View().Owner().ID, Reusable: true}
	if err := n.CreateAuthKey(ctx, selvage.Local(), k); err != nil {
		return err
	}
	return s.Run(ctx, func() {
		fmt.Printf("ready %s %s\n", s.URL(), text)
		go changeThings(ctx, n)
	})
}

func changeThings(ctx context.Context, n *netmap.Net) {
	for {
		name := "u-" + selvage.RandomText(10)
		if _, err := n.CreateUser(ctx, selvage.Local(), name, "", selvage.RoleMember); err == nil {
			fmt.Printf("user %s\n", name)
		}
		for node := range n.View().Nodes() {
			name := "n-" + selvage.RandomText(10)
			if err := n.RenameNode(ctx, selvage.Local(), node.ID, name); err == nil {
				fmt.Printf("name %s %s\n", node.Key, name)
			}
			break
		}
	}
}

// acked is what the server has acknowledged so far.
type acked struct {
	mu sync.Mutex
	// guards the following fields
	users map[string]bool
	nodes map[string]bool   // by node key
	names map[string]string // by node key
}

// TestKillLosesNothing kills a server under load, again and again, and compares what
// it had acknowledged with what is there after the next start.
func TestKillLosesNothing(t *testing.T) {
	rounds := 100
	if testing.Short() {
		rounds = 5
	}
	dir := t.TempDir()
	a := &acked{users: map[string]bool{}, nodes: map[string]bool{}, names: map[string]string{}}
	for i := range rounds {
		// Every other kill comes when a device of the round has joined for sure, also on
		// a machine that is slow to start a server.
		crashRound(t, dir, a, i%2 == 1)
	}
	if len(a.users) < rounds || len(a.nodes) < rounds/4 {
		t.Errorf("only %d users and %d nodes were acknowledged in %d rounds; the load is too small to prove anything", len(a.users), len(a.nodes), rounds)
	}
	compareAcked(t, dir, a)
	t.Logf("%d kills: %d users, %d nodes and the newest of their names were all there", rounds, len(a.users), len(a.nodes))
}

func crashRound(t *testing.T, dir string, a *acked, loaded bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envCrashChild+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		cmd.Wait()
		t.Fatalf("the server did not start after a kill: %s", stderr.String())
	}
	fields := strings.Fields(lines.Text())
	if len(fields) != 3 || fields[0] != "ready" {
		t.Fatalf("unexpected first line %q", lines.Text())
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { registerMany(ctx, fields[1], fields[2], a) })
	}
	wg.Go(func() { a.read(lines) })
	if loaded {
		a.await(t)
	}
	// A random moment is the point here: the kill must not wait for anything else.
	time.Sleep(time.Duration(20+rand.IntN(150)) * time.Millisecond)
	cmd.Process.Kill()
	cancel()
	wg.Wait()
	cmd.Wait()
}

// devices returns how many have joined.
func (a *acked) devices() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.nodes)
}

// await returns when one more device has joined.
func (a *acked) await(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for had, deadline := a.devices(), time.Now().Add(20*time.Second); a.devices() == had; <-tick.C {
		if time.Now().After(deadline) {
			t.Error("no device could join in 20 s")
			return
		}
	}
}

// read takes in what the child acknowledges. A last line that is cut off doesn't
// count.
func (a *acked) read(lines *bufio.Scanner) {
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		a.mu.Lock()
		switch {
		case len(f) == 2 && f[0] == "user" && len(f[1]) == 12:
			a.users[f[1]] = true
		case len(f) == 3 && f[0] == "name" && len(f[2]) == 12:
			a.names[f[1]] = f[2]
		}
		a.mu.Unlock()
	}
}

// registerMany joins devices by the clients' own protocol.
func registerMany(ctx context.Context, url, authKey string, a *acked) {
	for ctx.Err() == nil {
		c, err := tsp.NewClient(tsp.ClientOpts{ServerURL: url, MachineKey: key.NewMachine()})
		if err != nil {
			continue
		}
		k := key.NewNode()
		_, err = c.Register(ctx, tsp.RegisterOpts{
			NodeKey: k, AuthKey: authKey, Hostinfo: &tailcfg.Hostinfo{Hostname: "crash", BackendLogID: "x"},
		})
		c.Close()
		if err == nil {
			a.mu.Lock()
			a.nodes[k.Public().String()] = true
			a.mu.Unlock()
		}
	}
}

func compareAcked(t *testing.T, dir string, a *acked) {
	t.Helper()
	cfg, err := testConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, err := server.Open(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	v := s.Hub().Nets()[0].View()
	for name := range a.users {
		if _, err := v.UserByLogin(name); err != nil {
			t.Errorf("an acknowledged user is lost: %v", err)
		}
	}
	have := map[string]string{}
	for n := range v.Nodes() {
		have[n.Key.String()] = n.Name
	}
	for k := range a.nodes {
		if _, ok := have[k]; !ok {
			t.Errorf("the acknowledged node %s is lost", k)
		}
	}
	for k, name := range a.names {
		// The last rename may have been stored without its acknowledgment being read,
		// but it is never an older one than the acknowledged.
		if have[k] != name && !renamedAfter(t, s, k, name) {
			t.Errorf("node %s is called %q, and %q was acknowledged", k, have[k], name)
		}
	}
	verifyJournal(t, s)
	cancel()
	if err := s.Run(ctx, func() {}); err != nil {
		t.Error(err)
	}
}

// renamedAfter reports whether the journal has the rename to name, and a later one.
func renamedAfter(t *testing.T, s *server.Server, nodeKey, name string) bool {
	t.Helper()
	var id string
	for n := range s.Hub().Nets()[0].View().Nodes() {
		if n.Key.String() == nodeKey {
			id = n.ID.String()
		}
	}
	found, later := false, false
	after := int64(0)
	for {
		var entries []*selvage.Entry
		err := s.DB().Read(t.Context(), func(tx *store.Tx) (err error) {
			entries, err = tx.Entries(s.Hub().Nets()[0].ID(), store.Query{After: after, Limit: 1000, Action: journal.NodeRename, Target: "node:" + id})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			return found && later
		}
		for _, e := range entries {
			after = e.Seq
			later = found
			if strings.Contains(string(e.New), strconv.Quote(name)) {
				found, later = true, false
			}
		}
	}
}

func verifyJournal(t *testing.T, s *server.Server) {
	t.Helper()
	v, err := journal.Verify(t.Context(), s.DB(), s.Hub().Nets()[0].ID())
	if err != nil {
		t.Fatal(err)
	}
	if v.Bad != 0 {
		t.Errorf("the journal is broken at entry %d: %s", v.Bad, v.Problem)
	}
}
