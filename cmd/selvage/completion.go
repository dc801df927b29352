package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"selvage"
	"selvage/internal/api/admin"
	"selvage/internal/journal"
)

// completion returns what a word could be.
type completion func(ctx context.Context, sh *shell) []string

const (
	// fileMark tells the shell to complete names of files.
	fileMark = ":files"
	// completeTimeout bounds the wait for a server while somebody types.
	completeTimeout = 2 * time.Second
)

func completeNothing(context.Context, *shell) []string { return nil }

func completeFile(context.Context, *shell) []string { return []string{fileMark} }

func completeAction(context.Context, *shell) []string { return journal.Actions() }

func completeRole(context.Context, *shell) []string {
	var names []string
	for _, r := range selvage.Roles() {
		names = append(names, string(r))
	}
	return names
}

// live returns a completion with what the server lists; without a server it has none.
func live[T any](path string, names func(T) []string) completion {
	return func(ctx context.Context, sh *shell) []string {
		ctx, cancel := context.WithTimeout(ctx, completeTimeout)
		defer cancel()
		list, err := get[[]T](ctx, sh, path, nil)
		if err != nil {
			return nil
		}
		var all []string
		for _, v := range list {
			all = append(all, names(v)...)
		}
		return all
	}
}

func completeNode(ctx context.Context, sh *shell) []string {
	return live("/nodes", func(n admin.Node) []string { return []string{n.Name} })(ctx, sh)
}

func completeUser(ctx context.Context, sh *shell) []string {
	return live("/users", func(u admin.User) []string { return []string{u.Login} })(ctx, sh)
}

func completeTag(ctx context.Context, sh *shell) []string {
	return live("/nodes", func(n admin.Node) []string { return n.Tags })(ctx, sh)
}

func completeKey(ctx context.Context, sh *shell) []string {
	return live("/keys", func(k admin.Key) []string {
		if !k.Usable {
			return nil
		}
		return []string{string(k.ID)}
	})(ctx, sh)
}

func completeRoute(ctx context.Context, sh *shell) []string {
	return live("/routes", func(r admin.Route) []string { return []string{r.Route.String()} })(ctx, sh)
}

func completeRelay(ctx context.Context, sh *shell) []string {
	return live("/relays", func(r admin.Relay) []string { return []string{r.Name} })(ctx, sh)
}

func completeTailnet(ctx context.Context, sh *shell) []string {
	return live("/tailnets", func(t admin.Tailnet) []string { return []string{t.Name} })(ctx, sh)
}

// completeCommand is what the scripts call with the words of the line so far.
func completeCommand() *command {
	return &command{
		name: "__complete", args: "-- WORD...", short: "Print what the last word could be, for shells.", most: -1,
		examples: []string{"__complete -- no", "__complete -- node show ''"},
		hidden:   true,
		setup: func(*flag.FlagSet) runFunc {
			return func(ctx context.Context, sh *shell, words []string) error {
				for _, c := range complete(ctx, sh, words) {
					fmt.Fprintln(sh.out, printable(c))
				}
				return nil
			}
		},
	}
}

// complete returns what the last of the words could be.
func complete(ctx context.Context, sh *shell, words []string) []string {
	if len(words) == 0 {
		words = []string{""}
	}
	last := words[len(words)-1]
	p := place{cmd: root()}
	for _, w := range words[:len(words)-1] {
		p.take(sh, w)
	}
	found := map[string]bool{}
	for _, c := range p.candidates(ctx, sh, last) {
		if strings.HasPrefix(c, last) || c == fileMark {
			found[c] = true
		}
	}
	var list []string
	for c := range found {
		list = append(list, c)
	}
	slices.Sort(list)
	return list
}

// place is where in the tree a line has come to.
type place struct {
	cmd  *command
	args int    // arguments so far
	flag string // whose value comes next; "" if none does
	rest bool   // after "--": no more flags
}

// flags returns the flags that may stand at the place.
func (p *place) flags() *flag.FlagSet {
	fs := newFlagSet(p.cmd.name)
	if p.cmd.setup != nil {
		p.cmd.setup(fs)
	}
	new(globals).add(fs, p.cmd.own && len(p.cmd.sub) == 0)
	return fs
}

// take goes on by one word.
func (p *place) take(sh *shell, word string) {
	switch {
	case p.flag != "":
		p.global(sh, p.flag, word)
		p.flag = ""
	case p.rest:
		p.args++
	case word == "--":
		p.rest = true
	case strings.HasPrefix(word, "-") && word != "-":
		name, value, given := strings.Cut(strings.TrimLeft(word, "-"), "=")
		f := p.flags().Lookup(name)
		if given {
			p.global(sh, name, value)
		} else if f != nil && !isSwitch(f) {
			p.flag = name
		}
	default:
		if next := p.cmd.find(word); next != nil && p.args == 0 {
			p.cmd = next
			return
		}
		p.args++
	}
}

func isSwitch(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// global takes in flags that say where the server is.
func (p *place) global(sh *shell, name, value string) {
	switch name {
	case "data-dir":
		sh.global.dataDir = value
	case "socket":
		sh.global.socket = value
	case "tailnet":
		sh.global.tailnet = value
	}
}

// candidates returns what could stand at the place, whether or not it begins with last.
func (p *place) candidates(ctx context.Context, sh *shell, last string) []string {
	if p.flag != "" {
		return p.value(ctx, sh, p.flag)
	}
	if strings.HasPrefix(last, "-") && !p.rest {
		if name, _, given := strings.Cut(last, "="); given {
			var list []string
			for _, v := range p.value(ctx, sh, strings.TrimLeft(name, "-")) {
				list = append(list, name+"="+v)
			}
			return list
		}
		var list []string
		p.flags().VisitAll(func(f *flag.Flag) { list = append(list, "--"+f.Name) })
		return append(list, "--help")
	}
	var list []string
	if p.args == 0 {
		for _, c := range p.cmd.sub {
			if !c.hidden {
				list = append(list, c.name)
			}
		}
	}
	if kinds := p.cmd.complete; len(kinds) > 0 && (p.cmd.most < 0 || p.args < p.cmd.most) {
		list = append(list, kinds[min(p.args, len(kinds)-1)](ctx, sh)...)
	}
	return list
}

// value returns what the value of a flag could be.
func (p *place) value(ctx context.Context, sh *shell, name string) []string {
	if c := p.cmd.values[name]; c != nil {
		return c(ctx, sh)
	}
	if name == "tailnet" {
		return completeTailnet(ctx, sh)
	}
	f := p.flags().Lookup(name)
	if f == nil {
		return nil
	}
	switch kind, _ := flag.UnquoteUsage(f); kind {
	case "file", "folder", "path":
		return []string{fileMark}
	}
	return nil
}

func completionCommand() *command {
	script := func(name, text string, examples ...string) *command {
		return &command{
			name: name, short: "Print the script for " + name + ".", examples: examples, own: true,
			setup: func(*flag.FlagSet) runFunc {
				return func(_ context.Context, sh *shell, _ []string) error {
					_, err := io.WriteString(sh.out, text)
					return err
				}
			},
		}
	}
	return &command{
		name: "completion", short: "Print a script that makes a shell complete commands, flags, devices and users.",
		sub: []*command{
			script("bash", bashScript, "completion bash > /etc/bash_completion.d/selvage", "completion bash > ~/.local/share/bash-completion/completions/selvage"),
			script("zsh", zshScript, "completion zsh > /usr/local/share/zsh/site-functions/_selvage", `completion zsh > "${fpath[1]}/_selvage"`),
			script("fish", fishScript, "completion fish > ~/.config/fish/completions/selvage.fish", "completion fish > /etc/fish/completions/selvage.fish"),
		},
	}
}

// bashScript cuts the line at blanks itself: bash cuts words at colons, too, which tags
// have, and wants only what comes after the last one.
const bashScript = `# bash completion for selvage
_selvage() {
	local line=${COMP_LINE:0:COMP_POINT} word current cut
	local -a words
	read -ra words <<<"$line"
	[[ $line == *[[:space:]] ]] && words+=("")
	word=${words[${#words[@]}-1]}
	current=${COMP_WORDS[COMP_CWORD]:0:${#word}}
	case $current in
	: | =) cut=$word ;;
	*) cut=${word%"$current"} ;;
	esac
	local IFS=$'\n'
	local -a found=($(selvage __complete -- "${words[@]:1}" 2>/dev/null))
	if [[ ${found[0]} == :files ]]; then
		compopt -o filenames 2>/dev/null
		COMPREPLY=($(compgen -f -- "$word"))
	else
		COMPREPLY=("${found[@]#"$cut"}")
	fi
}
complete -F _selvage selvage
`

const zshScript = `#compdef selvage
_selvage() {
	local -a found
	found=("${(@f)$(selvage __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	if [[ ${found[1]} == :files ]]; then
		_files
	else
		compadd -a found
	fi
}
if [[ ${funcstack[1]} == _selvage ]]; then
	_selvage "$@"
else
	compdef _selvage selvage
fi
`

const fishScript = `# fish completion for selvage
function __selvage_complete
	set -l words (commandline -opc) (commandline -ct)
	set -l found (selvage __complete -- $words[2..-1] 2>/dev/null)
	if test "$found[1]" = :files
		__fish_complete_path (commandline -ct)
	else
		printf '%s\n' $found
	end
end
complete -c selvage -f -a '(__selvage_complete)'
`
