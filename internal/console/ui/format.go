package ui

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Moment is a time as seen from now; pages show it by the template "when".
type Moment struct {
	At, Now time.Time
}

// IsZero reports whether there is no such moment.
func (m Moment) IsZero() bool { return m.At.IsZero() }

// Machine is the time for programs: RFC 3339 in UTC.
func (m Moment) Machine() string { return m.At.UTC().Format(time.RFC3339) }

// Full is the time for people, to the minute, in UTC.
func (m Moment) Full() string { return m.At.UTC().Format("2 Jan 2006, 15:04 UTC") }

// Past reports whether the moment is over.
func (m Moment) Past() bool { return !m.At.After(m.Now) }

// Relative says how far away the moment is: "3 hours ago", "in 2 days".
func (m Moment) Relative() string {
	d := m.Now.Sub(m.At)
	switch {
	case d >= 0 && d < time.Minute:
		return "just now"
	case d < 0 && -d < time.Minute:
		return "in less than a minute"
	case d < 0:
		return "in " + span(-d)
	}
	return span(d) + " ago"
}

// span says how long d is in its largest unit.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Hour:
		return Plural(int(d/time.Minute), "minute", "minutes")
	case d < day:
		return Plural(int(d/time.Hour), "hour", "hours")
	case d < 60*day:
		return Plural(int(d/day), "day", "days")
	case d < 730*day:
		return Plural(int(d/(30*day)), "month", "months")
	}
	return Plural(int(d/(365*day)), "year", "years")
}

// Plural returns a number with its noun: "1 device", "10,000 devices".
func Plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Number(n) + " " + many
}

// Number returns a number with a comma between thousands.
func Number(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// System is the name of an operating system as its maker writes it.
func System(os string) string {
	switch strings.ToLower(os) {
	case "":
		return "Unknown system"
	case "linux":
		return "Linux"
	case "macos", "darwin":
		return "macOS"
	case "windows":
		return "Windows"
	case "ios":
		return "iOS"
	case "ipados":
		return "iPadOS"
	case "tvos":
		return "tvOS"
	case "android":
		return "Android"
	case "freebsd":
		return "FreeBSD"
	case "openbsd":
		return "OpenBSD"
	}
	return os
}

// Glyph names the drawing that stands for a device: "phone", "server" or "laptop".
func Glyph(os string, tagged bool) string {
	switch strings.ToLower(os) {
	case "ios", "ipados", "android":
		return "phone"
	}
	if tagged {
		return "server"
	}
	return "laptop"
}

// ClientVersion is the part of a client's version that people know: "1.102.5" of
// "1.102.5-t0123abc-g4567def".
func ClientVersion(long string) string {
	short, _, _ := strings.Cut(long, "-")
	return short
}

// Title writes the first letter of s as a capital.
func Title(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	if size == 0 {
		return s
	}
	return string(unicode.ToUpper(r)) + s[size:]
}

// Segment is a piece of prose; Code is something that is typed.
type Segment struct {
	Text string
	Code bool
}

// prose cuts a text at its backquotes. One that has no partner is a backquote.
func prose(s string) []Segment {
	var segs []Segment
	for {
		before, rest, ok := strings.Cut(s, "`")
		code, after, closed := strings.Cut(rest, "`")
		if !ok || !closed {
			return append(segs, Segment{Text: s})
		}
		segs = append(segs, Segment{Text: before}, Segment{code, true})
		s = after
	}
}

// parts cuts a name after its dots, where a line may end.
func parts(s string) []string { return strings.SplitAfter(s, ".") }
