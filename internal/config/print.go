package config

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/netip"
	"net/url"
	"strings"

	"go.yaml.in/yaml/v3"
)

// source is config.go. Its comments are what operators read, so that each is written
// once, next to what it is about.
//
//go:embed config.go
var source string

// docs returns the comment on each field of the structs in config.go, as one line,
// under "Config.DataDir".
func docs() map[string]string {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		panic("config: " + err.Error()) // it was compiled
	}
	texts := map[string]string{}
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range gen.Specs {
			typ, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			str, ok := typ.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, f := range str.Fields.List {
				texts[typ.Name.Name+"."+f.Names[0].Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
			}
		}
	}
	return texts
}

// Redacted returns a copy of the configuration that may be shown.
func (c Config) Redacted() Config {
	const hidden = "(hidden)"
	if c.MasterKey != "" {
		c.MasterKey = hidden
	}
	u, err := url.Parse(c.Database)
	if err != nil {
		c.Database = hidden
		return c
	}
	if _, has := u.User.Password(); has {
		u.User = url.UserPassword(u.User.Username(), "hidden")
		c.Database = u.String()
	}
	if u.RawQuery != "" && strings.HasPrefix(u.Scheme, "postgres") {
		u.RawQuery = redactedQuery(u.RawQuery)
		c.Database = u.String()
	}
	return c
}

// redactedQuery hides all parameters but those that are known to be no secrets: a
// driver has many, and passphrases of keys are among them.
func redactedQuery(raw string) string {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return "hidden"
	}
	for name := range query {
		switch name {
		case "host", "port", "user", "dbname", "sslmode", "sslrootcert", "application_name", "connect_timeout", "search_path",
			"pool_max_conns", "pool_min_conns", "pool_min_idle_conns":
		default:
			query[name] = []string{"hidden"}
		}
	}
	return query.Encode()
}

// Values returns the settings that may be shown, by section and name, for JSON.
func (c Config) Values() map[string]any {
	c = c.Redacted()
	values := map[string]any{}
	for _, f := range fields(&c) {
		section, name, ok := strings.Cut(f.key, ".")
		in := values
		if ok {
			if values[section] == nil {
				values[section] = map[string]any{}
			}
			in = values[section].(map[string]any)
		} else {
			name = section
		}
		in[name] = f.shown()
	}
	return values
}

// shown returns the value for printing; lists are never null.
func (f field) shown() any {
	switch v := f.value.Interface().(type) {
	case []string:
		return append([]string{}, v...)
	case []netip.Prefix:
		texts := []string{}
		for _, p := range v {
			texts = append(texts, p.String())
		}
		return texts
	default:
		return v
	}
}

// WriteJSON writes the settings that may be shown.
func (l *Loaded) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(l.Values())
}

// commentWidth is where comments are wrapped, in characters.
const commentWidth = 84

// WriteYAML writes the settings that may be shown as a file that could be read again
// (but for what is hidden), each with its comment and where it was set.
func (l *Loaded) WriteYAML(w io.Writer) error {
	texts := docs()
	var b strings.Builder
	if l.File == "" {
		b.WriteString("# No configuration file was read.\n")
	} else {
		fmt.Fprintf(&b, "# Read from %s.\n", l.File)
	}
	shown := l.Redacted()
	section := ""
	for _, f := range fields(&shown) {
		prefix, name, ok := strings.Cut(f.key, ".")
		indent := ""
		if ok {
			indent = "  "
			if prefix != section {
				section = prefix
				fmt.Fprintf(&b, "\n%s%s:\n", comment("", texts["Config."+f.owner]), section)
			} else {
				b.WriteString("\n")
			}
		} else {
			name = f.key
			b.WriteString("\n")
		}
		value, err := inline(f.shown())
		if err != nil {
			return fmt.Errorf("print %s: %w", f.key, err)
		}
		b.WriteString(comment(indent, texts[f.owner+"."+f.name]))
		fmt.Fprintf(&b, "%s%s: %s%s\n", indent, name, value, origin(l.Origins[f.key], l.File))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func origin(from, file string) string {
	if from == "" || from == file {
		return ""
	}
	return " # from " + from
}

// inline writes a value on one line of YAML.
func inline(v any) (string, error) {
	var n yaml.Node
	if err := n.Encode(v); err != nil {
		return "", err
	}
	n.Style |= yaml.FlowStyle
	out, err := yaml.Marshal(&n)
	return strings.TrimSpace(string(out)), err
}

// comment wraps a text into lines of comment.
func comment(indent, text string) string {
	var b strings.Builder
	line := indent + "#"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > commentWidth {
			b.WriteString(line + "\n")
			line = indent + "#"
		}
		line += " " + word
	}
	if line != indent+"#" {
		b.WriteString(line + "\n")
	}
	return b.String()
}
