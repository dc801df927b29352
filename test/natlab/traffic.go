package natlab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// pingGrace is how long ping has to end when it is told to.
const pingGrace = 2 * time.Second

// Traffic is a flow of small packets (ICMP echo) from a host to an address.
type Traffic struct {
	cmd  *exec.Cmd
	end  context.CancelFunc
	done chan struct{}

	mu       sync.Mutex // guards the fields below
	answered int
	missing  map[int]bool // sequence numbers without an answer
	gap      time.Duration
	last     time.Time // of the last answer
}

// Counts says what became of a flow's packets: of those before the last one, which
// may be under way still.
type Counts struct {
	Answered int
	Lost     []int         // sequence numbers from 1, in order
	Gap      time.Duration // the longest time without an answer
}

// Traffic starts to send a packet to the address every interval. It needs the ping
// command. Stop must be called.
func (h *Host) Traffic(ip string, interval time.Duration) (*Traffic, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cmd := h.Command(ctx, "ping", "-n", "-O", "-i", strconv.FormatFloat(interval.Seconds(), 'f', 3, 64),
		ip)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("%s: ping %s: %w", h.Name, ip, err)
	}
	t := &Traffic{cmd: cmd, end: cancel, done: make(chan struct{}), missing: map[int]bool{}, last: time.Now()}
	go t.count(out)
	return t, nil
}

// count reads what ping prints until it ends.
func (t *Traffic) count(out io.Reader) {
	defer close(t.done)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		seq, answered, ok := readPing(lines.Text())
		if !ok {
			continue
		}
		t.mu.Lock()
		if answered {
			t.answered++
			t.gap = max(t.gap, time.Since(t.last))
			t.last = time.Now()
			delete(t.missing, seq)
		} else {
			t.missing[seq] = true
		}
		t.mu.Unlock()
	}
}

// readPing says what one line of ping's output means for the packet seq: that it
// was answered, or that it is missing. With -O a packet is reported as missing when
// the next one is sent, and may be answered yet. Other lines are not ok.
func readPing(line string) (seq int, answered, ok bool) {
	_, rest, found := strings.Cut(line, "icmp_seq=")
	if !found {
		return 0, false, false
	}
	number, rest, _ := strings.Cut(rest, " ")
	seq, err := strconv.Atoi(number)
	if err != nil {
		return 0, false, false
	}
	return seq, strings.Contains(rest, "time="), true
}

// Counts returns the counts so far.
func (t *Traffic) Counts() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Counts{Answered: t.answered, Lost: slices.Sorted(maps.Keys(t.missing)), Gap: max(t.gap, time.Since(t.last))}
}

// Stop ends the flow and returns the counts.
func (t *Traffic) Stop() Counts {
	c := t.Counts()
	_ = t.cmd.Process.Signal(syscall.SIGINT) // it may have ended for want of a route
	select {
	case <-t.done:
	case <-time.After(pingGrace):
	}
	t.end()
	<-t.done
	_ = t.cmd.Wait() // its exit status says whether packets were lost: the counts do too
	return c
}
