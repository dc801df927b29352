package server

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"selvage/internal/netmap"
)

// ownHosts lets only requests through that are for a name of this server, and answers
// others with 421: a page in a browser can make any name of its own lead here (DNS
// rebinding). A server without a public name is reached at addresses and at names of
// the local network.
func (s *Server) ownHosts(h http.Handler) http.Handler {
	names := s.hostNames()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := strings.ToLower(hostOnly(r.Host))
		if !slices.Contains(names, host) && !s.meshName(host) && !(s.cfg.PublicURL() == "" && localName(host)) {
			http.Error(w, "This server is not known as "+host+". If it should be, set url in its configuration.", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// meshName reports whether a host is a name in one of the tailnets.
func (s *Server) meshName(host string) bool {
	return slices.ContainsFunc(s.hub.Nets(), func(n *netmap.Net) bool {
		return strings.HasSuffix(host, "."+n.View().Domain())
	})
}

// hostNames are the names that the server was given.
func (s *Server) hostNames() []string {
	names := []string{"localhost"}
	if s.cfg.Hostname != "" {
		names = append(names, strings.ToLower(s.cfg.Hostname))
	}
	if u, err := url.Parse(s.cfg.PublicURL()); err == nil && u.Host != "" {
		names = append(names, strings.ToLower(u.Hostname()))
	}
	if name, err := os.Hostname(); err == nil {
		names = append(names, strings.ToLower(name))
	}
	return names
}

// localName reports whether a host is an address, or a name that no outsider can own:
// one without a dot, or in a zone that is kept for local networks.
func localName(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil || !strings.Contains(host, ".") {
		return true
	}
	for _, zone := range []string{".local", ".lan", ".internal", ".home.arpa", ".test", ".localhost"} {
		if strings.HasSuffix(host, zone) {
			return true
		}
	}
	return false
}

// hostOnly strips the port and the brackets of an IPv6 address.
func hostOnly(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}
