package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"tailscale.com/tailcfg"

	"selvage"
)

// PublicMapURL has the map of the public relays that Tailscale runs. They are used
// only if the operator lists it among the sources.
const PublicMapURL = "https://controlplane.tailscale.com/derpmap/default"

// sourceTimeout bounds one attempt to load a source.
const sourceTimeout = 20 * time.Second

// SourceStatus says how it stands with one source of regions.
type SourceStatus struct {
	Source  string
	Regions int       // in the map that is in use
	Loaded  time.Time // when that map was loaded; zero if it never was
	Err     error     // of the last attempt; nil if it went well
}

// source is a file or URL with a region map. Its owner guards the fields.
type source struct {
	at     string
	m      *tailcfg.DERPMap // the last good one; nil if there was none yet
	loaded time.Time
	err    error
}

func isURL(at string) bool {
	return strings.HasPrefix(at, "http://") || strings.HasPrefix(at, "https://")
}

func checkSource(at string) error {
	if at == "" {
		return selvage.Errorf(selvage.KindInvalid, "empty source of relay regions; name a file or an http(s) URL")
	}
	if isURL(at) {
		if u, err := url.Parse(at); err != nil || u.Host == "" {
			return selvage.Errorf(selvage.KindInvalid, "source of relay regions %q is not a good URL", at)
		}
	} else if strings.Contains(at, "://") {
		return selvage.Errorf(selvage.KindInvalid, "source of relay regions %q: use a file, http:// or https://", at)
	}
	return nil
}

// load reads and checks the map at the file or URL.
func load(ctx context.Context, client *http.Client, at string) (*tailcfg.DERPMap, error) {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	read := readFile
	if isURL(at) {
		read = func(at string) ([]byte, error) { return fetch(ctx, client, at) }
	}
	text, err := read(at)
	if err == nil {
		var m *tailcfg.DERPMap
		// People write files; others add fields to what is behind a URL.
		if m, err = ParseMap(text, !isURL(at)); err == nil {
			return m, nil
		}
	}
	return nil, fmt.Errorf("load relay regions from %s: %w", at, err)
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// One byte over the limit, so that ParseMap sees that it is too long.
	return io.ReadAll(io.LimitReader(f, maxMapBytes+1))
}

func fetch(ctx context.Context, client *http.Client, at string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // the URL is in our message already
		}
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", res.Status)
	}
	return io.ReadAll(io.LimitReader(res.Body, maxMapBytes+1))
}
