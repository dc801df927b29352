package docs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// buildTime bounds the build of selvage.
const buildTime = 10 * time.Minute

// programEnv names a built selvage that is tested instead of the source tree.
const programEnv = "SELVAGE_PROGRAM"

// scratch is a folder for the length of the run. It is short, because the server puts a
// socket below it.
var scratch string

// TestMain runs the tests, or plays the program whose name it was started by: the
// commands of a page find it under many names.
func TestMain(m *testing.M) {
	if dir := os.Getenv(stageEnv); dir != "" {
		os.Exit(stand(dir, filepath.Base(os.Args[0]), os.Args[1:]))
	}
	dir, err := os.MkdirTemp("/tmp", "slvdoc")
	if err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
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
	// Built as `go run` does, so that most of it is in the cache.
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "selvage/cmd/selvage")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build selvage: %w\n%s", err, out)
	}
	return path, nil
})
