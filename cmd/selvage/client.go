package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"selvage"
	"selvage/internal/api/admin"
	"selvage/internal/config"
)

const (
	// dialTimeout bounds the wait for a connection.
	dialTimeout = 10 * time.Second
	// requestTimeout bounds a request that is no stream; the server's own bound is
	// shorter, so that its explanation is heard.
	requestTimeout = 60 * time.Second
	// maxAnswer is the longest answer that is taken in, in bytes; 10,000 devices
	// make about 10 MB.
	maxAnswer = 256 << 20
)

// client speaks to a server.
type client struct {
	http    *http.Client
	base    string // of the API
	token   string // empty on the socket
	tailnet string
	place   string // for errors: the socket or the URL
	dataDir string // empty over the network
}

// client returns the way to the server: its socket, or with SELVAGE_URL and
// SELVAGE_TOKEN the network, unless flags name a socket.
func (sh *shell) client() (*client, error) {
	c := &client{tailnet: sh.global.tailnet}
	if c.tailnet == "" {
		c.tailnet = sh.getenv("SELVAGE_TAILNET")
	}
	c.token = sh.getenv("SELVAGE_TOKEN")
	address := strings.TrimSuffix(sh.getenv("SELVAGE_URL"), "/")
	if sh.global.dataDir != "" || sh.global.socket != "" || c.token == "" {
		c.token = ""
		c.onSocket(sh.server())
		return c, nil
	}
	if address == "" {
		return nil, usagef("SELVAGE_TOKEN is set but SELVAGE_URL is not: set it to the server's URL, such as https://vpn.example.com")
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, usagef("SELVAGE_URL is %q: want a URL such as https://vpn.example.com", address)
	}
	c.place, c.base = address, address+admin.Prefix
	c.http = &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSHandshakeTimeout: dialTimeout,
		},
		// A redirect could lead the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// server returns the data folder and the socket of the server on this machine.
func (sh *shell) server() (dataDir, socket string) {
	s := sh.source()
	dataDir = config.DataDir(s)
	socket = filepath.Join(dataDir, "selvage.sock")
	// A configuration that cannot be read, or is wrong, is the server's trouble.
	if l, err := config.Load(s); err == nil {
		dataDir, socket = l.DataDir, l.Socket
	}
	if sh.global.socket != "" {
		socket = sh.global.socket
	}
	return dataDir, socket
}

// source returns where settings come from, with the data folder of the flag.
func (sh *shell) source() config.Source {
	s := config.Source{Environ: sh.environ, UID: sh.uid}
	if sh.global.dataDir != "" {
		s.Environ = append(s.Environ[:len(s.Environ):len(s.Environ)], config.Variable("data_dir")+"="+sh.global.dataDir)
		if sh.global.socket == "" {
			s.Environ = append(s.Environ, config.Variable("socket")+"=")
		}
	}
	return s
}

func (c *client) onSocket(dataDir, socket string) {
	c.place, c.dataDir, c.base = socket, dataDir, "http://selvage"+admin.Prefix
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			d := net.Dialer{Timeout: dialTimeout}
			return d.DialContext(ctx, "unix", socket)
		},
	}}
}

// send makes a request and returns the answer if it is a good one. The caller closes
// its body.
func (c *client) send(ctx context.Context, method, path string, query url.Values, body any, header http.Header) (*http.Response, error) {
	var text io.Reader = http.NoBody
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		text = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, text)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if query == nil {
		query = url.Values{}
	}
	if c.tailnet != "" {
		query.Set("tailnet", c.tailnet)
	}
	req.URL.RawQuery = query.Encode()
	for name, values := range header {
		req.Header[name] = values
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, c.refused(resp)
}

// unreachable explains why there was no answer.
func (c *client) unreachable(ctx context.Context, err error) error {
	var inner *url.Error
	if errors.As(err, &inner) {
		err = inner.Err
	}
	switch {
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		return errors.New("interrupted")
	case c.dataDir == "":
		return unreachableError{fmt.Sprintf("the server at %s does not answer: %v; check SELVAGE_URL and the network", c.place, err)}
	case errors.Is(err, fs.ErrNotExist):
		return unreachableError{fmt.Sprintf("no server is running: there is no socket %s; start it with `selvage serve --data-dir %s`, or say where it is with --data-dir, --socket, or SELVAGE_URL and SELVAGE_TOKEN", c.place, c.dataDir)}
	case errors.Is(err, syscall.ECONNREFUSED):
		return unreachableError{fmt.Sprintf("no server is running: nobody listens on the socket %s; start it with `selvage serve --data-dir %s`", c.place, c.dataDir)}
	case errors.Is(err, fs.ErrPermission):
		return selvage.Errorf(selvage.KindDenied, "this user may not open the socket %s; run the command as the user that the server runs as, or as root", c.place)
	}
	return unreachableError{fmt.Sprintf("the server on the socket %s does not answer: %v; look at its log", c.place, err)}
}

// refusal is an answer that is an error, with the places in a policy that it is about.
type refusal struct {
	error
	problems []admin.Problem
}

// Unwrap returns the error, which has the kind.
func (r *refusal) Unwrap() error { return r.error }

// refused makes an error of an answer.
func (c *client) refused(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var body admin.ErrorBody
	if err != nil || json.Unmarshal(text, &body) != nil || body.Error.Kind == "" {
		what := resp.Status
		if to := resp.Header.Get("Location"); to != "" {
			what += " to " + to
		}
		return unreachableError{fmt.Sprintf("%s does not speak the admin API of Selvage (it answers %s); check SELVAGE_URL", c.place, what)}
	}
	for _, kind := range []selvage.Kind{
		selvage.KindInvalid, selvage.KindUnauthenticated, selvage.KindDenied,
		selvage.KindNotFound, selvage.KindConflict, selvage.KindBusy,
	} {
		if body.Error.Kind == kind.String() {
			return &refusal{selvage.Errorf(kind, "%s", body.Error.Message), body.Error.Problems}
		}
	}
	return &refusal{errors.New(body.Error.Message), nil}
}

// call makes a request of the server and decodes the answer.
func call[T any](ctx context.Context, sh *shell, method, path string, query url.Values, body any) (T, error) {
	var answer T
	c, err := sh.client()
	if err != nil {
		return answer, err
	}
	return callOn[T](ctx, c, method, path, query, body, nil)
}

func callOn[T any](ctx context.Context, c *client, method, path string, query url.Values, body any, header http.Header) (T, error) {
	var answer T
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := c.send(ctx, method, path, query, body, header)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&answer); err != nil {
		return answer, fmt.Errorf("read the answer of %s: %w", c.place, err)
	}
	return answer, nil
}

func get[T any](ctx context.Context, sh *shell, path string, query url.Values) (T, error) {
	return call[T](ctx, sh, http.MethodGet, path, query, nil)
}

func post[T any](ctx context.Context, sh *shell, path string, body any) (T, error) {
	return call[T](ctx, sh, http.MethodPost, path, nil, body)
}

// in makes a path of words from people.
func in(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("/" + url.PathEscape(p))
	}
	return b.String()
}

// show prints an answer: as JSON if that was asked for, or as people writes it.
func (sh *shell) show(v any, people func(w io.Writer) error) error {
	if !sh.global.json {
		return people(sh.out)
	}
	enc := json.NewEncoder(sh.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// say prints a line for people, and an answer for programs.
func (sh *shell) say(v any, format string, args ...any) error {
	return sh.show(v, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, printable(fmt.Sprintf(format, args...)))
		return err
	})
}
