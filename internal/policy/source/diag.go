package source

import (
	"fmt"
	"slices"
	"strings"
)

// Severity says whether a diagnostic refuses the policy.
type Severity string

// The severities.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
)

// Diagnostic is one thing to say about a place in the text.
type Diagnostic struct {
	Line     int // from 1; 0 if it is about the whole text
	Col      int // in characters, from 1
	Severity Severity
	Msg      string
	Fix      string // what to do about it; may be empty
}

// String returns the form "policy:LINE:COL: message; fix".
func (d Diagnostic) String() string {
	s := "policy: " + d.Msg
	if d.Line > 0 {
		s = fmt.Sprintf("policy:%d:%d: %s", d.Line, d.Col, d.Msg)
	}
	if d.Fix != "" {
		s += "; " + d.Fix
	}
	return s
}

// Error says why a policy is refused. It holds at least one diagnostic of
// SeverityError, in the order of the text, and is safe to show.
type Error struct {
	Diagnostics []Diagnostic
}

// Error returns one line for each diagnostic.
func (e *Error) Error() string {
	lines := make([]string, len(e.Diagnostics))
	for i, d := range e.Diagnostics {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}

// SortDiagnostics sorts by place; those of one place keep their order.
func SortDiagnostics(ds []Diagnostic) {
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Col - b.Col
	})
}

// Nearest returns the candidate that s was probably meant to be, or "".
func Nearest(s string, candidates []string) string {
	const longest, furthest = 64, 4
	if len(s) > longest {
		return ""
	}
	s = strings.ToLower(s)
	best, bestDist := "", min(len(s)/2+1, furthest)
	for _, c := range candidates {
		if d := editDistance(s, strings.ToLower(c), bestDist); d < bestDist {
			best, bestDist = c, d
		}
	}
	return best
}

// editDistance counts insertions, deletions, changes and swaps of neighbours that
// turn a into b, and gives up at limit.
func editDistance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, last, row = last, row, before
		row[0] = i + 1
		least := row[0]
		for j := range len(b) {
			cost := last[j]
			if a[i] != b[j] {
				cost++
			}
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				cost = min(cost, before[j-1]+1)
			}
			row[j+1] = min(cost, row[j]+1, last[j+1]+1)
			least = min(least, row[j+1])
		}
		if least >= limit {
			return limit
		}
	}
	return row[len(b)]
}
