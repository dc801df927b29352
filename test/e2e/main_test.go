package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"selvage/test/clients"
	"selvage/test/natlab"
)

// Bounds of what precedes the stories.
const (
	buildTime = 10 * time.Minute // of selvage
	stageTime = 30 * time.Minute // of the wait for another run of the stories
)

// programEnv names a built selvage that is tested instead of the source tree.
const programEnv = "SELVAGE_PROGRAM"

// commands are what the stories run on the hosts.
var commands = []string{"ping", "dig", "getent", "conntrack", "iptables", "openssl"}

// scratch is a folder for the length of the run. It is short, because the server
// puts a socket below it, and not below /var or /run, which hosts have their own of.
var scratch string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("/tmp", "slv")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	scratch = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// program returns the selvage under test, built once.
var program = sync.OnceValues(func() (string, error) {
	if given := os.Getenv(programEnv); given != "" {
		return given, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	path := filepath.Join(scratch, "selvage")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "selvage/cmd/selvage")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build selvage: %w\n%s", err, out)
	}
	return path, nil
})

// stage keeps the machine for this run: two runs at once would take down each
// other's lab, and slow each other down. The lock ends with the process.
var stage = sync.OnceValue(func() error {
	f, err := os.OpenFile("/run/selvage-e2e.lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("take the stage: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), stageTime)
	defer cancel()
	told := false
	return natlab.Poll(ctx, time.Second, func() error {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) && !told {
			told = true
			fmt.Fprintln(os.Stderr, "e2e: another run of the stories is on; waiting for its end")
		}
		return err
	})
})

// programsOf returns the client programs of a pinned version, built once.
func programsOf(t *testing.T, pin clients.Pin) clients.Programs {
	t.Helper()
	p, err := clients.Get(context.WithoutCancel(t.Context()), pin)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
