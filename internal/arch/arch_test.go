// Package arch holds no code, only the tests that keep the rules of the house: which
// package may import which, how large files, functions and packages may get, and
// that each package says what it is for.
package arch

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// layers lists the packages from the bottom up. A package may import those of lower
// layers, never one of its own layer or above. A sub-package of an entry belongs to
// its parent: only the parent, the server and tests may import it; one with an entry of
// its own is a part like others, which may import its parent's.
var layers = [][]string{
	{"selvage"},
	{"selvage/internal/policy", "selvage/internal/authz", "selvage/internal/store", "selvage/internal/dns", "selvage/internal/config"},
	{"selvage/internal/journal", "selvage/internal/policy/review"},
	{"selvage/internal/netmap", "selvage/internal/identity", "selvage/internal/certs"},
	{"selvage/internal/control", "selvage/internal/relay", "selvage/internal/api/admin", "selvage/internal/console"},
	{"selvage/internal/server"},
	{"selvage/internal/demo"},
	{"selvage/cmd/selvage"},
}

// only says who alone may import a package of other people's. Sub-packages count as
// their parents. Each rule names a package that exists, or the test fails.
var only = map[string][]string{
	"database/sql":                  {"selvage/internal/store"},
	"modernc.org/sqlite":            {"selvage/internal/store"},
	"github.com/jackc/pgx/v5":       {"selvage/internal/store"},
	"tailscale.com/tailcfg":         {"selvage", "selvage/internal/policy", "selvage/internal/policy/review", "selvage/internal/store", "selvage/internal/netmap", "selvage/internal/control", "selvage/internal/relay", "selvage/internal/dns", "selvage/internal/api/admin", "selvage/internal/config", "selvage/internal/server", "selvage/internal/console", "selvage/cmd/selvage"},
	"tailscale.com/derp/derpserver": {"selvage/internal/relay"},
	"tailscale.com/tsnet":           {"selvage/internal/demo"},
}

// free are the packages that any test or program beside the product may use.
const free = "selvage/test"

// Limits of size, in lines. They hold for code, not for tests.
const (
	maxFile    = 800
	maxFunc    = 100
	maxPackage = 5000
	maxRoot    = 3000
)

type pkg struct {
	ImportPath, Dir, Name string
	GoFiles               []string
	TestGoFiles           []string
	XTestGoFiles          []string
	Imports               []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Name,GoFiles,TestGoFiles,XTestGoFiles,Imports", "selvage/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// layerOf returns the entry that a package belongs to, and its layer, or -1.
func layerOf(path string) (entry string, layer int) {
	layer = -1
	for i, l := range layers {
		for _, e := range l {
			if (path == e || e != "selvage" && strings.HasPrefix(path, e+"/")) && len(e) > len(entry) {
				entry, layer = e, i
			}
		}
	}
	return entry, layer
}

func skipped(p pkg) bool {
	return strings.HasPrefix(p.ImportPath, free) || p.ImportPath == "selvage/internal/arch" || strings.HasSuffix(p.ImportPath, "test") && p.ImportPath != "selvage/cmd/selvage"
}

func TestLayers(t *testing.T) {
	all := packages(t)
	for _, p := range all {
		if skipped(p) {
			continue
		}
		entry, layer := layerOf(p.ImportPath)
		if layer < 0 {
			t.Errorf("%s has no layer; put it into the list", p.ImportPath)
			continue
		}
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, "selvage") {
				continue
			}
			to, below := layerOf(imp)
			switch {
			case below < 0:
				t.Errorf("%s imports %s, which has no layer", p.ImportPath, imp)
			case to == entry:
			case below >= layer:
				t.Errorf("%s (layer %d) imports %s (layer %d); parts depend downward only", p.ImportPath, layer, imp, below)
			case imp != to && entry != "selvage/internal/server" && !strings.HasPrefix(entry, to+"/"):
				t.Errorf("%s imports %s, which belongs to %s", p.ImportPath, imp, to)
			}
		}
	}
	for _, l := range layers {
		for _, e := range l {
			if !slices.ContainsFunc(all, func(p pkg) bool { return p.ImportPath == e }) {
				t.Errorf("the list names %s, which does not exist", e)
			}
		}
	}
}

func TestWhoMayImportWhat(t *testing.T) {
	used := map[string]bool{}
	for _, p := range packages(t) {
		entry, _ := layerOf(p.ImportPath)
		for _, imp := range p.Imports {
			for name, allowed := range only {
				if imp != name && !strings.HasPrefix(imp, name+"/") {
					continue
				}
				used[name] = true
				if !skipped(p) && !slices.Contains(allowed, entry) {
					t.Errorf("%s imports %s, which only %s may", p.ImportPath, imp, strings.Join(allowed, ", "))
				}
			}
			if imp == "testing" && !skipped(p) {
				t.Errorf("%s imports testing outside tests", p.ImportPath)
			}
		}
	}
	for name := range only {
		if !used[name] {
			t.Errorf("there is a rule for %s, which nobody imports", name)
		}
	}
}

func TestSizesAndDocs(t *testing.T) {
	for _, p := range packages(t) {
		total, docs := 0, 0
		for _, name := range p.GoFiles {
			lines, doc := checkFile(t, filepath.Join(p.Dir, name))
			total += lines
			if doc {
				docs++
			}
		}
		limit := maxPackage
		if p.ImportPath == "selvage" {
			limit = maxRoot
		}
		if total > limit {
			t.Errorf("%s has %d lines, at most %d are allowed; split it by topic", p.ImportPath, total, limit)
		}
		if len(p.GoFiles) > 0 && docs != 1 {
			t.Errorf("%s has %d package comments, want exactly one", p.ImportPath, docs)
		}
	}
}

// checkFile checks one file and returns its lines and whether it has the package
// comment.
func checkFile(t *testing.T, path string) (lines int, doc bool) {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	lines = fset.Position(f.End()).Line
	if lines > maxFile {
		t.Errorf("%s has %d lines, at most %d are allowed", path, lines, maxFile)
	}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if n := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; n > maxFunc {
			t.Errorf("%s: %s has %d lines, at most %d are allowed", path, fn.Name.Name, n, maxFunc)
		}
	}
	return lines, f.Doc != nil && strings.HasPrefix(f.Doc.Text(), packageWord(f)+" ")
}

func packageWord(f *ast.File) string {
	if f.Name.Name == "main" {
		return "Command"
	}
	return "Package"
}

// TestForbiddenNames keeps out the names under which everything ends up.
func TestForbiddenNames(t *testing.T) {
	for _, p := range packages(t) {
		switch p.Name {
		case "util", "utils", "common", "helper", "helpers", "shared", "misc", "types", "models", "log", "http", "errors":
			t.Errorf("%s: a package must not be called %s", p.ImportPath, p.Name)
		}
	}
}
