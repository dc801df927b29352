package certs

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

type challengeFunc func(http.ResponseWriter, *http.Request) bool

func noChallenge(http.ResponseWriter, *http.Request) bool { return false }

// plainPaths are served on port 80 as they are: clients dial there first, on some
// networks nothing else gets through, and what is secret in them is encrypted by
// other means. A path that ends in a slash stands for all below it.
var plainPaths = []string{"/ts2021", "/key", "/derp", "/derp/", "/generate_204", "/bootstrap-dns"}

func servedPlain(path string) bool {
	for _, p := range plainPaths {
		if path == p || strings.HasSuffix(p, "/") && strings.HasPrefix(path, p) {
			return true
		}
	}
	return false
}

// HTTPHandler is for the plain HTTP port. It answers an authority's challenges,
// hands what clients need there to app, and redirects all else to HTTPS on the
// given port; zero is 443.
func (m *Manager) HTTPHandler(app http.Handler, httpsPort int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m.challenge(w, r) {
			return
		}
		if servedPlain(r.URL.Path) {
			app.ServeHTTP(w, r)
			return
		}
		// The connection may be the client's last on this port.
		w.Header().Set("Connection", "close")
		http.Redirect(w, r, m.secureURL(r, httpsPort), http.StatusPermanentRedirect)
	})
}

// secureURL never leads to a host that isn't ours, whatever the request says.
func (m *Manager) secureURL(r *http.Request, port int) string {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	u := url.URL{Scheme: "https", Host: m.hostOf(host), Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	if port != 0 && port != 443 {
		u.Host = net.JoinHostPort(u.Host, strconv.Itoa(port))
	}
	if !strings.HasPrefix(u.Path, "/") {
		u.Path, u.RawPath = "/", "" // OPTIONS *, CONNECT
	}
	return u.String()
}
