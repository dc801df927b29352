package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

// reader turns values of the text into Go values and collects what is wrong with
// them. A failed read returns a zero value: the policy is refused in the end, and
// the reader goes on so that one answer names all mistakes.
type reader struct {
	src    []byte
	lines  []int // offset at which each line starts
	errs   []Diagnostic
	warns  []Diagnostic
	budget int // selectors that may still be read
}

// text is a string of the source and where it starts.
type text struct {
	s   string
	off int
}

// member is a name in an object, its value, and where both are.
type member struct {
	name text
	val  *hujson.Value
}

func newReader(src []byte) *reader {
	r := &reader{src: src, lines: []int{0}, budget: maxSelectors}
	for i, b := range src {
		if b == '\n' {
			r.lines = append(r.lines, i+1)
		}
	}
	return r
}

// at returns the line and column of an offset; offset -1 is the whole text.
func (r *reader) at(off int) (line, col int) {
	if off < 0 {
		return 0, 0
	}
	i, ok := slices.BinarySearch(r.lines, off)
	if !ok {
		i--
	}
	return i + 1, utf8.RuneCount(r.src[r.lines[i]:min(off, len(r.src))]) + 1
}

// errorf records an error at off. fix may be empty.
func (r *reader) errorf(off int, fix, format string, args ...any) {
	if len(r.errs) >= maxDiagnostics {
		return
	}
	line, col := r.at(off)
	r.errs = append(r.errs, Diagnostic{line, col, SeverityError, fmt.Sprintf(format, args...), fix})
}

// warnf records a warning at off.
func (r *reader) warnf(off int, fix, format string, args ...any) {
	if len(r.warns) >= maxDiagnostics {
		return
	}
	line, col := r.at(off)
	r.warns = append(r.warns, Diagnostic{line, col, SeverityWarning, fmt.Sprintf(format, args...), fix})
}

// root parses the text into a tree, within the limits.
func (r *reader) root() (*hujson.Value, bool) {
	if !utf8.Valid(r.src) {
		r.errorf(0, "save the file as UTF-8", "the text is not valid UTF-8")
		return nil, false
	}
	if off, why := r.tooMuch(); why != "" {
		r.errorf(off, "", "%s", why)
		return nil, false
	}
	v, err := hujson.Parse(r.src)
	if err != nil {
		var line, col int
		msg := err.Error()
		if _, e := fmt.Sscanf(msg, "hujson: line %d, column %d:", &line, &col); e == nil && line >= 1 && line <= len(r.lines) {
			msg = msg[strings.Index(msg, ": ")+2:]
			msg = msg[strings.Index(msg, ": ")+2:]
			r.errorf(r.lines[line-1]+col-1, "", "syntax: %s", msg)
		} else {
			r.errorf(-1, "", "syntax: %s", msg)
		}
		return nil, false
	}
	return &v, true
}

// tooMuch scans for nesting and number of values without building anything, since
// the parser recurses and costs many times the size of its input.
func (r *reader) tooMuch() (off int, why string) {
	depth, values := 0, 0
	for i := 0; i < len(r.src); i++ {
		switch c := r.src[i]; c {
		case '"':
			values++
			i = skipString(r.src, i)
		case '/':
			i = skipComment(r.src, i)
		case '{', '[':
			depth++
			values++
			if depth > maxDepth {
				return i, fmt.Sprintf("objects and arrays are nested more than %d deep", maxDepth)
			}
		case '}', ']':
			depth--
		case ',', ':':
			values++
		}
		if values > 2*maxValues {
			return i, fmt.Sprintf("more than %d values", maxValues)
		}
	}
	return 0, ""
}

// skipString returns the index of the quote that ends the string at i.
func skipString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return i
}

// skipComment returns the index of the last byte of the comment at i, or i.
func skipComment(b []byte, i int) int {
	rest := b[i:]
	var end, n int
	switch {
	case bytes.HasPrefix(rest, []byte("//")):
		end, n = bytes.IndexByte(rest, '\n'), 1
	case bytes.HasPrefix(rest, []byte("/*")):
		end, n = bytes.Index(rest[2:], []byte("*/"))+2, 2
		if end < 2 {
			end = -1
		}
	default:
		return i
	}
	if end < 0 {
		return len(b)
	}
	return i + end + n - 1
}

// members returns the members of an object; null is an empty one.
func (r *reader) members(v *hujson.Value, what string) []member {
	switch val := v.Value.(type) {
	case *hujson.Object:
		ms := make([]member, 0, len(val.Members))
		seen := make(map[string]bool, len(val.Members))
		for i := range val.Members {
			m := &val.Members[i]
			name := text{decodeString(m.Name.Value), m.Name.StartOffset}
			if seen[name.s] {
				r.errorf(name.off, "keep one of them", "%s: %q is given twice", what, name.s)
				continue
			}
			seen[name.s] = true
			ms = append(ms, member{name, &m.Value})
		}
		return ms
	case hujson.Literal:
		if val.Kind() == 'n' {
			return nil
		}
	}
	r.errorf(v.StartOffset, `write { "name": ... }`, "%s must be an object", what)
	return nil
}

// fields reads an object whose names are known. Names are matched without regard to
// case, as the service does. It returns the values by the names given.
func (r *reader) fields(v *hujson.Value, what string, known ...string) map[string]*hujson.Value {
	out := make(map[string]*hujson.Value)
	for _, m := range r.members(v, what) {
		i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, m.name.s) })
		if i < 0 {
			fix := "known are " + strings.Join(known, ", ")
			if n := nearest(m.name.s, known); n != "" {
				fix = fmt.Sprintf("did you mean %q?", n)
			}
			r.errorf(m.name.off, fix, "%s: unknown field %q", what, clip(m.name.s))
			continue
		}
		if out[known[i]] != nil {
			r.errorf(m.name.off, "keep one of them", "%s: %q is given twice", what, known[i])
			continue
		}
		if !isNull(m.val) {
			out[known[i]] = m.val
		}
	}
	return out
}

// elements returns the elements of an array; null and nil are an empty one.
func (r *reader) elements(v *hujson.Value, what string) []hujson.Value {
	if v == nil || isNull(v) {
		return nil
	}
	arr, ok := v.Value.(*hujson.Array)
	if !ok {
		r.errorf(v.StartOffset, "write [ ... ]", "%s must be a list", what)
		return nil
	}
	if len(arr.Elements) > maxListed {
		r.errorf(v.StartOffset, "", "%s has %d entries; at most %d are allowed", what, len(arr.Elements), maxListed)
		return nil
	}
	return arr.Elements
}

// texts reads a list of strings, with surrounding space removed.
func (r *reader) texts(v *hujson.Value, what string) []text {
	els := r.elements(v, what)
	out := make([]text, 0, len(els))
	for i := range els {
		if t, ok := r.text(&els[i], what); ok {
			out = append(out, t)
		}
	}
	return out
}

// text reads one string, with surrounding space removed; nil is "".
func (r *reader) text(v *hujson.Value, what string) (text, bool) {
	if v == nil {
		return text{off: -1}, true
	}
	lit, ok := v.Value.(hujson.Literal)
	if !ok || lit.Kind() != '"' {
		r.errorf(v.StartOffset, "put it in double quotes", "%s must be a string", what)
		return text{}, false
	}
	s := strings.TrimSpace(decodeString(lit))
	if len(s) > maxName {
		r.errorf(v.StartOffset, "", "%s: %q is longer than %d bytes", what, clip(s), maxName)
		return text{}, false
	}
	return text{s, v.StartOffset}, true
}

// boolean reads true or false; nil is false.
func (r *reader) boolean(v *hujson.Value, what string) bool {
	if v == nil {
		return false
	}
	lit, ok := v.Value.(hujson.Literal)
	if !ok || (lit.Kind() != 't' && lit.Kind() != 'f') {
		r.errorf(v.StartOffset, "", "%s must be true or false", what)
		return false
	}
	return lit.Bool()
}

// raw returns a value as compact JSON.
func (r *reader) raw(v *hujson.Value) string {
	c := v.Clone()
	c.Minimize()
	return string(bytes.TrimSpace(c.Pack()))
}

func isNull(v *hujson.Value) bool {
	lit, ok := v.Value.(hujson.Literal)
	return ok && lit.Kind() == 'n'
}

func decodeString(v hujson.ValueTrimmed) string {
	lit, _ := v.(hujson.Literal)
	var s string
	if json.Unmarshal(lit, &s) != nil {
		return string(lit)
	}
	return s
}

// clip shortens a name for a message.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	i := most
	for !utf8.RuneStart(s[i]) {
		i--
	}
	return s[:i] + "..."
}
