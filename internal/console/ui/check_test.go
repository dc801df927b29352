package ui

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

type inner struct {
	Name string
	When Moment
}

type outer struct {
	Title string
	One   inner
	Ptr   *inner
	Many  []inner
	Map   map[string]inner
}

func (outer) Value() inner    { return inner{} }
func (*outer) Pointer() inner { return inner{} }

func TestTemplatesAreChecked(t *testing.T) {
	for _, tt := range []struct {
		name, content string
		wrong         string // empty: the template is right
	}{
		{"a field", `{{.Title}}`, ""},
		{"a misspelt field", `{{.Titel}}`, "Titel"},
		{"a field of a field", `{{.One.Name}}{{.Ptr.Name}}`, ""},
		{"a misspelt field of a field", `{{.One.Nmae}}`, "Nmae"},
		{"behind a pointer", `{{.Ptr.Nmae}}`, "Nmae"},
		{"in a branch that is not taken", `{{if false}}{{.Titel}}{{end}}`, "Titel"},
		{"in the other branch", `{{if true}}{{else}}{{.Titel}}{{end}}`, "Titel"},
		{"in a condition", `{{if and .Title .Titel}}{{end}}`, "Titel"},
		{"with changes the dot", `{{with .Ptr}}{{.Name}}{{end}}`, ""},
		{"the old dot inside with", `{{with .Ptr}}{{.Title}}{{end}}`, "Title"},
		{"the old dot after else", `{{with .Ptr}}{{else}}{{.Title}}{{end}}`, ""},
		{"range changes the dot", `{{range .Many}}{{.Name}}{{end}}`, ""},
		{"a misspelt field in range", `{{range .Many}}{{.Nmae}}{{end}}`, "Nmae"},
		{"range over a map", `{{range .Map}}{{.Nmae}}{{end}}`, "Nmae"},
		{"the root inside range", `{{range .Many}}{{$.Title}}{{end}}`, ""},
		{"a misspelt field of the root", `{{range .Many}}{{$.Titel}}{{end}}`, "Titel"},
		{"a variable", `{{$x := .One}}{{$x.Name}}`, ""},
		{"a misspelt field of a variable", `{{$x := .One}}{{$x.Nmae}}`, "Nmae"},
		{"a variable of range", `{{range $i, $x := .Many}}{{$x.Nmae}}{{end}}`, "Nmae"},
		{"a method", `{{.Value.Name}}`, ""},
		{"a misspelt field of what a method returns", `{{.Value.Nmae}}`, "Nmae"},
		{"a method of the pointer", `{{.Pointer.Name}}`, "Pointer"},
		{"an argument", `{{plural .Cuont "a" "b"}}`, "Cuont"},
		{"in brackets", `{{(.One).Nmae}}`, "Nmae"},
		{"a template with the right data", `{{template "when" .One.When}}`, ""},
		{"a template with the wrong data", `{{template "when" .One}}`, "Machine"},
		{"a template without data", `{{template "icon-copy"}}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := compile[outer](fstest.MapFS{"page.tmpl": {Data: []byte(`{{define "content"}}` + tt.content + `{{end}}`)}})
			switch {
			case tt.wrong == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.wrong != "" && err == nil:
				t.Error("the mistake was not found")
			case err != nil && !strings.Contains(err.Error(), tt.wrong):
				t.Errorf("error %q does not name %s", err, tt.wrong)
			}
		})
	}
}

func TestPageWithoutContent(t *testing.T) {
	if _, err := compile[outer](fstest.MapFS{"page.tmpl": {Data: []byte(`nothing`)}}); err == nil {
		t.Error("a page that defines no content was taken")
	}
}

func TestComponentsKeepTextText(t *testing.T) {
	type data struct {
		Banner Banner
		Badge  Badge
		Field  Field
		Status Status
		Text   string
		At     Moment
	}
	p := Must[data](fstest.MapFS{"page.tmpl": {Data: []byte(`{{define "content"}}{{template "banner" .Banner}}{{template "badge" .Badge}}{{template "field" .Field}}` +
		`{{template "dot" .Status}}{{template "command" .Text}}{{template "value" .Text}}{{template "prose" .Text}}{{template "when" .At}}{{template "glyph" .Text}}{{end}}`)}})
	const hostile = `"><script>alert('1')</script><img src=x onerror=alert(1)>`
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var b strings.Builder
	err := p.Render(&b, Frame{Title: hostile, Person: &Person{Name: hostile, Login: hostile, Tailnet: hostile}, Wide: true, Version: hostile}, data{
		Banner: Banner{Tone: ToneWarn, Title: hostile, Text: hostile}, Badge: Badge{Text: hostile, Tone: ToneOK, Title: hostile},
		Field:  Field{Name: "f", Label: hostile, Value: hostile, Error: hostile, Placeholder: hostile, Autocomplete: "off", MaxLength: 9},
		Status: Status{Text: hostile}, Text: hostile, At: Moment{now, now},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<script>alert", "<img", `"><script`} {
		if i := strings.Index(b.String(), bad); i >= 0 {
			t.Errorf("the page has %s at ...%s", bad, b.String()[max(0, i-60):i+20])
		}
	}
}
