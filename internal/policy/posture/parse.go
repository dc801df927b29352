package posture

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const maxValues = 256 // of a list

// Parse reads a condition: an attribute, an operator and a value or a list of
// values. Errors say what is wrong with the text and are safe to show.
func Parse(text string) (Condition, error) {
	p := &scanner{rest: text}
	c := Condition{attr: p.word()}
	ns, name, ok := strings.Cut(c.attr, ":")
	if !ok || !validName(ns) || !validName(name) {
		return c, fmt.Errorf("%q is not the name of an attribute, such as node:os", c.attr)
	}
	op, err := p.operator()
	if err != nil {
		return c, err
	}
	c.op = op
	switch op {
	case opKnown, opUndefined:
	case opOneOf, opNoneOf:
		c.values, err = p.list()
	default:
		var v any
		if v, err = p.value(); err == nil {
			c.values = []any{v}
		}
	}
	if err != nil {
		return c, err
	}
	if p.space(); p.rest != "" {
		return c, fmt.Errorf("%q is left over at the end", p.rest)
	}
	return c, c.checkValues()
}

// checkValues refuses comparisons that can never hold.
func (c Condition) checkValues() error {
	for _, v := range c.values {
		s, isText := v.(string)
		_, isBool := v.(bool)
		version := slices.Contains(versions, c.attr)
		switch {
		case isBool && c.ordered():
			return fmt.Errorf("true and false have no order for %s", c.op)
		case version && !isText:
			return fmt.Errorf("%s is a version: write '%v'", c.attr, v)
		case isText && (version || c.ordered()):
			if _, ok := parseVersion(s); !ok {
				return fmt.Errorf("%q is not a version", s)
			}
		}
	}
	return nil
}

func validName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == ""
}

// scanner reads a condition from left to right.
type scanner struct{ rest string }

func (p *scanner) space() { p.rest = strings.TrimLeft(p.rest, " \t") }

// take removes a prefix, if it is there.
func (p *scanner) take(s string) bool {
	rest, ok := strings.CutPrefix(p.rest, s)
	if ok {
		p.rest = rest
	}
	return ok
}

// word reads to the next character that ends names.
func (p *scanner) word() string {
	p.space()
	n := strings.IndexAny(p.rest, " \t=!<>'\"[],")
	if n < 0 {
		n = len(p.rest)
	}
	w := p.rest[:n]
	p.rest = p.rest[n:]
	return w
}

func (p *scanner) operator() (operator, error) {
	p.space()
	for _, op := range []operator{opEqual, opDiffers, opAtMost, opAtLeast, opLess, opGreater} {
		if p.take(string(op)) {
			return op, nil
		}
	}
	first := p.word()
	switch strings.ToUpper(first) {
	case "IN":
		return opOneOf, nil
	case "IS":
		second := p.word()
		if strings.EqualFold(second, "SET") {
			return opKnown, nil
		}
		if strings.EqualFold(second, "NOT") && strings.EqualFold(p.word(), "SET") {
			return opUndefined, nil
		}
	case "NOT":
		switch strings.ToUpper(p.word()) {
		case "IN":
			return opNoneOf, nil
		case "SET":
			return opUndefined, nil
		}
	}
	return "", fmt.Errorf("after the attribute comes one of ==, !=, <, <=, >, >=, IN, NOT IN, IS SET, NOT SET, not %q", first)
}

func (p *scanner) value() (any, error) {
	p.space()
	for _, quote := range []string{"'", `"`} {
		if !p.take(quote) {
			continue
		}
		s, rest, ok := strings.Cut(p.rest, quote)
		if !ok {
			return nil, fmt.Errorf("the quote before %q is not closed", p.rest)
		}
		p.rest = rest
		return s, nil
	}
	w := p.word()
	switch w {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	f, err := strconv.ParseFloat(w, 64)
	if err != nil || f != f {
		return nil, fmt.Errorf("%q is not a value: want 'text', a number, true or false", w)
	}
	return f, nil
}

func (p *scanner) list() ([]any, error) {
	if p.space(); !p.take("[") {
		return nil, fmt.Errorf("want a list such as ['a', 'b']")
	}
	var out []any
	for {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		if out = append(out, v); len(out) > maxValues {
			return nil, fmt.Errorf("more than %d values", maxValues)
		}
		p.space()
		if p.take("]") {
			return out, nil
		}
		if !p.take(",") {
			return nil, fmt.Errorf("want a comma or ] before %q", p.rest)
		}
	}
}
