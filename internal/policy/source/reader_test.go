package source

import (
	"strings"
	"testing"
)

// TestPlaces checks that values are found again by line and column, counted in
// characters.
func TestPlaces(t *testing.T) {
	r := New([]byte("{\n\t// é\n\t\"ä\": [\"x\", \"y\"],\n}"))
	root, ok := r.Root()
	if !ok {
		t.Fatal(r.Errs)
	}
	ms := r.Members(root, "it")
	if len(ms) != 1 || ms[0].Name.S != "ä" {
		t.Fatalf("got %+v", ms)
	}
	texts := r.Texts(ms[0].Val, "list")
	if len(texts) != 2 || texts[1].S != "y" {
		t.Fatalf("got %+v", texts)
	}
	if line, col := r.At(texts[1].Off); line != 3 || col != 13 {
		t.Errorf("y is at %d:%d", line, col)
	}
	r.Errorf(texts[0].Off, "do that", "no %s", "good")
	if got := r.Errs[0].String(); got != "policy:3:8: no good; do that" {
		t.Errorf("got %s", got)
	}
	if len(r.Fresh().Errs) != 0 {
		t.Error("a fresh reader has errors")
	}
}

func TestNearest(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"grups", "groups"},
		{"GROUPS", "groups"},
		{"tagowner", "tagOwners"},
		{"xyz", ""},
		{strings.Repeat("groups", 20), ""},
	} {
		if got := Nearest(tt.name, []string{"groups", "tagOwners", "hosts"}); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// FuzzReader reads arbitrary texts as what they are not.
func FuzzReader(f *testing.F) {
	for _, s := range []string{"{", `{"a": [1, "b", {}]}`, "/* [ */ [[\"\\\"\"]]", "\xff", "[null, true]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r := New([]byte(s))
		root, ok := r.Root()
		if !ok {
			if len(r.Errs) == 0 {
				t.Fatal("refused without a reason")
			}
			return
		}
		for _, m := range r.Members(root, "it") {
			r.Text(m.Val, "text")
			r.Boolean(m.Val, "flag")
			for _, text := range r.Texts(m.Val, "list") {
				if line, col := r.At(text.Off); line < 1 || col < 1 {
					t.Fatalf("%q is at %d:%d", text.S, line, col)
				}
			}
		}
		r.Fields(root, "it", "a", "b")
		if len(r.Errs) > MaxDiagnostics {
			t.Fatalf("%d errors", len(r.Errs))
		}
	})
}

func TestClip(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"short", "name", "name"},
		{"long", strings.Repeat("a", 70), strings.Repeat("a", 64) + "..."},
		{"within a character", strings.Repeat("a", 63) + "éé", strings.Repeat("a", 63) + "..."},
		{"no text at all", strings.Repeat("\x8f", 70), "..."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Clip(tt.text); got != tt.want {
				t.Errorf("got %q", got)
			}
		})
	}
}
