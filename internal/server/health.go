package server

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"
)

// checkTimeout bounds a readiness check.
const checkTimeout = 2 * time.Second

// serveHealthy says that the process runs.
func serveHealthy(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Write([]byte(`{"status":"ok"}` + "\n"))
}

// serveReady says whether the server can do its work: it is not about to stop, and
// the database answers.
func (s *Server) serveReady(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	answer := map[string]string{"status": "ok"}
	status := http.StatusOK
	if err := s.db.Ping(ctx); err != nil {
		s.log.Warn("not ready", "err", err)
		answer, status = map[string]string{"status": "unavailable", "reason": "the database does not answer"}, http.StatusServiceUnavailable
	}
	select {
	case <-s.stopping:
		answer, status = map[string]string{"status": "unavailable", "reason": "the server is stopping"}, http.StatusServiceUnavailable
	default:
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(answer)
}

// forwarded are the headers by which proxies say for whom they ask.
var forwarded = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via"}

// allowed lets only the given networks through, and nobody who comes by a proxy:
// behind one, everybody's address is the proxy's.
func allowed(networks []netip.Prefix, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		addr, err := netip.ParseAddr(host)
		in := func(p netip.Prefix) bool { return p.Contains(addr.Unmap()) }
		proxied := slices.ContainsFunc(forwarded, func(name string) bool { return r.Header.Get(name) != "" })
		if err != nil || proxied || !slices.ContainsFunc(networks, in) {
			http.Error(w, "not from here; see metrics.allow in the configuration", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}
