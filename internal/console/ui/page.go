package ui

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"reflect"
	"strings"
)

//go:embed *.tmpl
var templates embed.FS

// Page is a kind of page: a template named "content" for data of type D, in the
// layout. It is immutable and safe for concurrent use.
type Page[D any] struct {
	tmpl *template.Template
}

// Section is a place in the navigation.
type Section string

// The sections of the navigation.
const (
	SectionNone    Section = ""
	SectionDevices Section = "devices"
	SectionAdd     Section = "add"
)

// Frame is what the layout needs beside the page itself.
type Frame struct {
	// Title is the document's title, before the product's name.
	Title   string
	Section Section
	// Person is who is signed in; nil for nobody.
	Person *Person
	// Reload makes the browser load another address after some seconds; nil for no.
	Reload *Reload
	// Wide pages have the navigation and all the width; others are one column that
	// asks one thing.
	Wide bool
	// Version is the server's, for the foot of the page.
	Version string
}

// Person is who is signed in, as the layout shows it.
type Person struct {
	Name    string
	Login   string
	Tailnet string
}

// Initial is the letter that stands for the person.
func (p *Person) Initial() string {
	for _, r := range p.Name {
		return string(r)
	}
	return "?"
}

// Reload is when and where a page loads anew by itself.
type Reload struct {
	Seconds int
	Path    string
}

// whole is what the layout is given.
type whole struct {
	Frame
	Content any
}

// Must parses the template of a page: the file page.tmpl in files, which defines
// "content". It panics when the template is wrong or does not fit the type D, which
// is a mistake of a programmer and no state of the world.
func Must[D any](files fs.FS) *Page[D] {
	p, err := compile[D](files)
	if err != nil {
		panic(err)
	}
	return p
}

func compile[D any](files fs.FS) (*Page[D], error) {
	t := template.New("layout").Funcs(funcs()).Option("missingkey=error")
	t, err := t.ParseFS(templates, "*.tmpl")
	if err != nil {
		return nil, fmt.Errorf("parse the layout: %w", err)
	}
	if t, err = t.ParseFS(files, "page.tmpl"); err != nil {
		return nil, fmt.Errorf("parse page: %w", err)
	}
	c := newChecker(t)
	if err := c.check("layout", reflect.TypeFor[whole]()); err != nil {
		return nil, err
	}
	if err := c.check("content", reflect.TypeFor[D]()); err != nil {
		return nil, err
	}
	return &Page[D]{t}, nil
}

// Render writes the page. Nothing is written unless all of it could be made.
func (p *Page[D]) Render(w io.Writer, f Frame, data D) error {
	var buf bytes.Buffer
	if err := p.tmpl.ExecuteTemplate(&buf, "layout", whole{f, data}); err != nil {
		return fmt.Errorf("render page %q: %w", f.Title, err)
	}
	_, err := buf.WriteTo(w)
	return err
}

func funcs() template.FuncMap {
	return template.FuncMap{
		"asset":  AssetPath,
		"parts":  parts,
		"plural": Plural,
		"prose":  prose,
		"words":  strings.Fields,
	}
}
