package e2e

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// tailSize is how much of a program's output is kept, in bytes.
const tailSize = 12 << 10

// tail keeps the end of a program's output, and watches for a line. It is safe for
// concurrent use.
type tail struct {
	mu    sync.Mutex // guards the fields below
	kept  []byte
	line  []byte // the line that is not whole yet
	want  *regexp.Regexp
	found chan struct{}
}

func newTail() *tail { return &tail{} }

// watch returns a channel that is closed at the next line that matches.
func (t *tail) watch(want *regexp.Regexp) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.want, t.found = want, make(chan struct{})
	return t.found
}

// Write takes more output; it never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - tailSize; over > 0 {
		t.kept = bytes.Clone(t.kept[over:])
	}
	t.line = append(t.line, p...)
	for {
		line, rest, whole := bytes.Cut(t.line, []byte("\n"))
		if !whole {
			break
		}
		t.look(line)
		t.line = bytes.Clone(rest)
	}
	if len(t.line) > tailSize {
		t.line = nil
	}
	return len(p), nil
}

// look closes the channel of watch if the line matches. t.mu is held.
func (t *tail) look(line []byte) {
	if t.want != nil && t.want.Match(line) {
		close(t.found)
		t.want = nil
	}
}

// String returns what is kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.kept)
}

func TestTail(t *testing.T) {
	w := newTail()
	found := w.watch(regexp.MustCompile(`\bready\b`))
	for _, part := range []string{"already\nrea", "d", "ing\nserver is re"} {
		fmt.Fprint(w, part)
		select {
		case <-found:
			t.Fatalf("found too early: %q", w)
		default:
		}
	}
	fmt.Fprint(w, "ady\n")
	select {
	case <-found:
	default:
		t.Errorf("not found in %q", w)
	}
	fmt.Fprint(w, strings.Repeat("x", 2*tailSize))
	if n := len(w.String()); n != tailSize {
		t.Errorf("%d bytes are kept", n)
	}
}
