package site

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"selvage"
	"selvage/internal/console/ui"
	"selvage/internal/netmap"
	"selvage/internal/store"
)

// Options are what a site needs from outside.
type Options struct {
	Hub    *netmap.Hub
	DB     *store.DB
	Logger *slog.Logger
	// PublicURL is where browsers and clients find the server, without a slash at
	// the end. If it is empty, the host that the browser asked for is used.
	PublicURL string
	// Version is shown at the foot of each page; it may be empty.
	Version string
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Site is the frame in which pages are served. It is safe for concurrent use.
type Site struct {
	Hub *netmap.Hub

	db        *store.DB
	log       *slog.Logger
	publicURL string
	version   string
	now       func() time.Time
	csrf      *http.CrossOriginProtection
	trouble   *ui.Page[Trouble]
}

// New returns a site. It panics if PublicURL is no URL, which the configuration has
// checked.
func New(o Options) *Site {
	s := &Site{
		Hub: o.Hub, db: o.DB, log: o.Logger, publicURL: o.PublicURL, version: o.Version, now: o.Now,
		csrf:    http.NewCrossOriginProtection(),
		trouble: ui.Must[Trouble](files),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if origin := originOf(o.PublicURL); origin != "" {
		// Behind a proxy the Host header may be another one than browsers know.
		if err := s.csrf.AddTrustedOrigin(origin); err != nil {
			panic(err)
		}
	}
	return s
}

func originOf(publicURL string) string {
	u, err := url.Parse(publicURL)
	if publicURL == "" || err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// Handler answers a request of a visitor. It returns an error instead of writing
// one, and nothing else in that case.
type Handler func(w http.ResponseWriter, r *http.Request, v *Visit) error

// Open serves h to anybody.
func (s *Site) Open(h Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.headers(w.Header())
		v, err := s.visit(r)
		if secure(v) {
			// Browsers complain about it on pages that came over plain HTTP.
			w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		}
		if err == nil && s.csrf.Check(r) != nil {
			err = selvage.Errorf(selvage.KindDenied, "this request came from another site, so it was not carried out; go back to the page and try again")
		}
		if err == nil {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			err = h(w, r, v)
		}
		if err != nil {
			s.fail(w, r, v, err)
		}
	})
}

// maxBody bounds the forms that browsers send, in bytes.
const maxBody = 16 << 10

// Members serves h to those who are signed in, and sends others to the page that
// says how one does that. It brings them back afterwards.
func (s *Site) Members(h Handler) http.Handler {
	return s.Open(func(w http.ResponseWriter, r *http.Request, v *Visit) error {
		if v.User != nil {
			return h(w, r, v)
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return selvage.Errorf(selvage.KindUnauthenticated, "you are not signed in any more, so nothing was changed; sign in and try again")
		}
		s.Remember(w, r, v)
		http.Redirect(w, r, "/signin", http.StatusSeeOther)
		return nil
	})
}

// headers sets what every answer carries. Addresses hold secrets, so they go to no
// other site and stay in no cache.
func (s *Site) headers(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	// Not "no-referrer": with it browsers send "Origin: null" with forms, and over
	// plain HTTP there is nothing else by which to know our own forms.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	h.Set("Cache-Control", "no-store")
}

// Show writes a page for the visitor.
func Show[D any](s *Site, w http.ResponseWriter, v *Visit, p *ui.Page[D], f ui.Frame, data D) error {
	return show(s, w, v, http.StatusOK, p, f, data)
}

// ShowRefused writes a page that says what was wrong with the request.
func ShowRefused[D any](s *Site, w http.ResponseWriter, v *Visit, p *ui.Page[D], f ui.Frame, data D) error {
	return show(s, w, v, http.StatusUnprocessableEntity, p, f, data)
}

// ShowMissing writes a page about something that is not there.
func ShowMissing[D any](s *Site, w http.ResponseWriter, v *Visit, p *ui.Page[D], f ui.Frame, data D) error {
	return show(s, w, v, http.StatusNotFound, p, f, data)
}

func show[D any](s *Site, w http.ResponseWriter, v *Visit, status int, p *ui.Page[D], f ui.Frame, data D) error {
	f.Version = s.version
	if v != nil && v.User != nil {
		f.Person = &ui.Person{Name: v.User.Name(), Login: v.User.Login, Tailnet: v.View.Tailnet.Name}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	held := &heldStatus{ResponseWriter: w, status: status}
	return p.Render(held, f, data)
}

// heldStatus sends the status with the first byte, so that a page that can't be
// rendered can still become an error.
type heldStatus struct {
	http.ResponseWriter
	status int
	sent   bool
}

// Write implements io.Writer.
func (h *heldStatus) Write(b []byte) (int, error) {
	if !h.sent {
		h.sent = true
		h.WriteHeader(h.status)
	}
	return h.ResponseWriter.Write(b)
}

// ServeAsset serves the files of the look.
func (s *Site) ServeAsset(w http.ResponseWriter, r *http.Request) {
	s.headers(w.Header())
	name := strings.TrimPrefix(r.URL.Path, ui.StaticPrefix)
	if name == "/favicon.ico" {
		name = "favicon.svg"
	}
	content, lasting, ok := ui.Asset(name, r.URL.Query())
	if !ok {
		s.Open(NotFound).ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", contentType(name))
	w.Header().Set("Cache-Control", "public, max-age=3600")
	if lasting {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	w.Write(content)
}

// contentType does not ask the operating system, whose tables differ.
func contentType(name string) string {
	switch {
	case strings.HasSuffix(name, ".css"):
		return "text/css; charset=utf-8"
	case strings.HasSuffix(name, ".js"):
		return "text/javascript; charset=utf-8"
	case strings.HasSuffix(name, ".svg"):
		return "image/svg+xml"
	}
	return "application/octet-stream"
}
