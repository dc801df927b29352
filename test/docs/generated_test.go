package docs

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"selvage/internal/config"
)

var update = flag.Bool("update", false, "write the pages that are made from the program")

// generated compares a page with what it should be, or writes it.
func generated(t *testing.T, name, want string) {
	t.Helper()
	path := filepath.Join(top, "docs", name)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("docs/%s is stale; write it with `go test ./test/docs -run %s -update`: (-the program +the page)\n%s", name, t.Name(), diff)
	}
}

const configurationHead = "# Configuration\n\n" +
	"Nothing has to be configured: `selvage serve` alone works. Each setting can be given in three places, and the first of these that has it wins:\n\n" +
	"1. a flag of `selvage serve`,\n" +
	"2. a variable of the environment,\n" +
	"3. the configuration file: the one that `--config` or `SELVAGE_CONFIG` names, else `selvage.yaml` in the data folder, else `/etc/selvage/selvage.yaml`.\n\n" +
	"A name that is not known is an error, with the line and the nearest name that is. `selvage config` shows what would be in force here and where it comes from, `selvage config check FILE` checks a file, " +
	"`selvage config running` asks the running server.\n\n" +
	"What can change while the server runs (policy, DNS, settings of a tailnet) is not here but in commands: [policy](policy.md), [names](dns.md), `selvage settings`.\n\n" +
	"## Every setting, with its default\n\n"

const configurationMiddle = "\n## Names\n\n" +
	"Lists are separated by commas in flags and variables; a flag for a list may be repeated.\n\n" +
	"| file | variable | flag |\n|---|---|---|\n"

const configurationTail = "\n## Variables that are no settings\n\n" +
	"| variable | |\n|---|---|\n" +
	"| `SELVAGE_CONFIG` | the configuration file |\n" +
	"| `SELVAGE_TOKEN` | an [API token](keys.md#api-tokens): commands then speak to `SELVAGE_URL` over the network |\n" +
	"| `SELVAGE_TAILNET` | the tailnet that commands are about |\n" +
	"| `SELVAGE_RELAY_TOKEN` | the token of `selvage relay run` |\n" +
	"| `STATE_DIRECTORY` | the data folder, if systemd sets it |\n"

// TestConfigurationPage checks the page of settings.
func TestConfigurationPage(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.yaml")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := config.Load(config.Source{Environ: []string{"SELVAGE_CONFIG=" + empty, "SELVAGE_DATA_DIR=/var/lib/selvage"}})
	if err != nil {
		t.Fatal(err)
	}
	var yaml strings.Builder
	if err := loaded.WriteYAML(&yaml); err != nil {
		t.Fatal(err)
	}
	_, settings, _ := strings.Cut(yaml.String(), "\n") // the first line names the file
	settings = strings.ReplaceAll(settings, " # from SELVAGE_DATA_DIR", "")
	text := configurationHead + "```yaml\n" + strings.TrimSpace(settings) + "\n```\n" + configurationMiddle
	for _, key := range config.Keys() {
		text += fmt.Sprintf("| `%s` | `%s` | `--%s` |\n", key, config.Variable(key), config.Flag(key))
	}
	generated(t, "configuration.md", text+configurationTail)
}

// below is the line of the page of commands after which all is made from the program.
const below = "<!-- What follows is made from the program: go test ./test/docs -run TestCommandPage -update -->\n"

// helpOf returns the help of a command, in full.
func helpOf(t *testing.T, words ...string) string {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, append(slices.Clone(words), "-h")...)
	cmd.Env = []string{"HOME=/nowhere"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("selvage %s -h: %v\n%s", strings.Join(words, " "), err, out)
	}
	return string(out)
}

var subcommand = regexp.MustCompile(`(?m)^  ([a-z][a-z-]*)  `)

// subcommands returns the names below "Commands:" in a help text.
func subcommands(help string) []string {
	_, rest, ok := strings.Cut(help, "\nCommands:\n")
	if !ok {
		return nil
	}
	list, _, _ := strings.Cut(rest, "\n\n")
	var names []string
	for _, m := range subcommand.FindAllStringSubmatch(list, -1) {
		names = append(names, m[1])
	}
	return names
}

// walk calls f for each command, groups before what is in them.
func walk(t *testing.T, words []string, f func(words []string, help string)) {
	t.Helper()
	help := helpOf(t, words...)
	f(words, help)
	for _, name := range subcommands(help) {
		walk(t, append(slices.Clone(words), name), f)
	}
}

// commandNames returns the names of all commands, without "selvage ".
func commandNames(t *testing.T) []string {
	t.Helper()
	var names []string
	walk(t, nil, func(words []string, _ string) { names = append(names, strings.Join(words, " ")) })
	return names
}

var globalFlags = regexp.MustCompile(`(?s)\nGlobal flags:\n(.*?)(\n\n|\z)`)

// TestCommandPage checks the page of commands.
func TestCommandPage(t *testing.T) {
	head, _, ok := strings.Cut(read(t, "cli.md"), below)
	if !ok {
		t.Fatalf("docs/cli.md has no line %q", below)
	}
	var text strings.Builder
	text.WriteString(head + below + "\n## Commands\n\nThese flags are common to the commands that speak to a server:\n\n```\n")
	walk(t, nil, func(words []string, help string) {
		if len(words) == 0 {
			text.WriteString(globalFlags.FindStringSubmatch(help)[1] + "\n```\n")
			return
		}
		fmt.Fprintf(&text, "\n%s %s\n\n", strings.Repeat("#", len(words)+2), "selvage "+strings.Join(words, " "))
		help = globalFlags.ReplaceAllString(help+"\n", "\n")
		help = regexp.MustCompile("\n`selvage [^\n]* says more about a command.\n").ReplaceAllString(help, "\n")
		help = regexp.MustCompile("\n{3,}").ReplaceAllString(help, "\n\n")
		text.WriteString("```\n" + strings.TrimSpace(help) + "\n```\n")
	})
	generated(t, "cli.md", text.String())
}
