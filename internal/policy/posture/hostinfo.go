package posture

import (
	"strings"

	"tailscale.com/tailcfg"
)

// Reported returns the attributes that follow from what a device says of itself, or
// nil if it has said nothing. The device is not checked: whoever controls it can
// report what they like.
func Reported(hi *tailcfg.Hostinfo) Attrs {
	if hi == nil || hi.OS == "" {
		return nil
	}
	attrs := Attrs{
		"node:os":           strings.ToLower(hi.OS),
		"node:tsAutoUpdate": hi.AllowsUpdate,
	}
	if hi.OSVersion != "" {
		attrs["node:osVersion"] = hi.OSVersion
	}
	if encrypted, ok := hi.StateEncrypted.Get(); ok {
		attrs["node:tsStateEncrypted"] = encrypted
	}
	if version, _, _ := strings.Cut(hi.IPNVersion, "-"); version != "" {
		attrs["node:tsVersion"] = version
		if track := releaseTrack(hi.IPNVersion); track != "" {
			attrs["node:tsReleaseTrack"] = track
		}
	}
	return attrs
}

// releaseTrack returns the track of a client's version: stable versions have an even
// second number.
func releaseTrack(version string) string {
	v, ok := parseVersion(version)
	switch {
	case !ok || len(v) < 2:
		return ""
	case v[1]%2 == 0:
		return "stable"
	}
	return "unstable"
}
