package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"selvage/internal/api/admin"
)

// each calls f with every command and its path.
func each(cmd *command, path string, f func(cmd *command, path string)) {
	f(cmd, path)
	for _, c := range cmd.sub {
		each(c, strings.TrimSpace(path+" "+c.name), f)
	}
}

// Every command says in a sentence what it does and shows how it is used, and the
// examples are good command lines.
func TestEveryCommandExplainsItself(t *testing.T) {
	each(root(), "", func(cmd *command, path string) {
		if !strings.HasSuffix(cmd.short, ".") {
			t.Errorf("%q: %q is no sentence", path, cmd.short)
		}
		if cmd.setup == nil && len(cmd.sub) == 0 {
			t.Errorf("%q does nothing", path)
		}
		if cmd.setup != nil && len(cmd.examples) < 2 {
			t.Errorf("%q has %d examples", path, len(cmd.examples))
		}
		if cmd.setup != nil {
			fs := newFlagSet(path)
			cmd.setup(fs)
			fs.VisitAll(func(f *flag.Flag) {
				if f.Usage == "" {
					t.Errorf("%q: --%s is not explained", path, f.Name)
				}
			})
		}
		for _, e := range cmd.examples {
			if err := tryExample(e); err != nil {
				t.Errorf("%q: example %q: %v", path, e, err)
			}
		}
	})
}

// tryExample parses a command line up to the first word that is for the shell.
func tryExample(line string) error {
	words := strings.Fields(line)
	if i := slices.IndexFunc(words, func(w string) bool { return w == ">" || w == "|" || w == "&&" }); i >= 0 {
		words = words[:i]
	}
	cmd := root()
	for len(words) > 0 && cmd.find(words[0]) != nil {
		cmd, words = cmd.find(words[0]), words[1:]
	}
	if cmd.setup == nil {
		return usagef("no command")
	}
	fs := newFlagSet(cmd.name)
	cmd.setup(fs)
	new(globals).add(fs, cmd.own)
	rest, err := parseMixed(fs, words)
	if err == nil && (len(rest) < cmd.least || cmd.most >= 0 && len(rest) > cmd.most) {
		err = usagef("%d arguments", len(rest))
	}
	return err
}

func TestParseMixed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		args  []string
		rest  []string
		value string
		on    bool
	}{
		{"flags first", []string{"--value", "x", "--on", "a", "b"}, []string{"a", "b"}, "x", true},
		{"flags last", []string{"a", "b", "--value=x", "-on"}, []string{"a", "b"}, "x", true},
		{"between", []string{"a", "--value", "x", "b"}, []string{"a", "b"}, "x", false},
		{"after a double hyphen", []string{"a", "--", "--value", "x"}, []string{"a", "--value", "x"}, "", false},
		{"standard input", []string{"-", "--on"}, []string{"-"}, "", true},
		{"nothing", nil, nil, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fs := newFlagSet("test")
			value, on := fs.String("value", "", ""), fs.Bool("on", false, "")
			rest, err := parseMixed(fs, tt.args)
			if err != nil || !slices.Equal(rest, tt.rest) || *value != tt.value || *on != tt.on {
				t.Errorf("got %q, %q, %v, %v", rest, *value, *on, err)
			}
		})
	}
}

func TestTable(t *testing.T) {
	var tab table
	tab.add("NAME", "OWNER", "STATE")
	tab.add("日本", "ann", "online")
	tab.add("e\u0301t\u0301", "ben@example.com", "")
	tab.add("bad\x1b[31m\u202Ename", "x\ny", "z")
	var out bytes.Buffer
	if err := tab.write(&out); err != nil {
		t.Fatal(err)
	}
	want := "NAME           OWNER            STATE\n" +
		"日本           ann              online\n" +
		"e\u0301t\u0301             ben@example.com\n" +
		"bad\uFFFD[31m\uFFFDname  x y              z\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhen(t *testing.T) {
	now := scriptTime()
	for _, tt := range []struct {
		d    time.Duration
		want string
	}{
		{time.Second, "just now"},
		{10 * time.Second, "10s ago"},
		{90 * time.Second, "2m ago"},
		{3 * time.Hour, "3h ago"},
		{50 * time.Hour, "2d ago"},
		{800 * 24 * time.Hour, "2y ago"},
		{-90 * 24 * time.Hour, "just now"},
	} {
		if got := ago(now, now.Add(-tt.d)); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.d, got, tt.want)
		}
	}
	if got := until(now, now.Add(36*time.Hour)); got != "in 36h" {
		t.Errorf("until: %q", got)
	}
	if got := until(now, now.Add(-time.Hour)); got != "60m ago" {
		t.Errorf("until, past: %q", got)
	}
	if ago(now, time.Time{}) != "never" || until(now, time.Time{}) != "never" {
		t.Error("no time is not never")
	}
}

// What exactly writes, parseDuration reads.
func TestDurations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(36500*day/time.Second)).Draw(t, "seconds")) * time.Second
		if rapid.Bool().Draw(t, "days") {
			d = d.Truncate(day)
		}
		if got, err := parseDuration(exactly(d)); err != nil || got != d {
			t.Errorf("%v is written %q and read %v, %v", d, exactly(d), got, err)
		}
	})
	for text, want := range map[string]time.Duration{"90d": 90 * day, "2w": 14 * day, "1y": 365 * day, "1h30m": 90 * time.Minute, "0d": 0} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("parseDuration(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "-1d", "-5m", "1.5d", "99999999999d", "1", "forever", "9223372036854775807y"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("parseDuration(%q) = %v", text, got)
		}
	}
}

func TestParseTime(t *testing.T) {
	now := scriptTime()
	for text, want := range map[string]time.Time{
		"2026-01-31":           time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC),
		"2026-01-31 13:14":     time.Date(2026, 1, 31, 13, 14, 0, 0, time.UTC),
		"2026-01-31T13:14:15Z": time.Date(2026, 1, 31, 13, 14, 15, 0, time.UTC),
		"2h":                   now.Add(-2 * time.Hour),
	} {
		if got, err := parseTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("parseTime(%q) = %v, %v", text, got, err)
		}
	}
	if _, err := parseTime("yesterday", now); err == nil {
		t.Error("yesterday is a time")
	}
}

func TestChangeOf(t *testing.T) {
	for _, tt := range []struct{ name, old, new, want string }{
		{"new", ``, `{"id":3,"login":"ann","role":"member","created":"x"}`, "login ann, role member"},
		{"changed", `{"id":3,"role":"member","tags":["a"]}`, `{"id":3,"role":"admin"}`, `role member -> admin, tags ["a"] -> none`},
		{"many", `{"a":1,"b":1,"c":1,"d":1,"e":1}`, `{"a":2,"b":2,"c":2,"d":2,"e":2}`, "a 1 -> 2, b 1 -> 2, c 1 -> 2, 2 more"},
		{"long", `{"text":""}`, `{"text":"` + strings.Repeat("x", 100) + `"}`, `text "" -> ` + strings.Repeat("x", 37) + "..."},
		{"deleted", `{"id":3}`, ``, ""},
		{"no object", `1`, `2`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := admin.Entry{Old: json.RawMessage(tt.old), New: json.RawMessage(tt.new)}
			if got := changeOf(e); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Completion of what needs no server.
func TestCompleteTree(t *testing.T) {
	for _, tt := range []struct {
		name  string
		words []string
		want  []string
	}{
		{"commands", []string{"to"}, []string{"token"}},
		{"hidden ones are not shown", []string{"__"}, nil},
		{"subcommands", []string{"node", "re"}, []string{"register", "rename"}},
		{"after a global flag", []string{"--data-dir", "/nonexistent", "node", "sh"}, []string{"show"}},
		{"flags", []string{"key", "create", "--re"}, []string{"--reusable"}},
		{"global flags", []string{"node", "show", "--tai"}, []string{"--tailnet"}},
		{"roles", []string{"user", "create", "--role", "net"}, []string{"network-admin"}},
		{"roles with an equals sign", []string{"user", "create", "--role=net"}, []string{"--role=network-admin"}},
		{"roles as an argument", []string{"user", "role", "ann", "aud"}, []string{"auditor"}},
		{"files", []string{"policy", "set", "x"}, []string{fileMark}},
		{"files of a flag", []string{"serve", "--config", ""}, []string{fileMark}},
		{"not more than there are arguments", []string{"policy", "set", "x", ""}, nil},
		{"group with a command of its own", []string{"config", "ch"}, []string{"check"}},
		{"nothing", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sh := &shell{environ: []string{"SELVAGE_DATA_DIR=/nonexistent"}}
			got := complete(context.Background(), sh, tt.words)
			if tt.name == "nothing" {
				if len(got) != len(root().sub)-1 {
					t.Errorf("got %q", got)
				}
				return
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzComplete(f *testing.F) {
	f.Add("key create --tag ta")
	f.Add("--data-dir x node -- --")
	f.Add("config --listen")
	f.Fuzz(func(t *testing.T, line string) {
		sh := &shell{environ: []string{"SELVAGE_DATA_DIR=/nonexistent"}}
		words := strings.Split(line, " ")
		last := words[len(words)-1]
		for _, c := range complete(context.Background(), sh, words) {
			if c != fileMark && !strings.HasPrefix(c, last) {
				t.Errorf("%q is completed by %q", last, c)
			}
		}
	})
}
