// Package signin is the page for people who are not signed in: how one gets in. It
// signs people out as well.
package signin

import (
	"embed"
	"net/http"

	"selvage/internal/console/site"
	"selvage/internal/console/ui"
)

//go:embed page.tmpl
var files embed.FS

// Data is what the page shows.
type Data struct {
	// FirstOwner is set when the server has no owner who has signed in.
	FirstOwner  bool
	LinkCommand string
	SignedOut   bool // just now
}

// Page serves /signin and /signout.
type Page struct {
	site *site.Site
	page *ui.Page[Data]
}

// New returns the page.
func New(s *site.Site) *Page { return &Page{s, ui.Must[Data](files)} }

// Serve says how to sign in. Those who are signed in already have no business here.
func (p *Page) Serve(w http.ResponseWriter, r *http.Request, v *site.Visit) error {
	if v.User != nil {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return nil
	}
	data := Data{LinkCommand: "selvage user link LOGIN", SignedOut: r.URL.Query().Has("out")}
	if owner := v.View.Owner(); owner != nil && owner.Pending {
		data.FirstOwner, data.LinkCommand = true, "selvage user link "+owner.Login
	}
	return site.Show(p.site, w, v, p.page, ui.Frame{Title: "Sign in"}, data)
}

// SignOut ends the visitor's session.
func (p *Page) SignOut(w http.ResponseWriter, r *http.Request, v *site.Visit) error {
	if err := p.site.SignOut(r.Context(), w, v); err != nil {
		return err
	}
	http.Redirect(w, r, "/signin?out", http.StatusSeeOther)
	return nil
}
