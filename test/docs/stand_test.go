package docs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// What the programs below learn of the stage that they stand on.
const (
	stageEnv     = "SELVAGE_DOCS_STAGE"     // the folder of the page
	realEnv      = "SELVAGE_DOCS_PROGRAM"   // the selvage under test
	tailscaleEnv = "SELVAGE_DOCS_TAILSCALE" // the official client's command; empty if there is none
	curlEnv      = "SELVAGE_DOCS_CURL"      // the real curl; empty if there is none
	pidFile      = "pids"                   // in the stage: servers that were started
)

// readyTime bounds the wait for a server that a page starts.
const readyTime = 30 * time.Second

// others are programs that pages use and that are not run, because they would change
// the machine, need what is not here, or reach out of it. They read their input and say
// nothing. A command that is neither here nor one of ours is not found, and the test
// fails.
var others = map[string]string{
	"age":        "encryption of a backup: any program does",
	"cp":         "copies folders of the machine",
	"derper":     "another relay program; its flags are its own",
	"docker":     "needs a daemon and a network",
	"go":         "builds for minutes what the tests have built",
	"install":    "writes into folders of the system",
	"jq":         "reads JSON for scripts of other people",
	"journalctl": "reads the machine's log",
	"mv":         "moves folders of the machine",
	"openssl":    "makes a random number",
	"sh":         "runs an installer from the network",
	"sqlite3":    "repairs a database outside of the server",
	"sysctl":     "changes the machine's kernel",
	"systemctl":  "changes the machine's services",
	"tee":        "writes into folders of the system",
}

// own are the programs that really do something.
var own = []string{"selvage", "tailscale", "curl", "sudo"}

// stand plays a program in a page's command and returns the exit code.
func stand(stage, name string, args []string) int {
	var err error
	switch name {
	case "selvage":
		err = standSelvage(stage, args)
	case "tailscale":
		err = standTailscale(args)
	case "curl":
		err = standCurl(args)
	case "sudo":
		if len(args) == 0 {
			err = errors.New("sudo: nothing to run")
			break
		}
		err = run(filepath.Join(stage, "bin", filepath.Base(args[0])), args[1:])
	default:
		_, err = io.Copy(io.Discard, os.Stdin)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// run runs a program in place of this one.
func run(path string, args []string) error {
	cmd := exec.Command(path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

// standSelvage runs the real program; what would run until it is interrupted, or needs
// what is not here, is checked as far as it can be.
func standSelvage(stage string, args []string) error {
	real := os.Getenv(realEnv)
	is := func(words ...string) bool { return len(args) >= len(words) && slices.Equal(args[:len(words)], words) }
	switch {
	case is("serve"):
		return standServe(stage, real, args[1:])
	case is("demo"), is("relay", "run"), is("journal", "follow"),
		slices.Contains(args, "--database"):
		return quiet(real, append(args, "-h"))
	}
	return run(real, args)
}

// quiet runs a program without its output.
func quiet(path string, args []string) error {
	cmd := exec.Command(path, args...)
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

// standServe checks the configuration, and starts the server in the background at a
// free port if it needs no public name. It is there when the command ends.
func standServe(stage, real string, args []string) error {
	if err := quiet(real, append([]string{"config"}, args...)); err != nil {
		return err
	}
	at := slices.Index(args, "--data-dir")
	if slices.Contains(args, "--hostname") || at < 0 {
		return nil
	}
	log, err := os.Create(filepath.Join(stage, fmt.Sprintf("serve.%d", os.Getpid())))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(real, append(append([]string{"serve"}, args...), "--listen", "127.0.0.1:0", "--relay-enabled=false")...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives this process
	if err := cmd.Start(); err != nil {
		return err
	}
	pids, err := os.OpenFile(filepath.Join(stage, pidFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer pids.Close()
	fmt.Fprintln(pids, cmd.Process.Pid)
	ctx, cancel := context.WithTimeout(context.Background(), readyTime)
	defer cancel()
	for {
		ask := exec.CommandContext(ctx, real, "--data-dir", args[at+1], "status")
		if out, err := ask.CombinedOutput(); err == nil {
			return nil
		} else if ctx.Err() != nil {
			said, _ := os.ReadFile(log.Name())
			return fmt.Errorf("the server does not come up: %s%s", out, said)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// groups are the commands of tailscale that have commands themselves.
var groups = []string{"debug", "dns"}

// standTailscale has the official client's command parse the flags: with --help behind
// the last of them it prints its help instead of doing something.
func standTailscale(args []string) error {
	words := 1
	if len(args) > 0 && slices.Contains(groups, args[0]) {
		words = 2
	}
	if len(args) < words {
		return fmt.Errorf("tailscale %s: a command is missing", strings.Join(args, " "))
	}
	end := words
	for end < len(args) && strings.HasPrefix(args[end], "-") {
		end++
	}
	for _, arg := range args[end:] {
		if strings.HasPrefix(arg, "-") {
			return fmt.Errorf("tailscale %s: flags stand before arguments", strings.Join(args, " "))
		}
	}
	real := os.Getenv(tailscaleEnv)
	if real == "" {
		return nil
	}
	cmd := exec.Command(real, slices.Concat(args[:end], []string{"--help"}, args[end:])...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("tailscale %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// standCurl asks only the server of the page.
func standCurl(args []string) error {
	real := os.Getenv(curlEnv)
	local := slices.ContainsFunc(args, func(a string) bool { return a == "--unix-socket" || strings.HasPrefix(a, "http://127.0.0.1:") })
	if !local || real == "" {
		return nil
	}
	return run(real, append([]string{"--fail"}, args...))
}
