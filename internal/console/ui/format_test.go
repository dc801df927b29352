package ui

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestMoment(t *testing.T) {
	now := time.Date(2026, 5, 4, 9, 30, 0, 0, time.UTC)
	for _, tt := range []struct {
		name string
		d    time.Duration // before now
		want string
	}{
		{"now", 0, "just now"},
		{"a moment ago", 59 * time.Second, "just now"},
		{"one minute", time.Minute, "1 minute ago"},
		{"minutes", 59 * time.Minute, "59 minutes ago"},
		{"one hour", 61 * time.Minute, "1 hour ago"},
		{"hours", 23 * time.Hour, "23 hours ago"},
		{"one day", 36 * time.Hour, "1 day ago"},
		{"days", 59 * 24 * time.Hour, "59 days ago"},
		{"months", 61 * 24 * time.Hour, "2 months ago"},
		{"years", 800 * 24 * time.Hour, "2 years ago"},
		{"soon", -30 * time.Second, "in less than a minute"},
		{"in hours", -5 * time.Hour, "in 5 hours"},
		{"in days", -50 * time.Hour, "in 2 days"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := (Moment{now.Add(-tt.d), now}).Relative(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	m := Moment{now, now}
	if m.Full() != "4 May 2026, 09:30 UTC" || m.Machine() != "2026-05-04T09:30:00Z" {
		t.Errorf("got %q and %q", m.Full(), m.Machine())
	}
}

func TestNumberKeepsItsDigits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int().Draw(t, "n")
		s := Number(n)
		if back, err := strconv.Atoi(strings.ReplaceAll(s, ",", "")); err != nil || back != n {
			t.Fatalf("%d became %q", n, s)
		}
		groups := strings.Split(strings.TrimPrefix(s, "-"), ",")
		for i, g := range groups {
			if i > 0 && len(g) != 3 || g == "" || len(g) > 3 {
				t.Fatalf("%d became %q", n, s)
			}
		}
	})
}

func TestProseLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOf(rapid.SampledFrom([]rune("ab `\n<é"))).Draw(t, "s")
		var plain, codes strings.Builder
		count := 0
		for _, seg := range prose(s) {
			plain.WriteString(seg.Text)
			if seg.Code {
				count++
				codes.WriteString(seg.Text)
			}
		}
		if want := strings.Count(s, "`") / 2; count != want {
			t.Fatalf("%q has %d pieces of code, want %d", s, count, want)
		}
		if strings.Contains(codes.String(), "`") {
			t.Fatalf("code of %q has a backquote", s)
		}
		if strings.ReplaceAll(plain.String(), "`", "") != strings.ReplaceAll(s, "`", "") {
			t.Fatalf("%q became %q", s, plain.String())
		}
	})
}

func TestNames(t *testing.T) {
	for _, tt := range []struct{ os, want string }{
		{"linux", "Linux"}, {"macOS", "macOS"}, {"windows", "Windows"}, {"iOS", "iOS"}, {"tvOS", "tvOS"}, {"android", "Android"}, {"plan9", "plan9"}, {"", "Unknown system"},
	} {
		if got := System(tt.os); got != tt.want {
			t.Errorf("System(%q) = %q, want %q", tt.os, got, tt.want)
		}
	}
	if got := ClientVersion("1.102.5-tabc-gdef"); got != "1.102.5" {
		t.Errorf("the client's version is %q", got)
	}
	if got := Title("élan"); got != "Élan" {
		t.Errorf("got %q", got)
	}
}
