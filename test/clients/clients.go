// Package clients provides the official client programs that tests run. It owns the
// pinned versions (one nested module each, so that their dependencies stay out of
// the server's), building them and the cache of what was built. It does not run them.
package clients

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// Pin names one of the nested modules.
type Pin string

// The pinned versions.
const (
	// Current is the newest client that builds with the toolchain of this module.
	Current Pin = "current"
	// Oldest is the oldest client that the server accepts.
	Oldest Pin = "oldest"
	// Refused is the newest client that the server is too new for.
	Refused Pin = "refused"
)

// Env names the environment variable that says where built programs are, so that
// they aren't built here: a folder with one folder for each pin.
const Env = "SELVAGE_CLIENTS"

// buildTime bounds one build, and the wait for another process that builds.
const buildTime = 20 * time.Minute

// lockPause is how often a build that another process does is looked at.
const lockPause = 200 * time.Millisecond

// Programs are the files of one version.
type Programs struct {
	Version    string // without "v": "1.80.3"
	Tailscale  string // path of the command line client
	Tailscaled string // path of the daemon
}

// ErrMissing says that Env is set and its folder lacks the programs of a pin.
var ErrMissing = errors.New("client programs are missing")

// Get returns the programs of a pinned version and builds them first if need be,
// which takes minutes; it says so on standard error. Processes that want the same
// version wait for the one that builds it. It must run inside the source tree.
func Get(ctx context.Context, pin Pin) (Programs, error) {
	dir, err := moduleDir(pin)
	if err != nil {
		return Programs{}, err
	}
	version, err := pinnedVersion(dir)
	if err != nil {
		return Programs{}, err
	}
	if given := os.Getenv(Env); given != "" {
		p := programsIn(filepath.Join(given, string(pin)), version)
		if !p.there() {
			return Programs{}, fmt.Errorf("%s=%s: folder %s: %w", Env, given, pin, ErrMissing)
		}
		return p, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return Programs{}, fmt.Errorf("find the cache for client programs: %w", err)
	}
	return get(ctx, dir, filepath.Join(cache, "selvage-test"), version)
}

// get returns the programs in cache/version, and builds them there from the module
// in dir if they are not there yet.
func get(ctx context.Context, dir, cache, version string) (Programs, error) {
	p := programsIn(filepath.Join(cache, version), version)
	if p.there() {
		return p, nil
	}
	ctx, cancel := context.WithTimeout(ctx, buildTime)
	defer cancel()
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return Programs{}, fmt.Errorf("make the cache for client programs: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(cache, version+".lock"))
	if err != nil {
		return Programs{}, err
	}
	defer unlock()
	if p.there() { // another process built them meanwhile
		return p, nil
	}
	return p, build(ctx, dir, filepath.Join(cache, version), version)
}

func programsIn(dir, version string) Programs {
	return Programs{
		Version:    version,
		Tailscale:  filepath.Join(dir, "tailscale"),
		Tailscaled: filepath.Join(dir, "tailscaled"),
	}
}

func (p Programs) there() bool {
	for _, f := range []string{p.Tailscale, p.Tailscaled} {
		if fi, err := os.Stat(f); err != nil || fi.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}

var (
	moduleLine = regexp.MustCompile(`(?m)^module selvage$`)
	pinLine    = regexp.MustCompile(`(?m)^(?:require )?\s*tailscale\.com v(\S+)`)
)

// moduleDir finds the pin's nested module from the folder that the test runs in.
func moduleDir(pin Pin) (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the source tree: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && moduleLine.Match(mod) {
			return filepath.Join(dir, "test", "clients", string(pin)), nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find the source tree: %s is not inside module selvage", start)
		}
	}
}

// pinnedVersion reads the version that a nested module requires.
func pinnedVersion(dir string) (string, error) {
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("read the pinned client version: %w", err)
	}
	m := pinLine.FindSubmatch(mod)
	if m == nil {
		return "", fmt.Errorf("read the pinned client version: %s/go.mod does not require tailscale.com", dir)
	}
	return string(m[1]), nil
}

// lock takes the file lock, and waits for it until ctx ends.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the client programs: %w", err)
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil // which releases the lock
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for the lock %s: %w", path, ctx.Err())
		case <-time.After(lockPause):
		}
	}
}

// build installs the module's tools into a folder of their own, which gets its
// final name when it is whole.
func build(ctx context.Context, dir, dest, version string) error {
	fmt.Fprintf(os.Stderr, "building the official client %s; this takes minutes and is done once\n", version)
	tmp, err := os.MkdirTemp(filepath.Dir(dest), "building-")
	if err != nil {
		return fmt.Errorf("build client %s: %w", version, err)
	}
	defer os.RemoveAll(tmp)
	// A build outside its makers' own script has no version, and servers look at it.
	stamp := "-s -w -X tailscale.com/version.shortStamp=" + version + " -X tailscale.com/version.longStamp=" + version + "-selvage"
	cmd := exec.CommandContext(ctx, "go", "install", "-ldflags", stamp, "tool")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOBIN="+tmp, "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build client %s in %s: %w", version, dir, err)
	}
	if !programsIn(tmp, version).there() {
		return fmt.Errorf("build client %s in %s: %w", version, dir, ErrMissing)
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return fmt.Errorf("build client %s: %w", version, err)
	}
	if err := os.RemoveAll(dest); err != nil {
		return fmt.Errorf("build client %s: %w", version, err)
	}
	if err := os.Rename(tmp, dest); err != nil {
		return fmt.Errorf("build client %s: %w", version, err)
	}
	return nil
}
