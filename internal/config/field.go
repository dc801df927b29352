package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	"selvage"
)

// field is one setting: a leaf of Config.
type field struct {
	key   string // "dns.base_domain"
	owner string // the struct that it is in, "DNS"; for its comment
	name  string // of the Go field, "BaseDomain"
	value reflect.Value
}

// fields returns the settings of c in their order. Setting a field's value changes c.
func fields(c *Config) []field { return walk("", reflect.ValueOf(c).Elem()) }

func walk(prefix string, v reflect.Value) []field {
	var list []field
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key := prefix + f.Tag.Get("yaml")
		if f.Type.Kind() == reflect.Struct {
			list = append(list, walk(key+".", v.Field(i))...)
			continue
		}
		list = append(list, field{key, v.Type().Name(), f.Name, v.Field(i)})
	}
	return list
}

// Keys returns the names of all settings in their order: "dns.base_domain".
func Keys() []string {
	var keys []string
	for _, f := range fields(new(Config)) {
		keys = append(keys, f.key)
	}
	return keys
}

// Variable returns the name of the environment variable of a setting.
func Variable(key string) string {
	return "SELVAGE_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// Flag returns the name of the flag of a setting, without hyphens before it.
func Flag(key string) string { return strings.NewReplacer(".", "-", "_", "-").Replace(key) }

// set gives the field the value that a variable or flag spells. Lists are separated
// by commas; an empty text is an empty list.
func (f field) set(text string) error {
	switch p := f.value.Addr().Interface().(type) {
	case *string:
		*p = text
	case *bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return selvage.Errorf(selvage.KindInvalid, "bad value %q: want true or false", text)
		}
		*p = b
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return selvage.Errorf(selvage.KindInvalid, "bad value %q: want a whole number", text)
		}
		*p = n
	case *[]string:
		*p = split(text)
	case *[]netip.Prefix:
		list, err := prefixes(split(text))
		if err != nil {
			return err
		}
		*p = list
	default:
		panic(fmt.Sprintf("config: field %s has type %T", f.key, p)) // a test sets each field
	}
	return nil
}

func split(text string) []string {
	var list []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

func prefixes(texts []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, s := range texts {
		p, err := netip.ParsePrefix(s)
		if addr, addrErr := netip.ParseAddr(s); addrErr == nil {
			p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return nil, selvage.Errorf(selvage.KindInvalid, "bad network %q: want one such as 192.0.2.0/24", s)
		}
		list = append(list, p)
	}
	return list, nil
}

// nearest completes an error about an unknown name.
func nearest(name string, known []string) string {
	if s := Nearest(name, known); s != "" {
		return fmt.Sprintf("; did you mean %s?", s)
	}
	return "; `selvage config` shows those that exist"
}
