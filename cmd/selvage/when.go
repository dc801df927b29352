package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ago says how long before now t was: "3m ago"; "never" for no time.
func ago(now, t time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return "never"
	case d < 5*time.Second:
		return "just now"
	default:
		return short(d) + " ago"
	}
}

// until says how long after now t is: "in 5d", or since when it is past; "never" for
// no time.
func until(now, t time.Time) string {
	switch d := t.Sub(now); {
	case t.IsZero():
		return "never"
	case d <= 0:
		return ago(now, t)
	default:
		return "in " + short(d)
	}
}

const day = 24 * time.Hour

// short writes a duration with one unit, rounded to the nearest.
func short(d time.Duration) string {
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d/time.Second)) + "s"
	case d < 2*time.Hour:
		return strconv.Itoa(int((d+30*time.Second)/time.Minute)) + "m"
	case d < 2*day:
		return strconv.Itoa(int((d+30*time.Minute)/time.Hour)) + "h"
	case d < 730*day:
		return strconv.Itoa(int((d+12*time.Hour)/day)) + "d"
	}
	return strconv.Itoa(int(d/(365*day))) + "y"
}

// exactly writes a duration so that parseDuration reads the same: "180d", "1h30m0s".
func exactly(d time.Duration) string {
	if d != 0 && d%day == 0 {
		return strconv.Itoa(int(d/day)) + "d"
	}
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

// parseDuration reads a duration such as 90d, 12h or 1h30m.
func parseDuration(s string) (time.Duration, error) {
	const longest = 36500 // days
	for suffix, unit := range map[string]int{"d": 1, "w": 7, "y": 365} {
		number, ok := strings.CutSuffix(s, suffix)
		if !ok {
			continue
		}
		if n, err := strconv.Atoi(number); err == nil && n >= 0 && n <= longest/unit {
			return time.Duration(n*unit) * day, nil
		}
		return 0, fmt.Errorf("bad duration %q: want one such as 90d, 12h or 30m", s)
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("bad duration %q: want one such as 90d, 12h or 30m", s)
	}
	return d, nil
}

// lifeFlag is a flag for a duration in days as well.
type lifeFlag struct {
	d     time.Duration
	given bool
}

// String returns what was given, for flag's own use.
func (l *lifeFlag) String() string {
	if l.d == 0 {
		return ""
	}
	return exactly(l.d)
}

// Set takes the value.
func (l *lifeFlag) Set(s string) error {
	d, err := parseDuration(s)
	l.d, l.given = d, true
	return err
}

// parseTime reads a time, or a duration before now such as 2h.
func parseTime(s string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	if d, err := parseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("bad time %q: want one such as 2026-01-31, 2026-01-31T12:00:00Z, or 2h for two hours ago", s)
}
