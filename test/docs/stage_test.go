package docs

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"selvage/test/clients"
)

// Bounds of what a page does.
const (
	commandTime = time.Minute
	endTime     = 15 * time.Second
)

// stage is where the commands of one page are run: a folder with a server and what the
// page takes for granted.
type stage struct {
	*testing.T
	dir     string // the folder; commands start in it
	url     string // of the server
	env     []string
	waiting *device // a device that waits for a person; nil until a page needs it
}

var readyLine = regexp.MustCompile(`is ready at (http://\S+)`)

// newStage starts a server.
func newStage(t *testing.T) *stage {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "p")
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{T: t, dir: dir}
	for _, sub := range []string{"bin", "etc", "srv", "backups"} {
		s.ok(os.Mkdir(filepath.Join(dir, sub), 0o700))
	}
	s.programs()
	t.Cleanup(s.endServers)
	s.serve()
	return s
}

func (s *stage) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// programs makes a folder of all programs that a page may use: links to this very test.
func (s *stage) programs() {
	s.Helper()
	self, err := os.Executable()
	s.ok(err)
	names := append([]string{}, own...)
	for name := range others {
		names = append(names, name)
	}
	for _, name := range names {
		s.ok(os.Symlink(self, filepath.Join(s.dir, "bin", name)))
	}
	real, err := program()
	s.ok(err)
	curl, _ := exec.LookPath("curl")
	s.env = []string{
		"PATH=" + filepath.Join(s.dir, "bin"), "HOME=" + s.dir,
		"SELVAGE_DATA_DIR=" + s.data(),
		"GORACE=atexit_sleep_ms=0", // stand-ins that are built with the race detector end at once
		stageEnv + "=" + s.dir, realEnv + "=" + real, curlEnv + "=" + curl, tailscaleEnv + "=" + officialClient(s.T),
	}
}

// officialClient returns the path of the real tailscale command, or nothing where the
// tests with real clients are not run either.
func officialClient(t *testing.T) string {
	t.Helper()
	if os.Getenv(clients.Env) == "" && os.Getuid() != 0 {
		return ""
	}
	p, err := clients.Get(context.WithoutCancel(t.Context()), clients.Current)
	if err != nil {
		t.Fatal(err)
	}
	return p.Tailscale
}

// data is the server's data folder.
func (s *stage) data() string { return filepath.Join(s.dir, "data") }

// serve starts the server and waits until it is ready.
func (s *stage) serve() {
	s.Helper()
	real, err := program()
	s.ok(err)
	cmd := exec.Command(real, "serve", "--data-dir", s.data(), "--listen", "127.0.0.1:0", "--relay-stun-listen", "127.0.0.1:0")
	cmd.Env = []string{"HOME=" + s.dir}
	out, err := cmd.StdoutPipe()
	s.ok(err)
	log, err := os.Create(filepath.Join(s.dir, "log"))
	s.ok(err)
	cmd.Stderr = log
	s.ok(cmd.Start())
	s.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		end := time.AfterFunc(endTime, func() { cmd.Process.Kill() })
		cmd.Wait()
		end.Stop()
		log.Close()
	})
	lines := bufio.NewScanner(out)
	for s.url == "" && lines.Scan() {
		if m := readyLine.FindStringSubmatch(lines.Text()); m != nil {
			s.url = m[1]
		}
	}
	if s.url == "" {
		text, _ := os.ReadFile(log.Name())
		s.Fatalf("the server did not start: %s", text)
	}
	go io.Copy(io.Discard, out)
}

// endServers ends the servers that the page has started.
func (s *stage) endServers() {
	text, err := os.ReadFile(filepath.Join(s.dir, pidFile))
	if err != nil {
		return
	}
	for word := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(word); err == nil {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// bash runs a script as a person would type it, and returns what it prints.
func (s *stage) bash(script string, flags ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.Context(), commandTime)
	defer cancel()
	args := append(append([]string{"--noprofile", "--norc", "-u", "-o", "pipefail"}, flags...), "-c", script)
	cmd := exec.CommandContext(ctx, "/bin/bash", args...)
	cmd.Dir, cmd.Env = s.dir, s.env
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("it did not end within %v: %w", commandTime, err)
	}
	return string(out), err
}

// selvage runs the program, which has to succeed, and returns what it prints to
// standard output.
func (s *stage) selvage(args ...string) string {
	s.Helper()
	real, err := program()
	s.ok(err)
	cmd := exec.CommandContext(s.Context(), real, args...)
	cmd.Dir, cmd.Env = s.dir, []string{"SELVAGE_DATA_DIR=" + s.data(), "HOME=" + s.dir}
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		s.Fatalf("selvage %s: %v\n%s", strings.Join(args, " "), err, problems.String())
	}
	return strings.TrimSpace(string(out))
}
