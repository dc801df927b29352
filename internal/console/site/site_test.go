package site

import (
	"net/url"
	"testing"
)

func TestSentence(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"empty", "", ""},
		{"a message", "the link was used", "The link was used."},
		{"a sentence stays", "Nothing here!", "Nothing here!"},
		{"a login keeps its letters", "ada@example.com may not use tag:x", "ada@example.com may not use tag:x."},
		{"a command keeps its letters", "`selvage` is not there", "`selvage` is not there."},
		{"other alphabets", "élan", "Élan."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Sentence(tt.in); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestOwnPath(t *testing.T) {
	for _, tt := range []struct {
		path string
		own  bool
	}{
		{"/", true},
		{"/register/c0de", true},
		{"/devices/7?x=1", true},
		{"", false},
		{"register", false},
		{"//evil.example", false},
		{`/\evil.example`, false},
		{"/\t/evil.example", false},
		{"https://evil.example/", false},
		{"/a b", false},
		{"/é", false},
	} {
		if got := ownPath(tt.path); got != tt.own {
			t.Errorf("ownPath(%q) = %v", tt.path, got)
		}
	}
}

// FuzzOwnPath checks that what counts as a path of this site leads to this site, as
// Go and as browsers read it.
func FuzzOwnPath(f *testing.F) {
	for _, s := range []string{"/", "//x", `/\x`, "/\n/x", "/register/a?b#c", "/%2f%2fevil"} {
		f.Add(s)
	}
	base, err := url.Parse("https://vpn.example.com/welcome/x")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !ownPath(s) {
			return
		}
		u, err := base.Parse(s)
		if err != nil {
			return // then it leads nowhere
		}
		if u.Host != base.Host || u.Scheme != base.Scheme {
			t.Errorf("%q leads to %v", s, u)
		}
		if len(s) > 1 && (s[1] == '/' || s[1] == '\\') {
			t.Errorf("browsers take %q for another host", s)
		}
	})
}
