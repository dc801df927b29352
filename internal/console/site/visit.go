package site

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"selvage"
	"selvage/internal/console/ui"
	"selvage/internal/identity"
	"selvage/internal/netmap"
)

// Visit is one request's visitor and surroundings.
type Visit struct {
	// User is who is signed in; nil for nobody.
	User *selvage.User
	// Session is the user's; nil for nobody.
	Session *selvage.Session
	// Actor is the user as the one who makes changes.
	Actor selvage.Actor
	// Net is the user's tailnet, or the server's first one for nobody.
	Net *netmap.Net
	// View is the tailnet as of the start of the request.
	View *netmap.View
	// Base is the address of the server, without a slash at the end.
	Base string
	// Address is where the request came from.
	Address string
	Now     time.Time
}

// When returns a time as seen from the visit.
func (v *Visit) When(t time.Time) ui.Moment { return ui.Moment{At: t, Now: v.Now} }

// Names of the cookies. A name that begins with __Host- is kept by browsers only if
// it came over HTTPS from this very host, and for all of it.
const (
	sessionCookie = "selvage-session"
	nextCookie    = "selvage-next"
	securePrefix  = "__Host-"
)

// nextLifetime is how long the page that a visitor wanted is remembered.
const nextLifetime = 30 * time.Minute

// visit finds out who asks. A cookie that is no good is no error: whoever brings it
// is not signed in. The visit is never nil, but has no more than the address and the
// time if there is an error.
func (s *Site) visit(r *http.Request) (*Visit, error) {
	v := &Visit{Base: s.base(r), Address: remoteHost(r), Now: s.now()}
	if err := s.recognise(r, v); err != nil {
		return v, err
	}
	if v.Net != nil {
		return v, nil
	}
	net, err := s.Hub.ByName("")
	if err != nil {
		return v, err
	}
	v.Net, v.View = net, net.View()
	return v, nil
}

func (s *Site) recognise(r *http.Request, v *Visit) error {
	c, err := r.Cookie(cookieName(v, sessionCookie))
	if err != nil {
		return nil // there is none
	}
	session, err := identity.CheckSession(r.Context(), s.db, c.Value, v.Now)
	if selvage.Is(err, selvage.KindUnauthenticated) {
		return nil
	}
	if err != nil {
		return err
	}
	net := s.Hub.Net(session.Tailnet)
	if net == nil {
		return nil
	}
	view := net.View()
	user := view.User(session.User)
	actor, err := identity.UserActor(user, v.Address)
	if selvage.Is(err, selvage.KindUnauthenticated) {
		return nil
	}
	if err != nil {
		return err
	}
	v.User, v.Session, v.Actor, v.Net, v.View = user, session, actor, net, view
	return nil
}

// base is where browsers and clients find the server.
func (s *Site) base(r *http.Request) string {
	if s.publicURL != "" {
		return s.publicURL
	}
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

func secure(v *Visit) bool { return strings.HasPrefix(v.Base, "https://") }

func cookieName(v *Visit, name string) string {
	if secure(v) {
		return securePrefix + name
	}
	return name
}

// setCookie sets a cookie for all of the server; an age below zero removes it. Lax,
// not strict: people come by links from terminals, mails and chats.
func setCookie(w http.ResponseWriter, v *Visit, name, value string, age time.Duration) {
	c := &http.Cookie{
		Name: cookieName(v, name), Value: value, Path: "/", MaxAge: int(age / time.Second),
		HttpOnly: true, Secure: secure(v), SameSite: http.SameSiteLaxMode,
	}
	if age < 0 {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// SignIn gives the browser the cookie of a session.
func (s *Site) SignIn(w http.ResponseWriter, v *Visit, cookie string, session *selvage.Session) {
	setCookie(w, v, sessionCookie, cookie, session.Expires.Sub(v.Now))
}

// SignOut ends the visitor's session, if there is one, and takes the cookie away.
func (s *Site) SignOut(ctx context.Context, w http.ResponseWriter, v *Visit) error {
	if v.Session != nil {
		err := v.Net.Update(ctx, v.Actor, func(tx *netmap.Tx) error {
			return identity.EndSession(tx, v.Session)
		})
		if err != nil {
			return err
		}
	}
	setCookie(w, v, sessionCookie, "", -1)
	return nil
}

// FindLink returns the one-time link with the secret, if it could be used now, its
// tailnet and its user.
func (s *Site) FindLink(ctx context.Context, secret string, v *Visit) (*netmap.Net, *selvage.User, error) {
	link, err := identity.FindLink(ctx, s.db, secret, v.Now)
	if err != nil {
		return nil, nil, err
	}
	net := s.Hub.Net(link.Tailnet)
	if net == nil {
		return nil, nil, selvage.Errorf(selvage.KindNotFound, "the network of this sign-in link is no longer there")
	}
	user := net.View().User(link.User)
	if _, err := identity.UserActor(user, v.Address); err != nil {
		return nil, nil, err
	}
	return net, user, nil
}

// Remember notes which page the visitor wanted, for after signing in.
func (s *Site) Remember(w http.ResponseWriter, r *http.Request, v *Visit) {
	if path := r.URL.EscapedPath(); ownPath(path) && path != "/" {
		setCookie(w, v, nextCookie, url.QueryEscape(path), nextLifetime)
	}
}

// Next returns the page that the visitor wanted, or the first page, and forgets it.
func (s *Site) Next(w http.ResponseWriter, r *http.Request, v *Visit) string {
	c, err := r.Cookie(cookieName(v, nextCookie))
	if err != nil {
		return "/"
	}
	setCookie(w, v, nextCookie, "", -1)
	path, err := url.QueryUnescape(c.Value)
	if err != nil || !ownPath(path) {
		return "/"
	}
	return path
}

// ownPath reports whether path is one of this site, whatever a browser may make of
// it. Cookies can be planted by neighbouring hosts.
func ownPath(path string) bool {
	if len(path) > 512 || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
		return false
	}
	return !strings.ContainsFunc(path, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || r == '\\'
	})
}
