package server

import (
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"selvage/internal/api/admin"
	"selvage/internal/relay"
)

// routes says which path of the main listener leads where.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	ctl := s.control.Handler()
	mux.Handle("/key", ctl)
	mux.Handle("/ts2021", ctl)
	if s.relay != nil {
		h := s.relay.Handler()
		for _, path := range []string{"/derp", "/derp/", "/generate_204", "/bootstrap-dns"} {
			mux.Handle(path, h)
		}
	}
	mux.Handle("/verify", relay.VerifyHandler(s.admit, s.log))
	mux.Handle("/relay/announce", relay.AnnounceHandler(s.relays, s.announced, s.log))
	mux.HandleFunc("GET /healthz", serveHealthy)
	mux.HandleFunc("GET /readyz", s.serveReady)
	mux.Handle("GET /metrics", s.ownHosts(allowed(s.cfg.Metrics.Allow, s.serveMetrics())))
	mux.Handle(admin.Prefix+"/", s.ownHosts(s.admin.Remote()))
	mux.Handle("/", s.ownHosts(s.consolePages()))
	return boundBody(mux)
}

// socketRoutes says what the unix socket serves: only who may open it comes here.
func (s *Server) socketRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(admin.Prefix+"/", s.admin.Local())
	mux.HandleFunc("GET /healthz", serveHealthy)
	mux.HandleFunc("GET /readyz", s.serveReady)
	mux.Handle("GET /metrics", s.serveMetrics())
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

func (s *Server) serveMetrics() http.Handler {
	return promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{Timeout: checkTimeout})
}
