package natlab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// clientSocket is where tailscaled serves its local API, in the host's own /run.
const clientSocket = "/run/tailscale/tailscaled.sock"

// Client is an official tailscaled that runs on a host, with the default
// paths of its state and its socket: the host has its own /var and /run.
type Client struct {
	*Host
	*Proc
	config ClientConfig
	http   *http.Client
}

// ClientConfig says how to run tailscaled.
type ClientConfig struct {
	Tailscaled, Tailscale string    // the two programs
	CAFile                string    // authority that signed the server's certificates; empty: none is trusted
	Userspace             bool      // no TUN device
	Env                   []string  // more environment variables
	Log                   io.Writer // what tailscaled prints
}

// StartClient starts tailscaled on the host and waits until it answers. It does
// not log in.
func (h *Host) StartClient(ctx context.Context, c ClientConfig) (*Client, error) {
	cl := &Client{Host: h, config: c, http: &http.Client{
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", h.Path(clientSocket))
		}},
	}}
	return cl, cl.Restart(ctx)
}

// Restart starts tailscaled again after it was stopped or killed.
func (c *Client) Restart(ctx context.Context) error {
	args := []string{c.config.Tailscaled, "--port=41641"}
	if c.config.Userspace {
		args = append(args, "--tun=userspace-networking", "--socks5-server=localhost:1055", "--outbound-http-proxy-listen=localhost:1056")
	}
	p, err := c.Start(c.config.Log, c.env(), args...)
	if err != nil {
		return err
	}
	c.Proc = p
	return Poll(ctx, 10*time.Millisecond, func() error { _, err := c.Status(ctx); return err })
}

// env is what both programs need: the command probes relays in its own process.
func (c *Client) env() []string {
	ca := c.config.CAFile
	if ca == "" {
		ca = "/dev/null"
	}
	return append([]string{
		"TS_NO_LOGS_NO_SUPPORT=true",        // no log uploads
		"TS_PANIC_IF_HIT_MAIN_CONTROL=true", // an address of the hosted service in a reply is a bug of ours
		"SSL_CERT_FILE=" + ca,
		"SSL_CERT_DIR=/nonexistent",
	}, c.config.Env...)
}

// Up logs in with a pre-authentication key and waits until the client runs.
func (c *Client) Up(ctx context.Context, server, authKey string, flags ...string) error {
	_, err := c.Tailscale(ctx, append([]string{"up", "--login-server=" + server, "--auth-key=" + authKey, "--timeout=60s"}, flags...)...)
	return err
}

// Tailscale runs the command line client on the host and returns what it printed
// on standard output; the error has what it printed on standard error.
func (c *Client) Tailscale(ctx context.Context, args ...string) (string, error) {
	cmd := c.Command(ctx, append([]string{c.config.Tailscale}, args...)...)
	cmd.Env = append(cmd.Env, c.env()...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: tailscale %s: %w: %s%s", c.Name, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out), err
}

// StartTailscale starts the command line client on the host with its output going
// to w, for a command that waits for something.
func (c *Client) StartTailscale(w io.Writer, args ...string) (*Proc, error) {
	return c.Start(w, c.env(), append([]string{c.config.Tailscale}, args...)...)
}

// Peer is what the engine says of another node, or of its own.
type Peer struct {
	HostName      string
	DNSName       string   // with the final dot
	TailscaleIPs  []string // IPv4 first
	UserID        int64
	Tags          []string
	PrimaryRoutes []string // the routes that go to this node
	AllowedIPs    []string
	CurAddr       string // the address in use for direct traffic, or empty
	Relay         string // region code of the home relay
	Online        bool
	Active        bool
	ExitNode      bool
	Expired       bool
}

// Status is the engine's state.
type Status struct {
	BackendState   string // "Running", "NeedsLogin", "Stopped", ...
	AuthURL        string
	Health         []string
	Self           Peer
	Peer           map[string]Peer // by node key
	MagicDNSSuffix string
	User           map[string]struct{ LoginName, DisplayName string } // by user ID
}

// Status asks the engine's local API.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	var s Status
	return &s, c.localAPI(ctx, "status", &s)
}

func (c *Client) localAPI(ctx context.Context, path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://local-tailscaled.sock/localapi/v0/"+path, nil)
	if err != nil {
		return fmt.Errorf("%s: local API %s: %w", c.Name, path, err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s: local API %s: %w", c.Name, path, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: local API %s: %s", c.Name, path, res.Status)
	}
	if err := json.NewDecoder(res.Body).Decode(v); err != nil {
		return fmt.Errorf("%s: local API %s: %w", c.Name, path, err)
	}
	return nil
}

// IP4 is the node's address in the tailnet.
func (c *Client) IP4(ctx context.Context) (string, error) {
	s, err := c.Status(ctx)
	if err != nil {
		return "", err
	}
	for _, ip := range s.Self.TailscaleIPs {
		if !strings.Contains(ip, ":") {
			return ip, nil
		}
	}
	return "", fmt.Errorf("%s: no address yet", c.Name)
}

// Peer returns what the engine says of the node with this address.
func (c *Client) Peer(ctx context.Context, ip string) (Peer, error) {
	s, err := c.Status(ctx)
	if err != nil {
		return Peer{}, err
	}
	for _, p := range s.Peer {
		for _, a := range p.TailscaleIPs {
			if a == ip {
				return p, nil
			}
		}
	}
	return Peer{}, fmt.Errorf("%s: no peer %s", c.Name, ip)
}

// AwaitDirect waits until traffic to the address goes without a relay (or,
// with want false, until it goes through one) and says how long that took.
// There must be traffic meanwhile.
func (c *Client) AwaitDirect(ctx context.Context, ip string, want bool) (time.Duration, Peer, error) {
	start := time.Now()
	var p Peer
	err := Poll(ctx, 20*time.Millisecond, func() (err error) {
		if p, err = c.Peer(ctx, ip); err != nil {
			return err
		}
		if (p.CurAddr != "") != want {
			return fmt.Errorf("%s to %s: address %q, relay %q", c.Name, ip, p.CurAddr, p.Relay)
		}
		return nil
	})
	return time.Since(start), p, err
}
