package dns

import (
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"selvage"
)

const (
	// maxLabel is the longest DNS label, in bytes (RFC 1035, section 2.3.4).
	maxLabel = 63
	// maxReported is how much of a reported host name is looked at, in bytes. A
	// label needs no more, however much of it is dropped.
	maxReported = 1024
	// fallbackLabel names a device whose host name has nothing usable in it.
	fallbackLabel = "device"
)

// localSuffixes are what operating systems append to a host name without meaning
// a domain.
var localSuffixes = []string{".local", ".localdomain", ".lan", ".home", ".internal"}

// spelled are letters that do not decompose into a base letter and marks.
var spelled = map[rune]string{
	'ß': "ss", 'æ': "ae", 'œ': "oe", 'ø': "o", 'đ': "d", 'ð': "d", 'ł': "l", 'þ': "th", 'ı': "i", 'ħ': "h", 'ŧ': "t",
}

// CleanHostname returns a valid DNS label, in lower case, that resembles the host
// name that a device reported. Any input gives a label that CheckLabel accepts:
// spaces, dots and underscores become hyphens, accents go, and what remains
// foreign is dropped. If nothing is left, or the name is "localhost", it is
// "device".
func CleanHostname(reported string) string {
	if len(reported) > maxReported {
		reported = reported[:maxReported]
	}
	name := strings.ToLower(strings.TrimSpace(strings.ToValidUTF8(reported, "")))
	name = strings.TrimSuffix(name, ".")
	for _, suffix := range localSuffixes {
		if rest, ok := strings.CutSuffix(name, suffix); ok && rest != "" {
			name = rest
			break
		}
	}
	label := trimLabel(hyphenate(name), maxLabel)
	if label == "" || label == "localhost" {
		return fallbackLabel
	}
	return label
}

// hyphenate keeps letters and digits of ASCII, and turns each run of separators
// into one hyphen.
func hyphenate(name string) string {
	var b strings.Builder
	write := func(c byte) {
		if c == '-' && strings.HasSuffix(b.String(), "-") {
			return
		}
		b.WriteByte(c)
	}
	for _, r := range norm.NFKD.String(name) {
		r = unicode.ToLower(r) // compatibility forms decompose into capitals
		switch {
		case isAlnum(r):
			write(byte(r))
		case r == '-' || r == '.' || r == '_' || r == '@' || r == '/' || unicode.IsSpace(r) || unicode.Is(unicode.Pd, r):
			write('-')
		default:
			b.WriteString(spelled[r])
		}
	}
	return b.String()
}

// trimLabel cuts s to n bytes and takes hyphens off both ends.
func trimLabel(s string, n int) string {
	s = strings.TrimLeft(s, "-")
	if len(s) > n {
		s = s[:n]
	}
	return strings.TrimRight(s, "-")
}

func isAlnum(r rune) bool { return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' }

// Unique returns label if taken says that it is free, or else the first free one
// of label-1, label-2 and so on, shortened so that it stays a label. The label
// must be valid, and taken must call only finitely many names taken.
func Unique(label string, taken func(string) bool) string {
	if !taken(label) {
		return label
	}
	for n := 1; ; n++ {
		suffix := "-" + strconv.Itoa(n)
		if name := trimLabel(label, maxLabel-len(suffix)) + suffix; !taken(name) {
			return name
		}
	}
}

// CheckLabel returns nil if name may be the name of a device: 1 to 63 of the
// characters a-z, 0-9 and hyphen, no hyphen at the ends.
func CheckLabel(name string) error {
	if err := checkLabel(name, false); err != nil {
		return err
	}
	if name == "localhost" {
		return selvage.Errorf(selvage.KindInvalid, "%q can't be the name of a device, it means the device itself everywhere; choose another name", name)
	}
	return nil
}

// checkLabel allows underscores only where a name need not be one of a host.
func checkLabel(label string, underscore bool) error {
	const fix = "use 1 to 63 of the characters a-z, 0-9 and hyphen, with no hyphen at the ends"
	switch {
	case label == "":
		return selvage.Errorf(selvage.KindInvalid, "empty name; %s", fix)
	case len(label) > maxLabel:
		return selvage.Errorf(selvage.KindInvalid, "name %q is too long: %d bytes; %s", label, len(label), fix)
	case label[0] == '-' || label[len(label)-1] == '-':
		return selvage.Errorf(selvage.KindInvalid, "name %q has a hyphen at an end; %s", label, fix)
	}
	for _, r := range label {
		switch {
		case isAlnum(r) || r == '-' || underscore && r == '_':
		case 'A' <= r && r <= 'Z':
			return selvage.Errorf(selvage.KindInvalid, "name %q has the capital %q; write it in lower case", label, r)
		default:
			return selvage.Errorf(selvage.KindInvalid, "name %q has the character %q; %s", label, r, fix)
		}
	}
	return nil
}
