package natlab

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// commandTime bounds each of the short commands that build a lab.
const commandTime = time.Minute

// Poll calls f until it returns nil or ctx ends, with a pause of every between
// two calls. At the end of ctx it returns ctx's error together with f's last one.
func Poll(ctx context.Context, every time.Duration, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(every):
		}
	}
}

// run runs a command to its end and returns what it printed.
func run(name string, args ...string) (string, error) { return feed("", name, args...) }

// batch runs ip commands inside a namespace, in one process.
func batch(ns string, cmds ...string) error {
	_, err := feed(strings.Join(cmds, "\n")+"\n", "ip", "-n", ns, "-batch", "-")
	return err
}

// nft loads an nftables script inside a namespace.
func nft(ns, script string) error {
	_, err := feed(script, "ip", "netns", "exec", ns, "nft", "-f", "-")
	return err
}

// sysctl sets kernel settings inside a namespace, each as "name=value".
func sysctl(ns string, settings ...string) error {
	_, err := run("ip", append([]string{"netns", "exec", ns, "sysctl", "-q", "-w"}, settings...)...)
	return err
}

func feed(stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("natlab: %s %s: %w: %s\n%s", name, strings.Join(args, " "), err, bytes.TrimSpace(out), stdin)
	}
	return string(out), nil
}
