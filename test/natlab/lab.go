package natlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// runDir holds one folder per lab, with the process id of each host's holder.
const runDir = "/run/natlab"

// fabric is the namespace that holds every switch of a lab.
const fabric = "fabric"

// endGrace is how long a lab's processes have to end politely when it closes.
const endGrace = 3 * time.Second

// tools are the commands that a lab cannot be built without.
var tools = []string{"ip", "nft", "mount", "unshare", "nsenter", "sysctl"}

// validName keeps names short enough for interface names, which have 15 bytes.
var validName = regexp.MustCompile(`^[a-z][a-z0-9]{0,11}$`)

// TB is the part of testing.TB that SkipUnlessAvailable uses.
type TB interface {
	Helper()
	Skipf(format string, args ...any)
}

// Available reports why labs cannot be built here, or nil if they can.
func Available() error {
	if os.Geteuid() != 0 {
		return errors.New("natlab: needs root")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("natlab: needs the %s command", tool)
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return fmt.Errorf("natlab: needs TUN: %w", err)
	}
	return nil
}

// SkipUnlessAvailable skips the test where no lab can be built, and where one of
// the further commands that the test runs is missing.
func SkipUnlessAvailable(t TB, commands ...string) {
	t.Helper()
	if err := Available(); err != nil {
		t.Skipf("%v", err)
	}
	for _, c := range commands {
		if _, err := exec.LookPath(c); err != nil {
			t.Skipf("natlab: the test needs the %s command", c)
		}
	}
}

// Lab is a set of hosts, routers and switches.
type Lab struct {
	prefix string

	mu sync.Mutex // guards the fields below
	// ports counts the ports made so far; it numbers their interfaces.
	ports   int
	procs   []*Proc
	wires   []*wire
	closers []io.Closer
}

// New starts an empty lab. The prefix has at most 12 lower-case letters and
// digits, begins with a letter, and belongs to one test: whatever an earlier lab
// with the same prefix left behind (after a crash, say) is removed first.
func New(prefix string) (*Lab, error) {
	if err := Available(); err != nil {
		return nil, err
	}
	if err := Remove(prefix); err != nil {
		return nil, err
	}
	l := &Lab{prefix: prefix}
	if err := l.addNetNS(fabric); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Remove ends every process inside the namespaces of the lab with this prefix
// and deletes those namespaces. It touches nothing whose name does not start
// with the prefix and a dash. Removing a lab that does not exist is no error.
func Remove(prefix string) error {
	if !validName.MatchString(prefix) {
		return fmt.Errorf("natlab: bad prefix %q: want up to 12 lower-case letters and digits", prefix)
	}
	names, err := netNSNames(prefix)
	if err != nil {
		return err
	}
	for _, ns := range names {
		signalInside(ns, syscall.SIGTERM)
		signalInside(ns, syscall.SIGCONT) // a stopped process would not notice
	}
	ctx, cancel := context.WithTimeout(context.Background(), endGrace)
	defer cancel()
	// What is still there after the grace is killed, so the error says nothing.
	_ = Poll(ctx, 50*time.Millisecond, func() error {
		if anyInside(names) {
			return errors.New("natlab: processes are left")
		}
		return nil
	})
	var errs []error
	for _, ns := range names {
		signalInside(ns, syscall.SIGKILL)
		if _, err := run("ip", "netns", "del", ns); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, os.RemoveAll(filepath.Join(runDir, prefix)))
	return errors.Join(errs...)
}

// Close ends every process of the lab and removes it.
func (l *Lab) Close() error {
	l.mu.Lock()
	procs, wires, closers := l.procs, l.wires, l.closers
	l.procs, l.wires, l.closers = nil, nil, nil
	l.mu.Unlock()
	for _, c := range closers {
		c.Close() // nothing is written through them
	}
	var wg sync.WaitGroup
	for _, p := range procs {
		wg.Go(p.stop)
	}
	wg.Wait()
	for _, w := range wires {
		w.close()
	}
	return Remove(l.prefix)
}

func (l *Lab) netns(name string) string { return l.prefix + "-" + name }

func (l *Lab) addNetNS(name string) error {
	ns := l.netns(name)
	if _, err := run("ip", "netns", "add", ns); err != nil {
		return err
	}
	return batch(ns, "link set lo up")
}

func netNSNames(prefix string) ([]string, error) {
	out, err := run("ip", "netns", "list")
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(out) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(name, prefix+"-") {
			names = append(names, name)
		}
	}
	return names, nil
}

// pidsInside lists the processes in a namespace, but for this one: a thread
// of this process may be visiting it (see Host.Do).
func pidsInside(ns string) (pids []int) {
	out, err := run("ip", "netns", "pids", ns)
	if err != nil {
		return nil
	}
	for f := range strings.FieldsSeq(out) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 1 && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

func signalInside(ns string, sig syscall.Signal) {
	for _, pid := range pidsInside(ns) {
		_ = syscall.Kill(pid, sig) // it may have ended meanwhile
	}
}

func anyInside(names []string) bool {
	for _, ns := range names {
		if len(pidsInside(ns)) > 0 {
			return true
		}
	}
	return false
}
