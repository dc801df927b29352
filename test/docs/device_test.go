package docs

import (
	"context"
	"fmt"
	"net/netip"
	"path"
	"path/filepath"
	"time"

	"tailscale.com/client/local"
	"tailscale.com/envknob"
	"tailscale.com/ipn"
	"tailscale.com/tsnet"
	"tailscale.com/types/logger"

	"selvage/test/natlab"
)

// joinTime bounds the start of a device.
const joinTime = time.Minute

// device is a real client engine in this process.
type device struct {
	ts    *tsnet.Server
	local *local.Client
}

func init() {
	// They speak to the page's server and nobody else, and need no network but the
	// loopback.
	envknob.SetNoLogsNoSupport()
	envknob.Setenv("TS_ASSUME_NETWORK_UP_FOR_TEST", "1")
	envknob.Setenv("TS_DISABLE_PORTMAPPER", "1")
}

// device makes a device that has not joined.
func (s *stage) device(name, key string) *device {
	s.Helper()
	d := &device{ts: &tsnet.Server{
		Dir: filepath.Join(s.dir, "device-"+name), Hostname: name, ControlURL: s.url, AuthKey: key,
		Logf: logger.Discard, UserLogf: logger.Discard,
	}}
	s.ok(d.ts.Start())
	s.Cleanup(func() { d.ts.Close() })
	lc, err := d.ts.LocalClient()
	s.ok(err)
	d.local = lc
	return d
}

// join joins a device with a key that is made with the flags.
func (s *stage) join(name string, flags ...string) *device {
	s.Helper()
	d := s.device(name, s.selvage(append([]string{"key", "create"}, flags...)...))
	ctx, cancel := context.WithTimeout(s.Context(), joinTime)
	defer cancel()
	_, err := d.ts.Up(ctx)
	s.ok(err)
	return d
}

// offer makes a device offer routes, and waits until the server knows.
func (s *stage) offer(d *device, routes ...netip.Prefix) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), joinTime)
	defer cancel()
	_, err := d.local.EditPrefs(ctx, &ipn.MaskedPrefs{Prefs: ipn.Prefs{AdvertiseRoutes: routes}, AdvertiseRoutesSet: true})
	s.ok(err)
	s.ok(natlab.Poll(ctx, 50*time.Millisecond, func() error {
		for _, r := range routes {
			if list := s.selvage("route", "list", "--json"); !containsText(list, r.String()) {
				return fmt.Errorf("the server does not know of %v: %s", r, list)
			}
		}
		return nil
	}))
}

// code returns the code of a device that waits for a person.
func (s *stage) code() string {
	s.Helper()
	if s.waiting == nil {
		s.waiting = s.device("waiting", "")
	}
	ctx, cancel := context.WithTimeout(s.Context(), joinTime)
	defer cancel()
	var code string
	s.ok(natlab.Poll(ctx, 50*time.Millisecond, func() error {
		st, err := s.waiting.local.StatusWithoutPeers(ctx)
		if err != nil {
			return err
		}
		if st.AuthURL == "" {
			return fmt.Errorf("the device is in state %s and has no link", st.BackendState)
		}
		code = path.Base(st.AuthURL)
		return nil
	}))
	return code
}
