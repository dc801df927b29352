package server

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/version"

	"selvage"
	"selvage/internal/api/admin"
	"selvage/internal/console"
	"selvage/internal/console/site"
	"selvage/internal/netmap"
)

// Version is the release, set by the linker; the commit comes from the build itself.
var Version = "devel"

// BuildVersion says what program this is.
func BuildVersion() admin.Version {
	v := admin.Version{Version: Version, Tailscale: version.Short()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Go = info.GoVersion
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Commit = s.Value
		}
	}
	for _, dep := range info.Deps {
		if dep.Path == "tailscale.com" {
			v.Tailscale = strings.TrimPrefix(dep.Version, "v")
		}
	}
	return v
}

// adminAPI is what the command line speaks to.
func (s *Server) adminAPI() *admin.Server {
	return admin.New(admin.Options{
		Hub: s.hub, DB: s.db, Logger: s.log, Version: BuildVersion(),
		URL: s.URL, Status: s.status, Config: s.cfg.Values,
		Register:      s.control.Admit,
		Ping:          s.ping,
		RelaysChanged: func(ctx context.Context, _ []*selvage.Relay) { s.RelaysChanged(ctx) },
	})
}

// consolePages are what people see in a browser.
func (s *Server) consolePages() http.Handler {
	return console.New(console.Options{
		Options: site.Options{
			Hub: s.hub, DB: s.db, Logger: s.log, PublicURL: s.cfg.PublicURL(), Version: BuildVersion().Version,
		},
		Door: console.Door{Pending: s.pendingDevice, Admit: s.control.Admit, AdmitSeen: s.control.AdmitSeen, Reject: s.control.Reject},
	}).Handler()
}

func (s *Server) pendingDevice(code string) (console.Device, error) {
	p, err := s.control.Pending(code)
	return console.Device{
		Code: p.Code, Hostname: p.Hostname, OS: p.OS, Client: p.Client,
		Tags: p.Tags, Address: p.Address, Since: p.Since, Seen: p.Seen,
	}, err
}

func (s *Server) ping(ctx context.Context, actor selvage.Actor, n *netmap.Net, node *netmap.Node, to netip.Addr, kind string) (admin.Pong, error) {
	resp, err := s.control.PingAs(ctx, actor, n, node, to, tailcfg.PingType(kind))
	if err != nil {
		return admin.Pong{}, err
	}
	return admin.Pong{
		LatencySeconds: resp.LatencySeconds, Endpoint: resp.Endpoint, Relay: resp.DERPRegionCode, Error: resp.Err,
	}, nil
}

// status is what the server knows of itself.
func (s *Server) status(context.Context) admin.ServerStatus {
	st := admin.ServerStatus{Started: s.started.UTC(), Listening: []string{s.listen.address.String()}}
	if s.stun != nil {
		st.Listening = append(st.Listening, fmt.Sprintf("UDP port %d (STUN)", s.stun.Port()))
	}
	for _, n := range s.hub.Nets() {
		if v := n.View(); v.Policy.Problem != nil {
			st.Problems = append(st.Problems, fmt.Sprintf("tailnet %s: %v", v.Tailnet.Name, v.Policy.Problem))
		}
	}
	for _, src := range s.regions.Status() {
		if src.Err != nil {
			st.Problems = append(st.Problems, fmt.Sprintf("relay map %s was not loaded: %v", src.Source, src.Err))
		}
	}
	if s.listen.manager != nil {
		for _, c := range s.listen.manager.Status() {
			if c.Err != nil {
				st.Problems = append(st.Problems, fmt.Sprintf("certificate of %s: %v", c.Host, c.Err))
			} else if !c.Expires.IsZero() && time.Until(c.Expires) < 7*24*time.Hour {
				st.Problems = append(st.Problems, fmt.Sprintf("certificate of %s ends on %s and was not renewed", c.Host, c.Expires.Format(time.DateOnly)))
			}
		}
	}
	if host := s.publicPlainHost(); host != "" {
		st.Problems = append(st.Problems, plainHTTPProblem(host))
	}
	return st
}

func plainHTTPProblem(host string) string {
	return fmt.Sprintf("clients reach this server as http://%s: after an interruption they come back to names and public addresses by HTTPS only; set hostname in the configuration to get HTTPS, or url if a proxy does it", host)
}

// publicPlainHost returns a name or public address at which a connected device has
// dialled the server by plain HTTP. Clients log in that way, but don't come back.
func (s *Server) publicPlainHost() string {
	if s.cfg.PublicURL() != "" {
		return ""
	}
	for _, host := range s.control.DialledHosts() {
		if !isPrivateHost(host) {
			return host
		}
	}
	return ""
}

// watchPlainHTTP writes it into the log once when devices come by plain HTTP to where
// they will not come back to.
func (s *Server) watchPlainHTTP(ctx context.Context) error {
	tick := time.NewTicker(recheckInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if host := s.publicPlainHost(); host != "" {
				s.log.Warn(plainHTTPProblem(host))
				return nil
			}
		}
	}
}

// isPrivateHost reports whether clients use plain HTTP alone for a host.
func isPrivateHost(hostport string) bool {
	host := hostOnly(hostport)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && (ip.IsPrivate() || ip.IsLoopback())
}
