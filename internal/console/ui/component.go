package ui

// Tone is what a colour says; it never says it alone, there is always a word.
type Tone string

// The tones. They are classes of the style sheet.
const (
	ToneNone   Tone = "plain"
	ToneOK     Tone = "ok"
	ToneWarn   Tone = "warn"
	ToneDanger Tone = "danger"
	ToneInfo   Tone = "info"
)

// Badge is a short word about a thing; the template "badge".
type Badge struct {
	Text string
	Tone Tone
	// Title explains the word when asked; it may be empty.
	Title string
}

// Status is a dot with a word; the template "dot".
type Status struct {
	Text string
	Tone Tone
}

// Banner is what a reader must not miss; the template "banner".
type Banner struct {
	Tone  Tone
	Title string
	Text  string
}

// Field is a line of text to fill in; the template "field".
type Field struct {
	Name, Label, Value string
	// Hint is below the field; Error takes its place.
	Hint, Error  string
	Placeholder  string
	Autocomplete string // as HTML names it; "off" for none
	MaxLength    int    // characters
	Required     bool
}
