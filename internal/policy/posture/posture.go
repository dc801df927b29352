// Package posture reads conditions on the attributes of devices, such as
// "node:os == 'linux'", and decides them; and it says which attributes follow from
// what a device reports. It does not know where others come from, nor what follows
// from a condition.
package posture

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Attrs are the attributes of a device by name, such as "node:os". Values are
// strings, bools or float64s; others match nothing. Nil means that nothing is known
// of the device, and then no condition holds.
type Attrs = map[string]any

// Condition is a condition on one attribute. It is immutable.
type Condition struct {
	attr   string
	op     operator
	values []any
}

type operator string

// The operators, as conditions spell them.
const (
	opEqual     operator = "=="
	opDiffers   operator = "!="
	opLess      operator = "<"
	opAtMost    operator = "<="
	opGreater   operator = ">"
	opAtLeast   operator = ">="
	opOneOf     operator = "IN"
	opNoneOf    operator = "NOT IN"
	opKnown     operator = "IS SET"
	opUndefined operator = "NOT SET"
)

// Known are the attributes of the namespace "node:", which the server fills in.
func Known() []string {
	return []string{"node:os", "node:osVersion", "node:tsAutoUpdate", "node:tsReleaseTrack", "node:tsStateEncrypted", "node:tsVersion"}
}

// versions are the attributes whose values are versions also where only equality is
// asked.
var versions = []string{"node:osVersion", "node:tsVersion"}

// Attr returns the name of the attribute.
func (c Condition) Attr() string { return c.attr }

// String returns the condition as a policy writes it.
func (c Condition) String() string {
	switch c.op {
	case opKnown, opUndefined:
		return c.attr + " " + string(c.op)
	case opOneOf, opNoneOf:
		texts := make([]string, len(c.values))
		for i, v := range c.values {
			texts[i] = literal(v)
		}
		return fmt.Sprintf("%s %s [%s]", c.attr, c.op, strings.Join(texts, ", "))
	}
	return fmt.Sprintf("%s %s %s", c.attr, c.op, literal(c.values[0]))
}

func literal(v any) string {
	if s, ok := v.(string); ok {
		return "'" + s + "'"
	}
	return fmt.Sprint(v)
}

// Holds reports whether the condition holds for a device. An attribute that is not
// set fails every condition but NOT SET, and so does one of another type than the
// value that it is compared with.
func (c Condition) Holds(attrs Attrs) bool {
	if attrs == nil {
		return false
	}
	have, ok := attrs[c.attr]
	switch c.op {
	case opKnown:
		return ok
	case opUndefined:
		return !ok
	}
	if !ok {
		return false
	}
	switch c.op {
	case opOneOf:
		return slices.ContainsFunc(c.values, func(v any) bool { return c.is(have, v, func(d int) bool { return d == 0 }) })
	case opNoneOf:
		return !slices.ContainsFunc(c.values, func(v any) bool { return !c.is(have, v, func(d int) bool { return d != 0 }) })
	}
	return c.is(have, c.values[0], c.op.wants)
}

// wants reports whether a comparison with that outcome fulfils the operator.
func (op operator) wants(d int) bool {
	switch op {
	case opEqual:
		return d == 0
	case opDiffers:
		return d != 0
	case opLess:
		return d < 0
	case opAtMost:
		return d <= 0
	case opGreater:
		return d > 0
	case opAtLeast:
		return d >= 0
	}
	return false
}

// is compares the two values, and is false if they cannot be compared.
func (c Condition) is(have, want any, ok func(int) bool) bool {
	switch w := want.(type) {
	case bool:
		h, same := have.(bool)
		return same && ok(boolInt(h)-boolInt(w))
	case float64:
		h, same := have.(float64)
		return same && h == h && ok(cmp.Compare(h, w))
	case string:
		h, same := have.(string)
		if !same {
			return false
		}
		if c.ordered() || slices.Contains(versions, c.attr) {
			a, okA := parseVersion(h)
			b, okB := parseVersion(w)
			return okA && okB && ok(slices.Compare(a, b))
		}
		return ok(strings.Compare(h, w))
	}
	return false
}

func (c Condition) ordered() bool {
	return c.op == opLess || c.op == opAtMost || c.op == opGreater || c.op == opAtLeast
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// parseVersion reads the numbers that a version begins with, without zeros at the
// end: 1.40 and 1.40.0-dev are the same.
func parseVersion(s string) ([]int, bool) {
	var out []int
	for {
		n := len(s) - len(strings.TrimLeft(s, "0123456789"))
		v, err := strconv.Atoi(s[:n])
		if err != nil {
			break
		}
		out = append(out, v)
		rest, more := strings.CutPrefix(s[n:], ".")
		if !more {
			break
		}
		s = rest
	}
	ok := len(out) > 0
	for len(out) > 0 && out[len(out)-1] == 0 {
		out = out[:len(out)-1]
	}
	return out, ok
}
