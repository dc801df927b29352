// Package console is the pages that people see in a browser: the one that connects a
// device, the sign-in by a one-time link, the list of devices and each device's own.
//
// It owns the pages, their look and the session cookie. It decides nothing: who may
// do what is in authz, what a change does in netmap, how links and sessions live in
// identity. Of the clients' protocol it knows the functions in [Options.Door].
//
// Pages are rendered on the server and work without JavaScript. Each page has a
// directory with its code, its template and its test: register, connected, welcome,
// signin, overview, device, adddevice. They stand on site (visitors, errors,
// headers), describe (how a device reads) and ui (the look). Read site/site.go and
// overview/page.go first. A new page is a directory with page.go and page.tmpl, and
// a line in Handler.
package console

import (
	"net/http"

	"selvage/internal/console/adddevice"
	"selvage/internal/console/connected"
	"selvage/internal/console/device"
	"selvage/internal/console/overview"
	"selvage/internal/console/register"
	"selvage/internal/console/signin"
	"selvage/internal/console/site"
	"selvage/internal/console/ui"
	"selvage/internal/console/welcome"
)

// Device is a device that waits for a person to connect it.
type Device = register.Device

// Door is where devices wait.
type Door = register.Door

// Options are what a console needs from outside.
type Options struct {
	site.Options
	// Door is where devices wait to be connected.
	Door Door
}

// Console is the pages. It is safe for concurrent use.
type Console struct {
	mux *http.ServeMux
}

// New returns a console. The caller sees to it that requests are for a host name of
// the server.
func New(o Options) *Console {
	s := site.New(o.Options)
	mux := http.NewServeMux()
	reg, wel, sig, dev := register.New(s, o.Door), welcome.New(s), signin.New(s), device.New(s)

	mux.Handle("GET /{$}", s.Members(overview.New(s).Serve))
	// Clients send people to /admin when a device waits for approval.
	mux.Handle("GET /admin", s.Open(toOverview))
	mux.Handle("GET /devices", s.Open(toOverview))
	mux.Handle("GET /devices/{id}", s.Members(dev.Serve))
	mux.Handle("POST /devices/{id}/approve", s.Members(dev.Approve))
	mux.Handle("GET /help/add-device", s.Open(adddevice.New(s).Serve))

	mux.Handle("GET /register/{code}", s.Open(reg.Serve))
	mux.Handle("POST /register/{code}/connect", s.Members(reg.Connect))
	mux.Handle("POST /register/{code}/reject", s.Members(reg.Reject))
	mux.Handle("GET /connected/{id}", s.Members(connected.New(s).Serve))

	mux.Handle("GET /welcome/{secret}", s.Open(wel.Serve))
	mux.Handle("POST /welcome/{secret}", s.Open(wel.Use))
	mux.Handle("GET /signin", s.Open(sig.Serve))
	mux.Handle("POST /signout", s.Open(sig.SignOut))

	mux.HandleFunc("GET "+ui.StaticPrefix, s.ServeAsset)
	mux.HandleFunc("GET /favicon.ico", s.ServeAsset)
	mux.Handle("/", s.Open(site.NotFound))
	return &Console{mux}
}

func toOverview(w http.ResponseWriter, r *http.Request, _ *site.Visit) error {
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// Handler serves the pages, and a page that says so for every address that leads
// nowhere.
func (c *Console) Handler() http.Handler { return c.mux }

// Patterns are the addresses that the handler wants, for a ServeMux. "/" takes in all
// that no other part of the server serves.
func Patterns() []string {
	return []string{
		"/", "/admin", "/devices", "/devices/", "/help/", "/register/", "/connected/", "/welcome/",
		"/signin", "/signout", ui.StaticPrefix, "/favicon.ico",
	}
}
