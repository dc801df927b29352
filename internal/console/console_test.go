package console_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"selvage"
	"selvage/internal/console"
	"selvage/internal/console/consoletest"
)

// pages are addresses of all kinds, for what must hold everywhere. The number is a
// device's.
func pages(code, device string) []string {
	return []string{
		"/", "/?q=x&only=online&page=7", "/devices/" + device, "/devices/999", "/connected/" + device, "/help/add-device",
		"/register/" + code, "/register/unknown", "/register/unknown?try=99", "/welcome/nonsense", "/signin", "/admin", "/nowhere",
		"/static/console.css", "/static/console.js", "/static/favicon.svg", "/static/none", "/favicon.ico",
	}
}

func TestHeadersOfEveryAnswer(t *testing.T) {
	k := consoletest.New(t, "")
	owner := k.Owner()
	n := k.Join(k.Net.View().Owner().ID, consoletest.NewDevice("laptop", "linux"))
	code := k.Door.Wait(consoletest.NewDevice("tablet", "android"), "192.0.2.1")
	for _, v := range []*consoletest.Visitor{owner, k.Stranger()} {
		for _, path := range pages(code, n.ID.String()) {
			h := v.Get(path).Header
			csp := h.Get("Content-Security-Policy")
			for _, want := range []string{"default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
				if !strings.Contains(csp, want) {
					t.Errorf("%s: the content policy %q lacks %s", path, csp, want)
				}
			}
			if strings.Contains(csp, "unsafe") {
				t.Errorf("%s: the content policy is %q", path, csp)
			}
			for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "X-Frame-Options": "DENY"} {
				if h.Get(name) != want {
					t.Errorf("%s: %s is %q, want %q", path, name, h.Get(name), want)
				}
			}
			if cc := h.Get("Cache-Control"); !strings.HasPrefix(path, "/static/") && path != "/favicon.ico" && cc != "no-store" {
				t.Errorf("%s: Cache-Control is %q", path, cc)
			}
		}
	}
}

func TestSessionRequired(t *testing.T) {
	k := consoletest.New(t, "")
	n := k.Join(k.Net.View().Owner().ID, consoletest.NewDevice("laptop", "linux"))
	code := k.Door.Wait(consoletest.NewDevice("tablet", "android"), "192.0.2.1")
	for _, path := range []string{"/", "/devices/" + n.ID.String(), "/connected/" + n.ID.String()} {
		k.Stranger().Get(path).Redirects("/signin").Hides("laptop")
	}
	for _, path := range []string{"/register/" + code + "/connect", "/register/" + code + "/reject", "/devices/" + n.ID.String() + "/approve"} {
		k.Stranger().Post(path, "hostname", "tablet").Is(http.StatusUnauthorized).Says("not signed in")
	}
	if _, err := k.Door.Pending(code); err != nil {
		t.Errorf("a stranger changed something: %v", err)
	}
	k.Stranger().Get("/admin").Redirects("/")
}

func TestSignInLeadsBack(t *testing.T) {
	k := consoletest.New(t, "")
	k.Owner()
	_, u := k.Member("bob", selvage.RoleMember)
	n := k.Join(u.ID, consoletest.NewDevice("laptop", "linux"))
	v := k.Stranger()
	v.Get("/devices/" + n.ID.String()).Redirects("/signin")
	v.Post("/welcome/" + k.Link(u.ID)).Redirects("/devices/" + n.ID.String())
	v.Get("/signin").Redirects("/")
}

func TestForgedRequestsAreRefused(t *testing.T) {
	k := consoletest.New(t, "")
	owner := k.Owner()
	_, u := k.Member("bob", selvage.RoleMember)
	link := k.Link(u.ID)
	k.ChangeSettings(func(s *selvage.Settings) { s.DeviceApproval = true })
	n := k.Join(u.ID, consoletest.NewDevice("laptop", "linux"))
	code := k.Door.Wait(consoletest.NewDevice("tablet", "android"), "192.0.2.1")
	for _, path := range []string{
		"/register/" + code + "/connect", "/register/" + code + "/reject", "/devices/" + n.ID.String() + "/approve",
		"/welcome/" + link, "/signout",
	} {
		owner.PostFrom("https://evil.example", path, "hostname", "tablet").Is(http.StatusForbidden).Says("came from another site")
	}
	// Over plain HTTP browsers tell nothing but the origin.
	r := owner.FormRequest("/signout")
	r.Host = "vpn.example.com"
	r.Header.Set("Origin", "http://evil.example")
	w := httptest.NewRecorder()
	k.Handler.ServeHTTP(w, r)
	if w.Code != http.StatusForbidden {
		t.Errorf("a form of another origin got status %d", w.Code)
	}
	if _, err := k.Door.Pending(code); err != nil {
		t.Errorf("a forged request changed something: %v", err)
	}
	if k.Net.View().Node(n.ID).Approved {
		t.Error("a forged request approved a device")
	}
	owner.Get("/").Is(http.StatusOK)
	k.Stranger().Post("/welcome/" + link).Redirects("/") // the link is still good
}

func TestPublicOriginIsTrusted(t *testing.T) {
	k := consoletest.New(t, "https://vpn.example.com")
	v := k.Owner()
	v.Host = "10.0.0.5:8080" // as a proxy may ask
	r := v.FormRequest("/signout")
	r.Host = v.Host
	r.Header.Set("Origin", "https://vpn.example.com")
	w := httptest.NewRecorder()
	k.Handler.ServeHTTP(w, r)
	if w.Code != http.StatusSeeOther {
		t.Errorf("a form of the public address got status %d", w.Code)
	}
}

func TestCookies(t *testing.T) {
	for _, tt := range []struct {
		name, url, cookie string
		secure            bool
	}{
		{"plain HTTP", "", "selvage-session", false},
		{"HTTPS", "https://vpn.example.com", "__Host-selvage-session", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := consoletest.New(t, tt.url)
			v := k.Owner()
			c := v.Cookies[tt.cookie]
			if c == nil {
				t.Fatalf("there is no cookie %s, but %v", tt.cookie, v.Cookies)
			}
			if !c.HttpOnly || c.Secure != tt.secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 7*24*60*60 {
				t.Errorf("the cookie is %v", c)
			}
			v.Get("/").Is(http.StatusOK)
		})
	}
}

func TestLinksLeadSomewhere(t *testing.T) {
	k := consoletest.New(t, "")
	owner := k.Owner()
	k.ChangeSettings(func(s *selvage.Settings) { s.DeviceApproval = true })
	id := k.Net.View().Owner().ID
	n := k.Join(id, consoletest.NewDevice("laptop", "linux"))
	code := k.Door.Wait(consoletest.NewDevice("tablet", "android"), "192.0.2.1")
	for _, v := range []*consoletest.Visitor{owner, k.Stranger()} {
		for _, path := range pages(code, n.ID.String()) {
			a := v.Get(path)
			if a.Doc == nil {
				continue
			}
			links, forms := a.Links()
			for _, l := range links {
				if got := v.Get(l); got.Status != http.StatusOK && got.Status != http.StatusSeeOther {
					t.Errorf("%s has a link to %s, which has status %d", path, l, got.Status)
				}
			}
			for _, f := range forms {
				if f == "/signout" || f == "/" {
					continue
				}
				// Refused as forged, so it is served, and nothing happens.
				if got := v.PostFrom("https://evil.example", f); got.Status != http.StatusForbidden {
					t.Errorf("%s has a form to %s, which has status %d", path, f, got.Status)
				}
			}
		}
	}
}

func TestErrorsAreTold(t *testing.T) {
	k := consoletest.New(t, "")
	owner := k.Owner()
	t.Run("what people may know is on the page", func(t *testing.T) {
		owner.Get("/devices/77").Is(http.StatusNotFound).Says("Nothing here", "There is no device with this number")
		owner.Get("/no/such").Is(http.StatusNotFound).Says("There is no page at this address")
		owner.Post("/signin").Is(http.StatusNotFound)
	})
	t.Run("the rest is in the log", func(t *testing.T) {
		k.Door.Break(errors.New("dial 10.1.2.3: secret trouble"))
		defer k.Door.Break(nil)
		a := owner.Get("/register/c0dec0dec0de").Is(http.StatusInternalServerError).Says("Something went wrong").Hides("10.1.2.3", "secret trouble")
		log := k.Log.String()
		if !strings.Contains(log, "secret trouble") || strings.Contains(log, "c0dec0dec0de") {
			t.Errorf("the log has %q", log)
		}
		_, id, ok := strings.Cut(a.Text, "this number: ")
		if !ok || len(id) < 8 || !strings.Contains(log, id[:8]) {
			t.Errorf("the page's number %q is not in the log %q", id, log)
		}
	})
}

func TestSuspendedUsersAreOut(t *testing.T) {
	k := consoletest.New(t, "")
	k.Owner()
	v, u := k.Member("bob", selvage.RoleMember)
	link := k.Link(u.ID)
	if err := k.Net.UpdateUser(t.Context(), selvage.Local(), u.ID, func(u *selvage.User) { u.Suspended = true }); err != nil {
		t.Fatal(err)
	}
	v.Get("/").Is(http.StatusForbidden).Says("User bob is suspended")
	k.Stranger().Post("/welcome/" + link).Is(http.StatusNotFound).Says("suspended")
	if err := k.Net.DeleteUser(t.Context(), selvage.Local(), u.ID); err != nil {
		t.Fatal(err)
	}
	v.Get("/").Redirects("/signin")
}

func TestPatternsFitTogether(t *testing.T) {
	mux := http.NewServeMux()
	h := consoletest.New(t, "").Handler
	for _, p := range console.Patterns() {
		mux.Handle(p, h) // panics if two are alike
	}
	for _, path := range pages("code", "1") {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code == http.StatusMovedPermanently {
			t.Errorf("%s is sent to %s by the mux", path, w.Header().Get("Location"))
		}
	}
}

func TestAssetsMayBeKept(t *testing.T) {
	k := consoletest.New(t, "")
	v := k.Stranger()
	links, _ := v.Get("/signin").Links()
	marked := 0
	for _, l := range links {
		if !strings.HasPrefix(l, "/static/") {
			continue
		}
		marked++
		a := v.Get(l).Is(http.StatusOK)
		if !strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s has Cache-Control %q", l, a.Header.Get("Cache-Control"))
		}
		old, _, _ := strings.Cut(l, "?")
		if cc := v.Get(old + "?v=000000000000").Header.Get("Cache-Control"); strings.Contains(cc, "immutable") {
			t.Errorf("an old mark of %s has Cache-Control %q", old, cc)
		}
	}
	if marked < 3 {
		t.Errorf("the page has %d files of the look, want at least 3", marked)
	}
}
