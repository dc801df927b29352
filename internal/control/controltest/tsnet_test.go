package controltest_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"tailscale.com/envknob"
	"tailscale.com/ipn/store/mem"
	"tailscale.com/tailcfg"
	"tailscale.com/tsnet"
	"tailscale.com/types/logger"

	"selvage"
	"selvage/internal/control/controltest"
	"selvage/internal/netmap"
)

// A real client hands out its metrics without being asked for its consent (rule 6 of
// the clients' protocol), and answers over the connection that it has already.
func TestRule6MetricsOfARealClient(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a whole client")
	}
	envknob.SetNoLogsNoSupport()
	for name, value := range map[string]string{
		"TS_PANIC_IF_HIT_MAIN_CONTROL":  "true",
		"TS_ASSUME_NETWORK_UP_FOR_TEST": "1",
		"TS_DISABLE_PORTMAPPER":         "1",
	} {
		envknob.Setenv(name, value)
	}
	s := controltest.New(t, controltest.Options{})
	s.SetDERPMap(&tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{}}) // nobody to call
	state, err := mem.New(logger.Discard, "")
	if err != nil {
		t.Fatal(err)
	}
	client := &tsnet.Server{
		Dir: t.TempDir(), Store: state, Hostname: "client", ControlURL: s.URL(),
		AuthKey: s.AuthKey(selvage.AuthKey{}), Ephemeral: true, Logf: logger.Discard, UserLogf: logger.Discard,
	}
	t.Cleanup(func() { client.Close() })
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*controltest.Timeout)
	defer cancel()
	node := online(ctx, t, s)
	for _, test := range []struct{ method, path, says string }{
		{"GET", "/debug/metrics", "magicsock_send_data_bytes_derp"},
		{"POST", "/echo", "hello"},
	} {
		resp, err := s.C2N(ctx, selvage.Local(), s.Net, node, test.method, test.path, []byte("hello"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), test.says) {
			t.Errorf("%s: got %s, %v with %d bytes", test.path, resp.Status, err, len(body))
		}
	}
}

// online waits for a device to connect.
func online(ctx context.Context, t *testing.T, s *controltest.Server) *netmap.Node {
	for {
		v := s.Net.View()
		for n := range v.Nodes() {
			if n.Online {
				return n
			}
		}
		select {
		case <-v.Superseded():
		case <-ctx.Done():
			t.Fatal("the client does not connect")
		}
	}
}
