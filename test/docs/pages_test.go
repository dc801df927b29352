package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// top is the folder of the repository, seen from here.
const top = "../.."

// page is a file of the documentation.
type page struct {
	path   string // from the top of the repository
	text   string
	blocks []block
	// anchors are what links to its headings end with.
	anchors map[string]bool
	links   []link
}

// block is what stands between two fences.
type block struct {
	lang, about string // the first word after the fence, and the others
	line        int    // of the first line in it
	text        string
}

// link leads from a page to somewhere.
type link struct {
	to   string
	line int
}

// pages returns all pages of the documentation.
func pages(t *testing.T) []*page {
	t.Helper()
	paths := []string{filepath.Join(top, "README.md"), filepath.Join(top, "CONTRIBUTING.md")}
	for _, pattern := range []string{"docs/*.md", "docs/adr/*.md"} {
		found, err := filepath.Glob(filepath.Join(top, pattern))
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, found...)
	}
	var all []*page
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			t.Fatal(err)
		}
		p, problem := parsePage(filepath.ToSlash(rel), string(text))
		if problem != "" {
			t.Errorf("%s: %s", rel, problem)
		}
		all = append(all, p)
	}
	return all
}

var (
	linkPattern    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headingPattern = regexp.MustCompile(`^#{1,6} +(.+)$`)
	codePattern    = regexp.MustCompile("`[^`]*`")
)

// parsePage reads as much of Markdown as the pages use. The second result says what is
// wrong with it, if anything is.
func parsePage(path, text string) (*page, string) {
	p := &page{path: path, text: text, anchors: map[string]bool{}}
	var open *block
	for i, line := range strings.Split(text, "\n") {
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && open != nil:
			p.blocks = append(p.blocks, *open)
			open = nil
		case isFence:
			lang, about, _ := strings.Cut(strings.TrimSpace(fence), " ")
			open = &block{lang: lang, about: about, line: i + 2}
		case open != nil:
			open.text += line + "\n"
		default:
			if m := headingPattern.FindStringSubmatch(line); m != nil {
				p.anchors[anchorOf(m[1])] = true
			}
			for _, m := range linkPattern.FindAllStringSubmatch(codePattern.ReplaceAllString(line, ""), -1) {
				p.links = append(p.links, link{m[1], i + 1})
			}
		}
	}
	if open != nil {
		return p, "a fenced block is not closed"
	}
	return p, ""
}

// anchorOf returns what a link to a heading ends with, in the way of common renderers.
func anchorOf(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_':
			b.WriteRune(r)
		case r == ' ':
			b.WriteByte('-')
		}
	}
	return b.String()
}

// TestLinks checks that each link between pages leads to a file and heading that exist,
// and that the index names each page.
func TestLinks(t *testing.T) {
	all := map[string]*page{}
	for _, p := range pages(t) {
		all[p.path] = p
	}
	linked := map[string]bool{}
	for _, p := range all {
		for _, l := range p.links {
			if strings.Contains(l.to, "://") {
				continue
			}
			file, anchor, _ := strings.Cut(l.to, "#")
			to := p.path
			if file != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(p.path), file))
			}
			if _, err := os.Stat(filepath.Join(top, to)); err != nil {
				t.Errorf("%s:%d: link to %s, which does not exist", p.path, l.line, l.to)
				continue
			}
			if p.path == "docs/README.md" {
				linked[to] = true
			}
			if target := all[to]; anchor != "" && (target == nil || !target.anchors[anchor]) {
				t.Errorf("%s:%d: link to %s, which has no such heading", p.path, l.line, l.to)
			}
		}
	}
	for path := range all {
		if dir := filepath.Dir(path); dir == "docs" && path != "docs/README.md" && !linked[path] {
			t.Errorf("docs/README.md does not name %s", path)
		}
	}
}
