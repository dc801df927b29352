// Package describe says how a device reads: its status, its badges, its owner, its
// system. The pages that list devices and that show one use it alike.
package describe

import (
	"net/netip"
	"slices"
	"time"

	"selvage"
	"selvage/internal/console/site"
	"selvage/internal/console/ui"
	"selvage/internal/netmap"
)

// soon is how long before a key expires it is worth a badge.
const soon = 7 * 24 * time.Hour

// Status is whether the device is connected.
func Status(n *netmap.Node) ui.Status {
	switch {
	case !n.Approved:
		return ui.Status{Text: "Waiting", Tone: ui.ToneWarn}
	case n.Expired:
		return ui.Status{Text: "Key expired", Tone: ui.ToneDanger}
	case n.Unreachable:
		return ui.Status{Text: "Not answering", Tone: ui.ToneWarn}
	case n.Online:
		return ui.Status{Text: "Connected", Tone: ui.ToneOK}
	}
	return ui.Status{Text: "Offline", Tone: ui.ToneNone}
}

// Badges are what is worth knowing of a device at a glance.
func Badges(v *site.Visit, n *netmap.Node) []ui.Badge {
	var b []ui.Badge
	if !n.KeyExpiry.IsZero() && !n.Expired && n.KeyExpiry.Sub(v.Now) < soon {
		b = append(b, ui.Badge{Text: "Key expires " + v.When(n.KeyExpiry).Relative(), Tone: ui.ToneWarn, Title: "The device must log in again then"})
	}
	if len(Unapproved(n)) > 0 {
		b = append(b, ui.Badge{Text: "Routes to approve", Tone: ui.ToneWarn, Title: "The device offers routes that nobody has approved"})
	}
	if n.ExitNode() {
		b = append(b, ui.Badge{Text: "Exit node", Tone: ui.ToneInfo, Title: "Other devices may reach the internet through it"})
	}
	if slices.ContainsFunc(n.Routes, func(p netip.Prefix) bool { return !selvage.IsExitRoute(p) }) {
		b = append(b, ui.Badge{Text: "Subnet router", Tone: ui.ToneInfo, Title: "Other devices reach networks behind it"})
	}
	if n.Soft.Hostinfo.PeerRelay {
		b = append(b, ui.Badge{Text: "Relay", Tone: ui.ToneInfo, Title: "It carries packets for devices that can't reach each other"})
	}
	if n.Ephemeral {
		b = append(b, ui.Badge{Text: "Ephemeral", Tone: ui.ToneNone, Title: "It is removed when it has been offline for a while"})
	}
	return b
}

// Unapproved returns the routes that the device offers and may not serve.
func Unapproved(n *netmap.Node) []netip.Prefix {
	return slices.DeleteFunc(n.Soft.Advertised(), func(p netip.Prefix) bool {
		return slices.Contains(n.ApprovedRoutes, p)
	})
}

// Owner is the name of the device's user; empty for one that has tags.
func Owner(v *netmap.View, n *netmap.Node) string {
	if n.Tagged() {
		return ""
	}
	if u := v.User(n.User); u != nil {
		return u.Name()
	}
	return "Nobody"
}

// System is the device's operating system with its version, as far as it told.
func System(n *netmap.Node) string {
	h := n.Soft.Hostinfo
	name := ui.System(h.OS)
	if h.Distro != "" {
		name = ui.Title(h.Distro)
		if h.DistroVersion != "" {
			name += " " + h.DistroVersion
		}
		return name
	}
	if h.OSVersion != "" && h.OS != "linux" {
		name += " " + h.OSVersion
	}
	return name
}

// Client is the version of the device's client; empty if it did not tell.
func Client(n *netmap.Node) string { return ui.ClientVersion(n.Soft.Hostinfo.IPNVersion) }

// Glyph is the drawing for the device.
func Glyph(n *netmap.Node) string { return ui.Glyph(n.Soft.Hostinfo.OS, n.Tagged()) }
