// Command selvage is a self-hosted zero-trust network server for Tailscale clients,
// and the command line of its operators.
//
// It owns flags, help, output and exit codes. What commands do to a running server
// they ask of its admin API (package api/admin), over the socket in its data folder
// or, with SELVAGE_URL and SELVAGE_TOKEN, over the network. Only serve, demo, relay
// run, restore and config do their work themselves.
//
// Read command.go first, then tree.go; each other file is one command.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"selvage"
	"selvage/internal/api/admin"
)

// Exit codes. They are part of the interface: scripts rely on them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitDenied      = 4 // or not authenticated
	exitUnreachable = 5
)

func main() { os.Exit(start()) }

func start() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	sh := &shell{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		environ: os.Environ(), uid: os.Getuid(), now: time.Now,
		terminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
	return sh.main(ctx, os.Args[1:])
}

// shell is what a command knows of the world that it was called in.
type shell struct {
	in       io.Reader
	out, err io.Writer
	environ  []string
	uid      int
	now      func() time.Time
	// terminal is whether err is one, for progress.
	terminal bool

	global globals
}

// main runs the command line and returns the exit code.
func (sh *shell) main(ctx context.Context, args []string) int {
	err := dispatch(ctx, sh, root(), args)
	if err == nil {
		return exitOK
	}
	if msg := strings.Join(strings.Fields(printable(err.Error())), " "); msg != "" {
		sh.complain(err, msg)
	}
	return exitCode(err)
}

// complain says what went wrong, to people or to programs.
func (sh *shell) complain(err error, msg string) {
	if !sh.global.json {
		fmt.Fprintf(sh.err, "selvage: %s\n", msg)
		return
	}
	enc := json.NewEncoder(sh.err)
	enc.SetEscapeHTML(false)
	enc.Encode(admin.ErrorBody{Error: admin.Error{Kind: kindOf(err), Message: msg}}) // nobody listens if this fails
}

// kindOf names the sort of an error for programs: that of the API, or one of two that
// only a command line has.
func kindOf(err error) string {
	switch exitCode(err) {
	case exitUsage:
		return "usage"
	case exitUnreachable:
		return "unreachable"
	}
	return selvage.KindOf(err).String()
}

// usageError is a mistake in the command line.
type usageError struct{ msg string }

// Error returns the message.
func (e usageError) Error() string { return e.msg }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// unreachableError is that there is no server to speak to.
type unreachableError struct{ msg string }

// Error returns the message.
func (e unreachableError) Error() string { return e.msg }

// silentError has been told already; it makes an exit code only.
type silentError struct{ code int }

// Error returns nothing.
func (silentError) Error() string { return "" }

func exitCode(err error) int {
	var usage usageError
	var unreachable unreachableError
	var silent silentError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &unreachable):
		return exitUnreachable
	case errors.As(err, &silent):
		return silent.code
	}
	switch selvage.KindOf(err) {
	case selvage.KindNotFound:
		return exitNotFound
	case selvage.KindDenied, selvage.KindUnauthenticated:
		return exitDenied
	}
	return exitFailed
}

// getenv returns the value of an environment variable, the last one if it is there
// more than once.
func (sh *shell) getenv(name string) string {
	for i := len(sh.environ) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(sh.environ[i], name+"="); ok {
			return value
		}
	}
	return ""
}
