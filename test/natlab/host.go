package natlab

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Host is a simulated machine: a network, mount and host name namespace.
type Host struct {
	// Name is the machine's host name.
	Name string

	lab *Lab
	ns  string
	dir string // where the host's own layers are mounted
	pid int    // the holder, which keeps the mount namespace alive
}

// holderScript runs as the first process of a host, in namespaces of its own.
// $1 is the host's name and $2 an empty folder.
const holderScript = `
hostname "$1"
mount -t tmpfs natlab "$2"
for d in etc var; do
	mkdir -p "$2/up/$d" "$2/wk/$d"
	mount -t overlay natlab -o "lowerdir=/$d,upperdir=$2/up/$d,workdir=$2/wk/$d" "/$d"
done
mount -t tmpfs natlab /run
mkdir -p /run/home
printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 %s\n' "$1" >/etc/hosts
rm -f /etc/resolv.conf; : >/etc/resolv.conf
echo ready
exec sleep infinity
`

// Host makes a host with no network but loopback.
func (l *Lab) Host(name string) (*Host, error) {
	if !validName.MatchString(name) || name == fabric {
		return nil, fmt.Errorf("natlab: bad host name %q: want up to 12 lower-case letters and digits", name)
	}
	if err := l.addNetNS(name); err != nil {
		return nil, err
	}
	h := &Host{lab: l, Name: name, ns: l.netns(name), dir: filepath.Join(runDir, l.prefix, name)}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return nil, fmt.Errorf("natlab: folder of host %s: %w", name, err)
	}
	if err := h.hold(); err != nil {
		return nil, err
	}
	pidFile := filepath.Join(runDir, l.prefix, name+".pid")
	return h, os.WriteFile(pidFile, []byte(strconv.Itoa(h.pid)), 0o600)
}

// hold starts the process that keeps the host's namespaces alive.
func (h *Host) hold() error {
	// ip netns exec and unshare replace themselves, so the process id is the
	// holder's own.
	cmd := exec.Command("ip", "netns", "exec", h.ns, "unshare", "--uts", "--mount", "--propagation", "private",
		"sh", "-ec", holderScript, "holder", h.Name, h.dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("natlab: start host %s: %w", h.Name, err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("natlab: start host %s: %w", h.Name, err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		_ = cmd.Process.Kill() // the script ended, or prints what it should not
		err := cmd.Wait()
		return fmt.Errorf("natlab: start host %s: %w: %s", h.Name, err, stderr.String())
	}
	go func() { _ = cmd.Wait() }() // it ends by a signal when the lab closes
	h.pid = cmd.Process.Pid
	return nil
}

// Path returns where a file of the host is found from outside: a socket in the
// host's own /run, for instance.
func (h *Host) Path(path string) string {
	return filepath.Join("/proc", strconv.Itoa(h.pid), "root", path)
}

// enter returns the words to put before a command to run it on the host.
func (h *Host) enter() []string { return enter(h.pid) }

func enter(pid int) []string {
	return []string{"nsenter", "-t", strconv.Itoa(pid), "-n", "-m", "-u", "--"}
}

// Find returns the words to put before a command to run it on a host of a lab
// that another process made.
func Find(prefix, host string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(runDir, prefix, host+".pid"))
	if err != nil {
		return nil, fmt.Errorf("natlab: find host %s: %w", host, err)
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil {
		return nil, fmt.Errorf("natlab: find host %s: %w", host, err)
	}
	return enter(pid), nil
}

// Command prepares a command that will run on the host.
func (h *Host) Command(ctx context.Context, args ...string) *exec.Cmd {
	args = append(h.enter(), args...)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "HOME=/run/home")
	cmd.WaitDelay = time.Second // a grandchild may hold the output open
	return cmd
}

// Run runs a command on the host and returns what it printed.
func (h *Host) Run(ctx context.Context, args ...string) (string, error) {
	out, err := h.Command(ctx, args...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %s: %w: %s", h.Name, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// Sysctl sets kernel settings of the host's network, each as "name=value".
func (h *Host) Sysctl(settings ...string) error { return sysctl(h.ns, settings...) }

// NFT loads an nftables script on the host.
func (h *Host) NFT(script string) error { return nft(h.ns, script) }

// WriteFile writes a file as the host sees it, /etc/resolv.conf for instance.
func (h *Host) WriteFile(path, content string) error {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	cmd := h.Command(ctx, "tee", path)
	cmd.Stdin = strings.NewReader(content)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: write %s: %w: %s", h.Name, path, err, out)
	}
	return nil
}

// SetHosts replaces the names in the host's /etc/hosts; it maps names to addresses.
func (h *Host) SetHosts(names map[string]string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 %s\n", h.Name)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		fmt.Fprintf(&b, "%s %s\n", names[name], name)
	}
	return h.WriteFile("/etc/hosts", b.String())
}

// Do calls f on a thread that is inside the host's network namespace. A socket
// that f opens stays in that namespace and may be used from anywhere after;
// goroutines that f starts are outside it. A library that opens sockets on
// goroutines of its own cannot be put on a host that way: run it in a process,
// with Start.
func (h *Host) Do(f func() error) error {
	target, err := os.Open(filepath.Join("/run/netns", h.ns))
	if err != nil {
		return fmt.Errorf("natlab: enter host %s: %w", h.Name, err)
	}
	defer target.Close()
	errc := make(chan error, 1)
	go func() {
		// The thread is never unlocked, so that it ends with this goroutine
		// instead of going back to the scheduler in the wrong namespace.
		runtime.LockOSThread()
		if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
			errc <- fmt.Errorf("natlab: enter host %s: %w", h.Name, err)
			return
		}
		errc <- f()
	}()
	return <-errc
}

// Listen listens on the host, for a server that runs in this process.
func (h *Host) Listen(network, addr string) (ln net.Listener, err error) {
	err = h.Do(func() (err error) { ln, err = net.Listen(network, addr); return })
	return ln, err
}

// ListenPacket opens a packet socket on the host, for a server in this process.
func (h *Host) ListenPacket(network, addr string) (pc net.PacketConn, err error) {
	err = h.Do(func() (err error) { pc, err = net.ListenPacket(network, addr); return })
	return pc, err
}

// Dial connects from the host; addr must be a literal address, as looking a
// name up would take place outside.
func (h *Host) Dial(ctx context.Context, network, addr string) (c net.Conn, err error) {
	err = h.Do(func() (err error) {
		d := net.Dialer{FallbackDelay: -1} // a second attempt would run on another goroutine
		c, err = d.DialContext(ctx, network, addr)
		return
	})
	return c, err
}
