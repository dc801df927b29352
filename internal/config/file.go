package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"selvage"
)

// maxFile is the size of a configuration that is read, in bytes.
const maxFile = 1 << 20

// readFile returns the text of a configuration file.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, selvage.Errorf(selvage.KindInvalid, "%s has more than %d bytes: that is no configuration", name, maxFile)
	}
	return text, nil
}

// Check returns what is wrong with the text of a configuration file, if anything is.
// name is for the message. Files that the configuration names are not looked at.
func Check(text []byte, name string) error {
	c := Default("")
	if err := c.parse(text, name, func(string) {}); err != nil {
		return err
	}
	c.resolve()
	return c.check()
}

// parse takes settings from the text of a file and calls found with each one's key.
func (c *Config) parse(text []byte, name string, found func(key string)) error {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil // empty, or nothing but comments
	} else if err != nil {
		return selvage.Errorf(selvage.KindInvalid, "%s: %s", name, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return selvage.Errorf(selvage.KindInvalid, "%s: there is a second document after ---; want one", name)
	}
	p := reader{name: name, fields: map[string]field{}, sections: map[string][]string{}, found: found}
	for _, f := range fields(c) {
		p.fields[f.key] = f
		section, base := "", f.key
		if i := strings.LastIndexByte(f.key, '.'); i >= 0 {
			section, base = f.key[:i], f.key[i+1:]
			if p.sections[section] == nil {
				p.sections[""] = append(p.sections[""], section)
			}
		}
		p.sections[section] = append(p.sections[section], base)
	}
	if len(doc.Content) != 1 || isNull(doc.Content[0]) {
		return nil
	}
	return p.section(doc.Content[0], "")
}

// reader walks through a file.
type reader struct {
	name     string
	fields   map[string]field
	sections map[string][]string // the names in each section; "" is the whole
	found    func(key string)
}

func (p *reader) errorf(n *yaml.Node, format string, args ...any) error {
	return selvage.Errorf(selvage.KindInvalid, "%s:%d: %s", p.name, n.Line, fmt.Sprintf(format, args...))
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// section takes the settings of a section.
func (p *reader) section(n *yaml.Node, section string) error {
	if n.Kind != yaml.MappingNode {
		place := "the file"
		if section != "" {
			place = section
		}
		return p.errorf(n, "%s should be made of lines NAME: VALUE", place)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		key := k.Value
		if section != "" {
			key = section + "." + key
		}
		if k.Kind != yaml.ScalarNode {
			return p.errorf(k, "a setting's name should be a word")
		}
		if seen[key] {
			return p.errorf(k, "%s is there twice", key)
		}
		seen[key] = true
		if err := p.setting(k, v, section, key); err != nil {
			return err
		}
	}
	return nil
}

func (p *reader) setting(k, v *yaml.Node, section, key string) error {
	if f, ok := p.fields[key]; ok && !strings.Contains(k.Value, ".") {
		p.found(key)
		return p.value(f, v)
	}
	if p.sections[key] != nil && section == "" && key != "" {
		if isNull(v) {
			return nil
		}
		return p.section(v, key)
	}
	place := ""
	if section != "" {
		place = " in " + section
	}
	return p.errorf(k, "unknown setting %q%s%s", k.Value, place, nearest(k.Value, p.sections[section]))
}

// value sets a field. Texts may stand without quotes even if they look like numbers.
func (p *reader) value(f field, v *yaml.Node) error {
	if isNull(v) {
		return p.errorf(v, "%s has no value; leave the line out for the default, or write \"\"", f.key)
	}
	switch list := f.value.Addr().Interface().(type) {
	case *[]string:
		texts, err := p.list(f, v)
		*list = texts
		return err
	case *[]netip.Prefix:
		texts, err := p.list(f, v)
		if err != nil {
			return err
		}
		nets, err := prefixes(texts)
		if err != nil {
			return p.errorf(v, "%s: %v", f.key, err)
		}
		*list = nets
		return nil
	}
	if v.Kind != yaml.ScalarNode {
		return p.errorf(v, "%s should be one value", f.key)
	}
	if err := f.set(v.Value); err != nil {
		return p.errorf(v, "%s: %v", f.key, err)
	}
	return nil
}

// list returns the items of a list; one value alone is a list of one.
func (p *reader) list(f field, v *yaml.Node) ([]string, error) {
	if v.Kind == yaml.ScalarNode {
		return split(v.Value), nil
	}
	if v.Kind != yaml.SequenceNode {
		return nil, p.errorf(v, "%s should be a list", f.key)
	}
	var list []string
	for _, item := range v.Content {
		if item.Kind != yaml.ScalarNode || isNull(item) {
			return nil, p.errorf(item, "%s should be a list of texts", f.key)
		}
		list = append(list, item.Value)
	}
	return list, nil
}
