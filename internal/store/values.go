package store

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"
)

// The range of times that int64 nanoseconds can hold: the years 1678 to 2262.
var (
	firstTime = time.Unix(0, math.MinInt64)
	lastTime  = time.Unix(0, math.MaxInt64)
)

// nanos returns the form of a time in the database. A time beyond the range, which
// only an expiry "in a thousand years" can be, becomes the end of the range.
func nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.After(lastTime):
		return math.MaxInt64
	case t.Before(firstTime):
		return math.MinInt64
	}
	return t.UnixNano()
}

// timeOf is the inverse of nanos.
func timeOf(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// list returns the JSON of a list; no elements are the empty text.
func list[T any](v []T) (string, error) {
	if len(v) == 0 {
		return "", nil
	}
	b, err := json.Marshal(v)
	return string(b), err
}

// parseList is the inverse of list.
func parseList[T any](s string) ([]T, error) {
	if s == "" {
		return nil, nil
	}
	var v []T
	err := json.Unmarshal([]byte(s), &v)
	return v, err
}

// textOf returns the text of a key, empty for a zero key.
func textOf(k interface {
	encoding.TextMarshaler
	IsZero() bool
},
) (string, error) {
	if k.IsZero() {
		return "", nil
	}
	b, err := k.MarshalText()
	return string(b), err
}

// parseText is the inverse of textOf.
func parseText(k encoding.TextUnmarshaler, s string) error {
	if s == "" {
		return nil
	}
	return k.UnmarshalText([]byte(s))
}

// orNull returns nil for an empty text, so that several rows of a unique column may
// have none.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// addrText returns the text of an address, empty for the zero address.
func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// parseAddr is the inverse of addrText.
func parseAddr(s string) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, nil
	}
	return netip.ParseAddr(s)
}

// clean makes text of a stranger fit to be stored: UTF-8 without zero bytes.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}

// firstError returns the first error that is not nil, wrapped with the act.
func firstError(act string, errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("%s: %w", act, err)
		}
	}
	return nil
}
