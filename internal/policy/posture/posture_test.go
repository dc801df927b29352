package posture

import (
	"strings"
	"testing"
)

func TestHolds(t *testing.T) {
	attrs := Attrs{
		"node:os": "linux", "node:tsVersion": "1.84.1-tabcdef", "node:osVersion": "6.1", "node:tsAutoUpdate": true,
		"custom:tier": "gold", "custom:score": 7.5, "custom:odd": []string{"x"},
	}
	for _, tt := range []struct {
		cond string
		want bool
	}{
		{"node:os == 'linux'", true},
		{`node:os=="linux"`, true},
		{"node:os == 'macos'", false},
		{"node:os != 'macos'", true},
		{"node:os IN ['macos', 'linux']", true},
		{"node:os in ['macos']", false},
		{"node:os NOT IN ['macos']", true},
		{"node:os NOT IN ['macos','linux']", false},
		{"node:tsVersion >= '1.84'", true},
		{"node:tsVersion >= '1.9'", true},
		{"node:tsVersion > '1.84.1'", false},
		{"node:tsVersion < '1.100'", true},
		{"node:tsVersion == '1.84.1.0'", true},
		{"node:tsVersion <= '1.84'", false},
		{"node:osVersion != '6.1.0'", false},
		{"node:tsAutoUpdate == true", true},
		{"node:tsAutoUpdate != true", false},
		{"custom:score > 7", true},
		{"custom:score <= 7.5", true},
		{"custom:score IN [1, 7.5]", true},
		{"custom:tier IS SET", true},
		{"custom:none IS SET", false},
		{"custom:none NOT SET", true},
		{"custom:none IS NOT SET", true},
		{"custom:tier NOT SET", false},
		{"custom:none != 'x'", false},
		{"custom:none NOT IN ['x']", false},
		{"custom:score == '7.5'", false},
		{"custom:score != '7.5'", false},
		{"custom:tier > '1.0'", false},
		{"custom:odd != 'x'", false},
		{"custom:odd IS SET", true},
	} {
		t.Run(tt.cond, func(t *testing.T) {
			c, err := Parse(tt.cond)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Holds(attrs); got != tt.want {
				t.Errorf("got %v", got)
			}
			if c.Holds(nil) {
				t.Error("holds for a device of which nothing is known")
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "not the name of an attribute"},
		{"os == 'linux'", "not the name of an attribute"},
		{"node: == 'linux'", "not the name of an attribute"},
		{"node:os", "after the attribute comes"},
		{"node:os = 'linux'", "after the attribute comes"},
		{"node:os LIKE 'linux'", `not "LIKE"`},
		{"node:os == linux", "not a value"},
		{"node:os == 'linux", "not closed"},
		{"node:os == 'linux' && node:os == 'x'", "left over"},
		{"node:os IN 'linux'", "want a list"},
		{"node:os IN ['linux'", "want a comma"},
		{"node:os IN []", "not a value"},
		{"node:tsVersion >= 1.40", "is a version"},
		{"node:tsVersion >= 'new'", "not a version"},
		{"node:tsAutoUpdate > true", "no order"},
		{"node:os IN [" + strings.Repeat("'a',", maxValues) + "'a']", "more than"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			if _, err := Parse(tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// FuzzParse checks that what parses is written back as the same condition.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"node:os == 'linux'", "node:tsVersion >= '1.40'", "custom:a NOT IN [1, true, \"x\"]", "a:b IS SET", "a:b<-1e3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Parse(s)
		if err != nil {
			return
		}
		if strings.Contains(s, `"`) { // a text in such quotes may hold the other kind
			return
		}
		again, err := Parse(c.String())
		if err != nil || again.String() != c.String() {
			t.Fatalf("%q is %q, and that is %q (%v)", s, c, again, err)
		}
		for _, attrs := range []Attrs{nil, {}, {c.Attr(): "1.2"}, {c.Attr(): true}, {c.Attr(): 2.0}} {
			if c.Holds(attrs) != again.Holds(attrs) {
				t.Fatalf("%q and %q differ for %v", s, again, attrs)
			}
		}
	})
}
