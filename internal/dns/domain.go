package dns

import (
	"strings"

	"selvage"
)

const (
	// maxName is the longest DNS name in text, without the final dot, in bytes.
	maxName = 253
	// maxDomain leaves room for a device's label before a tailnet's domain.
	maxDomain = maxName - maxLabel - 1
)

// CheckDomain returns nil if name may be the domain of a tailnet: valid labels in
// lower case joined by dots, without a dot at either end, short enough for any
// device name before it. Domains in .local are refused, since operating systems
// look for those names on the local network only.
func CheckDomain(name string) error {
	if err := checkName(name, false); err != nil {
		return selvage.Errorf(selvage.KindInvalid, "bad domain: %w", err)
	}
	if len(name) > maxDomain {
		return selvage.Errorf(selvage.KindInvalid, "domain %q is %d bytes long; use at most %d, so that device names fit before it", name, len(name), maxDomain)
	}
	if name == "local" || strings.HasSuffix(name, ".local") {
		return selvage.Errorf(selvage.KindInvalid, "domain %q is in .local, which devices look for on the local network only; use one like mesh.internal", name)
	}
	return nil
}

// checkName checks a full name without a final dot.
func checkName(name string, underscore bool) error {
	switch {
	case name == "":
		return selvage.Errorf(selvage.KindInvalid, "empty name; write one like corp.example.com")
	case len(name) > maxName:
		return selvage.Errorf(selvage.KindInvalid, "name %.40q... is %d bytes long; at most %d are allowed", name, len(name), maxName)
	case strings.HasPrefix(name, "*."):
		return selvage.Errorf(selvage.KindInvalid, "name %q begins with \"*.\"; leave that out, a suffix covers all names below it", name)
	case name[0] == '.' || name[len(name)-1] == '.':
		return selvage.Errorf(selvage.KindInvalid, "name %q has a dot at an end; write it as %q", name, strings.Trim(name, "."))
	}
	var last string
	for label := range strings.SplitSeq(name, ".") {
		if err := checkLabel(label, underscore); err != nil {
			if name == label {
				return err
			}
			return selvage.Errorf(selvage.KindInvalid, "in %q: %w", name, err)
		}
		last = label
	}
	if strings.Trim(last, "0123456789") == "" {
		return selvage.Errorf(selvage.KindInvalid, "name %q ends in a number and would be taken for an IP address; use a name that ends in a word", name)
	}
	return nil
}
