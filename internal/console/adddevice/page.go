// Package adddevice is the page that says, for each platform, how to add a device.
// The same steps are what a tailnet without devices shows; see [Guide].
package adddevice

import (
	"embed"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"selvage/internal/console/site"
	"selvage/internal/console/ui"
)

//go:embed page.tmpl
var files embed.FS

// Data is what the page shows.
type Data struct {
	Guide Guide
}

// Guide is the steps for all platforms; the template "guide" in guide.tmpl of ui.
type Guide = ui.Guide

// Page serves /help/add-device.
type Page struct {
	site *site.Site
	page *ui.Page[Data]
}

// New returns the page.
func New(s *site.Site) *Page { return &Page{s, ui.Must[Data](files)} }

// Serve shows the steps. They are no secret: anybody may read them.
func (p *Page) Serve(w http.ResponseWriter, r *http.Request, v *site.Visit) error {
	f := ui.Frame{Title: "Add a device", Section: ui.SectionAdd, Wide: v.User != nil}
	return site.Show(p.site, w, v, p.page, f, Data{GuideFor(r, v)})
}

// GuideFor returns the steps for this server, the visitor's platform opened.
func GuideFor(r *http.Request, v *site.Visit) Guide {
	return Guide{Server: v.Base, Open: platform(r.UserAgent()), Local: local(v.Base)}
}

// platform guesses where a browser runs, to open that part of the steps. It knows no
// more than is needed for that.
func platform(agent string) string {
	for _, p := range []struct{ word, name string }{
		{"Android", "android"}, {"iPhone", "ios"}, {"iPad", "ios"}, {"Macintosh", "macos"}, {"Windows", "windows"},
	} {
		if strings.Contains(agent, p.word) {
			return p.name
		}
	}
	return "linux"
}

// local reports whether the address only leads to the server from the server itself.
func local(base string) bool {
	u, err := url.Parse(base)
	if err != nil {
		return false
	}
	host := u.Hostname()
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && addr.IsLoopback()
}
