package ui

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestContrast checks the colours of the style sheet against WCAG 2.2: text needs
// 4.5 to 1 (1.4.3), what shows where the focus is needs 3 to 1 (1.4.11).
func TestContrast(t *testing.T) {
	css, err := static.ReadFile("static/console.css")
	if err != nil {
		t.Fatal(err)
	}
	light, dark, found := strings.Cut(string(css), "@media (prefers-color-scheme: dark)")
	if !found {
		t.Fatal("the style sheet has no dark colours")
	}
	dark, _, _ = strings.Cut(dark, "/* Ground */")
	for _, scheme := range []struct{ name, css string }{{"light", light}, {"dark", dark}} {
		c := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6});`).FindAllStringSubmatch(scheme.css, -1) {
			c[m[1]] = luminance(t, m[2])
		}
		for _, tt := range []struct {
			front, back string
			least       float64
		}{
			{"text", "ground", 7},
			{"text", "surface", 7},
			{"text", "sunken", 7},
			{"text", "warn-soft", 7},
			{"text", "danger-soft", 7},
			{"text", "ok-soft", 7},
			{"muted", "ground", 4.5},
			{"muted", "surface", 4.5},
			{"muted", "sunken", 4.5},
			{"accent", "ground", 4.5},
			{"accent", "surface", 4.5},
			{"accent", "accent-soft", 4.5},
			{"on-accent", "accent", 4.5},
			{"on-accent", "accent-hover", 4.5},
			{"ok", "surface", 4.5},
			{"ok", "ok-soft", 4.5},
			{"warn", "surface", 4.5},
			{"warn", "warn-soft", 4.5},
			{"danger", "surface", 4.5},
			{"danger", "danger-soft", 4.5},
			{"ok", "sunken", 4.5},
			{"focus", "ground", 3},
			{"focus", "surface", 3},
			{"focus", "sunken", 3},
		} {
			front, ok1 := c[tt.front]
			back, ok2 := c[tt.back]
			if !ok1 || !ok2 {
				t.Fatalf("%s: no colour %s or %s", scheme.name, tt.front, tt.back)
			}
			ratio := (math.Max(front, back) + 0.05) / (math.Min(front, back) + 0.05)
			if ratio < tt.least {
				t.Errorf("%s: %s on %s has a contrast of %.2f, want %.1f", scheme.name, tt.front, tt.back, ratio, tt.least)
			}
		}
	}
}

// luminance is the relative luminance of a colour, as WCAG defines it.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	n, err := strconv.ParseUint(hex[1:], 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	part := func(shift int) float64 {
		v := float64(n>>shift&255) / 255
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*part(16) + 0.7152*part(8) + 0.0722*part(0)
}
