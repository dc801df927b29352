// Package welcome is the page of a one-time link: it says who one will be signed in
// as, and signs one in when its button is pressed. Looking at the page uses nothing
// up, since mail programs and chats look at links before people do.
package welcome

import (
	"embed"
	"net/http"
	"strings"
	"unicode/utf8"

	"selvage"
	"selvage/internal/console/site"
	"selvage/internal/console/ui"
	"selvage/internal/identity"
	"selvage/internal/journal"
	"selvage/internal/netmap"
)

//go:embed page.tmpl
var files embed.FS

// Limits of what the first owner fills in, in characters.
const (
	maxLogin = 254 // the longest e-mail address
	maxName  = 80
)

// placeholder is the login that the owner of a new tailnet has until somebody takes
// the place.
const placeholder = "owner"

// Data is what the page shows.
type Data struct {
	// Action is where the form goes: the link itself, which nobody but its holder
	// knows.
	Action  string
	Name    string
	Login   string
	Role    string
	Tailnet string
	// Owner is set for the first owner, who chooses Fields.
	Owner  bool
	Fields []ui.Field
	// Other is who is signed in at present, if it is somebody else.
	Other string
	// Bad says why the link can't be used; then there is nothing else.
	Bad string
	// Used is set when the visitor is signed in already, so that a bad link does
	// not matter.
	SignedIn bool
}

// Page serves /welcome/{secret}.
type Page struct {
	site *site.Site
	page *ui.Page[Data]
}

// New returns the page.
func New(s *site.Site) *Page { return &Page{s, ui.Must[Data](files)} }

// Serve shows whom the link signs in.
func (p *Page) Serve(w http.ResponseWriter, r *http.Request, v *site.Visit) error {
	net, u, err := p.site.FindLink(r.Context(), r.PathValue("secret"), v)
	if err != nil {
		return p.bad(w, v, err)
	}
	data := p.data(r, v, net, u)
	if choosing(u) {
		data.Fields = fields(u, claim{login: u.Login, name: u.DisplayName}, nil)
	}
	return site.Show(p.site, w, v, p.page, ui.Frame{Title: "Welcome"}, data)
}

// choosing reports whether the user says who they are: the first owner does, since
// nobody else was there to say it.
func choosing(u *selvage.User) bool { return u.Pending && u.Role == selvage.RoleOwner }

func (p *Page) data(r *http.Request, v *site.Visit, net *netmap.Net, u *selvage.User) Data {
	d := Data{
		Action: r.URL.EscapedPath(), Name: u.Name(), Login: u.Login, Role: string(u.Role),
		Tailnet: net.View().Tailnet.Name, Owner: choosing(u),
	}
	if v.User != nil && v.User.ID != u.ID {
		d.Other = v.User.Login
	}
	return d
}

// bad says why a link can't be used.
func (p *Page) bad(w http.ResponseWriter, v *site.Visit, err error) error {
	if selvage.KindOf(err) == selvage.KindInternal {
		return err
	}
	data := Data{Bad: site.Sentence(err.Error()), SignedIn: v.User != nil}
	return site.ShowMissing(p.site, w, v, p.page, ui.Frame{Title: "This link can’t be used"}, data)
}

// claim is what the first owner says of themself.
type claim struct{ login, name string }

func fields(u *selvage.User, c claim, err error) []ui.Field {
	if c.login == placeholder && u.Login == placeholder && err == nil {
		c = claim{} // nobody is called that
	}
	login := ui.Field{
		Name: "login", Label: "Your login", Value: c.login, Placeholder: "you@example.com", Autocomplete: "username",
		MaxLength: maxLogin, Required: true,
		Hint: "An e-mail address or a plain name. Access policies call you by it.",
	}
	if err != nil {
		login.Error = site.Sentence(err.Error())
	}
	return []ui.Field{login, {
		Name: "name", Label: "Your name", Value: c.name, Autocomplete: "name", MaxLength: maxName,
		Hint: "How others see you, in clients too. You can leave it empty.",
	}}
}

// Use uses the link up and signs the browser in.
func (p *Page) Use(w http.ResponseWriter, r *http.Request, v *site.Visit) error {
	secret := r.PathValue("secret")
	net, u, err := p.site.FindLink(r.Context(), secret, v)
	if err != nil {
		return p.bad(w, v, err)
	}
	var c claim
	if choosing(u) {
		c = claim{strings.TrimSpace(r.PostFormValue("login")), strings.TrimSpace(r.PostFormValue("name"))}
		if err := c.check(); err != nil {
			return p.again(w, r, v, net, u, c, err)
		}
	}
	cookie, session, err := signIn(r, v, net, u, secret, c)
	switch selvage.KindOf(err) {
	case selvage.KindConflict:
		return p.again(w, r, v, net, u, c, err)
	case selvage.KindDenied, selvage.KindUnauthenticated, selvage.KindNotFound:
		return p.bad(w, v, err) // somebody was faster
	}
	if err != nil {
		return err
	}
	p.site.SignIn(w, v, cookie, session)
	http.Redirect(w, r, p.site.Next(w, r, v), http.StatusSeeOther)
	return nil
}

func (c claim) check() error {
	if utf8.RuneCountInString(c.name) > maxName {
		return selvage.Errorf(selvage.KindInvalid, "the name has more than %d characters; choose a shorter one", maxName)
	}
	return netmap.CheckLogin(c.login)
}

func (p *Page) again(w http.ResponseWriter, r *http.Request, v *site.Visit, net *netmap.Net, u *selvage.User, c claim, err error) error {
	data := p.data(r, v, net, u)
	data.Fields = fields(u, c, err)
	return site.ShowRefused(p.site, w, v, p.page, ui.Frame{Title: "Welcome"}, data)
}

// signIn uses the link, writes down who the first owner is, and opens a session, all
// or nothing.
func signIn(r *http.Request, v *site.Visit, net *netmap.Net, u *selvage.User, secret string, c claim) (cookie string, s *selvage.Session, err error) {
	actor, err := identity.UserActor(u, v.Address)
	if err != nil {
		return "", nil, err
	}
	if c.login != "" {
		actor.Name = c.login
	}
	err = net.Update(r.Context(), actor, func(tx *netmap.Tx) error {
		link, err := identity.UseLink(tx, v.Now, secret)
		if err != nil {
			return err
		}
		if c.login != "" {
			owner := tx.User(link.User)
			owner.Login, owner.DisplayName = c.login, c.name
			if err := tx.PutUser(journal.UserUpdate, owner); err != nil {
				return err
			}
		}
		cookie, s, err = identity.NewSession(tx, v.Now, link.User, v.Address, r.UserAgent())
		return err
	})
	return cookie, s, err
}
