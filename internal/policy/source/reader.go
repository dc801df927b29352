// Package source reads the text of a policy file: HuJSON whose places are kept, and
// what there is to say of them. It knows nothing of what the text means.
package source

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

// Reader turns values of the text into Go values and collects what is wrong with
// them. A failed read returns a zero value: the policy is refused in the end, and
// the reader goes on so that one answer names all mistakes.
type Reader struct {
	src   []byte
	lines []int // offset at which each line starts

	// Errs and Warns are what was found, in the order in which it was.
	Errs, Warns []Diagnostic
}

// Text is a string of the source and where it starts.
type Text struct {
	S   string
	Off int
}

// Member is a name in an object, its value, and where both are.
type Member struct {
	Name Text
	Val  *hujson.Value
}

// New returns a reader of a text.
func New(src []byte) *Reader {
	r := &Reader{src: src, lines: []int{0}}
	for i, b := range src {
		if b == '\n' {
			r.lines = append(r.lines, i+1)
		}
	}
	return r
}

// Fresh returns a reader of the same text that has found nothing.
func (r *Reader) Fresh() *Reader { return &Reader{src: r.src, lines: r.lines} }

// At returns the line and column of an offset; offset -1 is the whole text.
func (r *Reader) At(off int) (line, col int) {
	if off < 0 {
		return 0, 0
	}
	i, ok := slices.BinarySearch(r.lines, off)
	if !ok {
		i--
	}
	return i + 1, utf8.RuneCount(r.src[r.lines[i]:min(off, len(r.src))]) + 1
}

// Errorf records an error at off. fix may be empty.
func (r *Reader) Errorf(off int, fix, format string, args ...any) {
	if len(r.Errs) >= MaxDiagnostics {
		return
	}
	line, col := r.At(off)
	r.Errs = append(r.Errs, Diagnostic{line, col, SeverityError, fmt.Sprintf(format, args...), fix})
}

// Warnf records a warning at off.
func (r *Reader) Warnf(off int, fix, format string, args ...any) {
	if len(r.Warns) >= MaxDiagnostics {
		return
	}
	line, col := r.At(off)
	r.Warns = append(r.Warns, Diagnostic{line, col, SeverityWarning, fmt.Sprintf(format, args...), fix})
}

// Limits of a text. They bound the time and memory that a hostile one can cost.
const (
	MaxText        = 4 << 20 // bytes
	MaxValues      = 300_000 // JSON values
	MaxDepth       = 32      // nested objects and arrays
	MaxDiagnostics = 50      // diagnostics kept of one text
	MaxName        = 255     // bytes of a string
	MaxListed      = 20_000  // entries of one list
)

// Root parses the text into a tree, within the limits.
func (r *Reader) Root() (*hujson.Value, bool) {
	if !utf8.Valid(r.src) {
		r.Errorf(0, "save the file as UTF-8", "the text is not valid UTF-8")
		return nil, false
	}
	if off, why := r.tooMuch(); why != "" {
		r.Errorf(off, "", "%s", why)
		return nil, false
	}
	v, err := hujson.Parse(r.src)
	if err != nil {
		var line, col int
		msg := err.Error()
		if _, e := fmt.Sscanf(msg, "hujson: line %d, column %d:", &line, &col); e == nil && line >= 1 && line <= len(r.lines) {
			msg = msg[strings.Index(msg, ": ")+2:]
			msg = msg[strings.Index(msg, ": ")+2:]
			r.Errorf(r.lines[line-1]+col-1, "", "syntax: %s", msg)
		} else {
			r.Errorf(-1, "", "syntax: %s", msg)
		}
		return nil, false
	}
	return &v, true
}

// tooMuch scans for nesting and number of values without building anything, since
// the parser recurses and costs many times the size of its input.
func (r *Reader) tooMuch() (off int, why string) {
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
			if depth > MaxDepth {
				return i, fmt.Sprintf("objects and arrays are nested more than %d deep", MaxDepth)
			}
		case '}', ']':
			depth--
		case ',', ':':
			values++
		}
		if values > 2*MaxValues {
			return i, fmt.Sprintf("more than %d values", MaxValues)
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

// Members returns the members of an object; null is an empty one.
func (r *Reader) Members(v *hujson.Value, what string) []Member {
	switch val := v.Value.(type) {
	case *hujson.Object:
		ms := make([]Member, 0, len(val.Members))
		seen := make(map[string]bool, len(val.Members))
		for i := range val.Members {
			m := &val.Members[i]
			name := Text{decodeString(m.Name.Value), m.Name.StartOffset}
			if seen[name.S] {
				r.Errorf(name.Off, "keep one of them", "%s: %q is given twice", what, name.S)
				continue
			}
			seen[name.S] = true
			ms = append(ms, Member{name, &m.Value})
		}
		return ms
	case hujson.Literal:
		if val.Kind() == 'n' {
			return nil
		}
	}
	r.Errorf(v.StartOffset, `write { "name": ... }`, "%s must be an object", what)
	return nil
}

// Fields reads an object whose names are known. Names are matched without regard to
// case, as the service does. It returns the values by the names given.
func (r *Reader) Fields(v *hujson.Value, what string, known ...string) map[string]*hujson.Value {
	out := make(map[string]*hujson.Value)
	for _, m := range r.Members(v, what) {
		i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, m.Name.S) })
		if i < 0 {
			fix := "known are " + strings.Join(known, ", ")
			if n := Nearest(m.Name.S, known); n != "" {
				fix = fmt.Sprintf("did you mean %q?", n)
			}
			r.Errorf(m.Name.Off, fix, "%s: unknown field %q", what, Clip(m.Name.S))
			continue
		}
		if out[known[i]] != nil {
			r.Errorf(m.Name.Off, "keep one of them", "%s: %q is given twice", what, known[i])
			continue
		}
		if !IsNull(m.Val) {
			out[known[i]] = m.Val
		}
	}
	return out
}

// Elements returns the elements of an array; null and nil are an empty one.
func (r *Reader) Elements(v *hujson.Value, what string) []hujson.Value {
	if v == nil || IsNull(v) {
		return nil
	}
	arr, ok := v.Value.(*hujson.Array)
	if !ok {
		r.Errorf(v.StartOffset, "write [ ... ]", "%s must be a list", what)
		return nil
	}
	if len(arr.Elements) > MaxListed {
		r.Errorf(v.StartOffset, "", "%s has %d entries; at most %d are allowed", what, len(arr.Elements), MaxListed)
		return nil
	}
	return arr.Elements
}

// Texts reads a list of strings, with surrounding space removed.
func (r *Reader) Texts(v *hujson.Value, what string) []Text {
	els := r.Elements(v, what)
	out := make([]Text, 0, len(els))
	for i := range els {
		if t, ok := r.Text(&els[i], what); ok {
			out = append(out, t)
		}
	}
	return out
}

// Text reads one string, with surrounding space removed; nil is "".
func (r *Reader) Text(v *hujson.Value, what string) (Text, bool) {
	if v == nil {
		return Text{Off: -1}, true
	}
	lit, ok := v.Value.(hujson.Literal)
	if !ok || lit.Kind() != '"' {
		r.Errorf(v.StartOffset, "put it in double quotes", "%s must be a string", what)
		return Text{}, false
	}
	s := strings.TrimSpace(decodeString(lit))
	if len(s) > MaxName {
		r.Errorf(v.StartOffset, "", "%s: %q is longer than %d bytes", what, Clip(s), MaxName)
		return Text{}, false
	}
	return Text{s, v.StartOffset}, true
}

// Boolean reads true or false; nil is false.
func (r *Reader) Boolean(v *hujson.Value, what string) bool {
	if v == nil {
		return false
	}
	lit, ok := v.Value.(hujson.Literal)
	if !ok || (lit.Kind() != 't' && lit.Kind() != 'f') {
		r.Errorf(v.StartOffset, "", "%s must be true or false", what)
		return false
	}
	return lit.Bool()
}

// Raw returns a value as compact JSON.
func (r *Reader) Raw(v *hujson.Value) string {
	c := v.Clone()
	c.Minimize()
	return string(bytes.TrimSpace(c.Pack()))
}

// IsNull reports whether a value is null.
func IsNull(v *hujson.Value) bool {
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

// Clip shortens a name for a message.
func Clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	i := most
	for i > 0 && !utf8.RuneStart(s[i]) {
		i--
	}
	return s[:i] + "..."
}
