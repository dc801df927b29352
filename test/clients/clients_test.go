package clients

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func TestPinnedVersions(t *testing.T) {
	for pin, want := range map[Pin]string{Current: "1.102.5", Oldest: "1.80.3", Refused: "1.78.3"} {
		dir, err := moduleDir(pin)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := pinnedVersion(dir); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", pin, got, err, want)
		}
	}
}

func TestGivenFolder(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(Env, dir)
	if _, err := Get(t.Context(), Current); !errors.Is(err, ErrMissing) {
		t.Errorf("an empty folder: %v", err)
	}
	put := func(name string, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, "current"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "current", name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	put("tailscale", 0o755)
	if _, err := Get(t.Context(), Current); !errors.Is(err, ErrMissing) {
		t.Errorf("one program of two: %v", err)
	}
	put("tailscaled", 0o755)
	p, err := Get(t.Context(), Current)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "current", "tailscaled"); p.Tailscaled != want || p.Version != "1.102.5" {
		t.Errorf("got %+v, want %s of 1.102.5", p, want)
	}
}

// toolModule makes a module whose tools are small programs with the clients' names.
func toolModule(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":             "module example\n\ngo 1.26\n\ntool (\n\texample/tailscale\n\texample/tailscaled\n)\n",
		"tailscale/main.go":  "package main\n\nfunc main() {}\n",
		"tailscaled/main.go": "package main\n\nfunc main() {}\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestBuildOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the compiler: not with -short")
	}
	dir, cache := toolModule(t), t.TempDir()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if p, err := get(t.Context(), dir, cache, "1.0"); err != nil || !p.there() {
				t.Errorf("build: %+v, %v", p, err)
			}
		})
	}
	wg.Wait()
	if left, _ := filepath.Glob(filepath.Join(cache, "building-*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	// What is built is found without a compiler and without the module.
	t.Setenv("PATH", "")
	if _, err := get(t.Context(), filepath.Join(dir, "gone"), cache, "1.0"); err != nil {
		t.Errorf("from the cache: %v", err)
	}
	if _, err := get(t.Context(), dir, cache, "2.0"); err == nil {
		t.Error("a build without a compiler is no error")
	}
}

func TestLockWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := lock(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second lock: %v", err)
	}
	unlock()
	again, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	again()
}
