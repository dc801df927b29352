package natlab

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"
)

// stopGrace is how long Proc.Stop waits for a polite end.
const stopGrace = 5 * time.Second

// Proc is a long-running process on a host.
type Proc struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // set before done is closed
}

// Start starts a process on the host; it ends with the lab at the latest.
// extraEnv adds to the environment; output goes to w.
func (h *Host) Start(w io.Writer, extraEnv []string, args ...string) (*Proc, error) {
	cmd := h.Command(context.Background(), args...)
	cmd.Env = append(cmd.Env, extraEnv...)
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: start %s: %w", h.Name, args[0], err)
	}
	p := &Proc{cmd: cmd, done: make(chan struct{})}
	go func() { p.err = cmd.Wait(); close(p.done) }()
	h.lab.mu.Lock()
	h.lab.procs = append(h.lab.procs, p)
	h.lab.mu.Unlock()
	return p, nil
}

// Stop ends the process, politely at first, waits for its end, and returns how it
// ended: nil after a polite one.
func (p *Proc) Stop() error {
	p.stop()
	return p.err
}

func (p *Proc) stop() {
	// A signal to a process that has ended is an error that says nothing new.
	_ = p.Signal(syscall.SIGTERM)
	_ = p.Signal(syscall.SIGCONT)
	select {
	case <-p.done:
	case <-time.After(stopGrace):
		p.Kill()
	}
}

// Kill ends the process at once, as a crash would, and waits for its end.
func (p *Proc) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.done
}

// Signal sends a signal, SIGSTOP to freeze the process for instance.
func (p *Proc) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Done is closed when the process has ended.
func (p *Proc) Done() <-chan struct{} { return p.done }
