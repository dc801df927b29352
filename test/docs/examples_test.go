package docs

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"selvage/internal/config"
	"selvage/internal/policy"
	"selvage/internal/relay"
)

// languages are the first words of fenced blocks, with what checks the block.
var languages = map[string]func(b block) error{
	"sh":      nil, // commands_test.go
	"console": nil,
	"":        func(block) error { return nil }, // a drawing
	"go":      func(block) error { return nil }, // a part of a program
	"ini":     func(block) error { return nil }, // a part of a unit
	"nginx":   func(block) error { return nil }, // there is no nginx here to ask
	"jsonc":   checkPolicy,
	"yaml":    checkYAML,
}

func checkPolicy(b block) error {
	p, err := policy.Parse(b.text)
	if err != nil {
		return err
	}
	if w := p.Warnings(); len(w) > 0 {
		return fmt.Errorf("line %d of the policy: %s", w[0].Line, w[0].Msg)
	}
	return nil
}

func checkYAML(b block) error {
	switch b.about {
	case "":
		return config.Check([]byte(b.text), "configuration")
	case "relays":
		_, err := relay.ParseMap([]byte(b.text), true)
		return err
	case "prometheus": // somebody else's language
		return yaml.Unmarshal([]byte(b.text), new(map[string]any))
	}
	return fmt.Errorf("%q is no kind of YAML that this test knows", b.about)
}

// TestExamples checks every example that is not a command.
func TestExamples(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			seen[b.lang] = true
			check, ok := languages[b.lang]
			if !ok {
				t.Errorf("%s:%d: a block in the language %q, which this test does not know", p.path, b.line, b.lang)
				continue
			}
			if check == nil {
				continue
			}
			if err := check(b); err != nil {
				t.Errorf("%s:%d: %v", p.path, b.line, err)
			}
		}
	}
	for lang := range languages {
		if !seen[lang] {
			t.Errorf("no page has a block in the language %q", lang)
		}
	}
}

// named are commands and settings that pages name within a sentence.
var named = regexp.MustCompile("`selvage ([a-z][a-z ]*[a-z])[^`]*`")

// TestNamedCommands checks that commands which are named within sentences exist.
func TestNamedCommands(t *testing.T) {
	exist := commandNames(t)
	for _, p := range pages(t) {
		for i, line := range strings.Split(p.text, "\n") {
			for _, m := range named.FindAllStringSubmatch(line, -1) {
				if !isCommand(exist, strings.Fields(m[1])) {
					t.Errorf("%s:%d: there is no command %q", p.path, i+1, "selvage "+m[1])
				}
			}
		}
	}
}

// isCommand reports whether the words begin with the name of a command that is no group.
func isCommand(exist []string, words []string) bool {
	for n := range words {
		if slices.Contains(exist, strings.Join(words[:n+1], " ")) {
			return true
		}
	}
	return false
}
