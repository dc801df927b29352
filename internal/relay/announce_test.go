package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"selvage"
)

func tokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func TestAnnounce(t *testing.T) {
	relays := []selvage.Relay{
		{Name: "ams", Region: 901, Hash: tokenHash("token-ams")},
		{Name: "fra", Region: 902, Hash: tokenHash("token-fra")},
		{Name: "odd", Region: 903}, // no hash must not match an empty token
	}
	const good = `{"host":"relay.example.com","port":443,"stunPort":-1,"version":"1.0","new":1}`
	var got *selvage.Relay
	var fail error
	h := AnnounceHandler(func() []selvage.Relay { return relays }, func(_ context.Context, r selvage.Relay) error {
		got = &r
		return fail
	}, testLog(t))
	tests := []struct {
		name, method, token, body string
		fail                      error
		status                    int
		want                      string
	}{
		{"good", "POST", "token-fra", good, nil, 200, `{"name":"fra","region":902}`},
		{"get", "GET", "token-fra", good, nil, 405, "use POST"},
		{"no token", "POST", "", good, nil, 401, "no relay token"},
		{"unknown token", "POST", "token-xxx", good, nil, 401, "unknown relay token"},
		{"not JSON", "POST", "token-fra", "x", nil, 400, "request:"},
		{"long", "POST", "token-fra", good + strings.Repeat(" ", maxMessage), nil, 400, "longer than"},
		{"no host", "POST", "token-fra", `{"port":443,"stunPort":-1}`, nil, 400, "did not say its host"},
		{"bad host", "POST", "token-fra", `{"host":"a b","port":443,"stunPort":-1}`, nil, 400, "not a host"},
		{"no ports", "POST", "token-fra", `{"host":"a"}`, nil, 400, "did not say its ports"},
		{"bad port", "POST", "token-fra", `{"host":"a","port":70000,"stunPort":-1}`, nil, 400, "port 70000"},
		{"bad hash", "POST", "token-fra", `{"host":"a","port":1,"stunPort":1,"certHash":"00"}`, nil, 400, "not a SHA-256"},
		{"IPv6 without pin", "POST", "token-fra", `{"host":"2001:db8::1","port":1,"stunPort":1}`, nil, 400, "IPv6"},
		{"long version", "POST", "token-fra", `{"host":"a","port":1,"stunPort":1,"version":"` + strings.Repeat("1", 101) + `"}`, nil, 400, "version"},
		{"storage says no", "POST", "token-fra", good, selvage.Errorf(selvage.KindBusy, "later"), 503, "later"},
		{"storage fails", "POST", "token-fra", good, errors.New("disk secret"), 500, "internal error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, fail = nil, tt.fail
			before := time.Now()
			w := newRecorder(h, tt.method, "/relay/announce", []byte(tt.body), tt.token)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) || strings.Contains(w.Body.String(), "secret") {
				t.Errorf("%d %q, want %d with %q", w.Code, w.Body, tt.status, tt.want)
			}
			if tt.status >= 400 && tt.fail == nil {
				if got != nil {
					t.Errorf("announced %+v all the same", got)
				}
				return
			}
			if got == nil || got.Seen.Before(before) {
				t.Fatalf("announced %+v", got)
			}
			got.Seen = time.Time{}
			want := relays[1]
			want.Host, want.Port, want.STUNPort, want.Version = "relay.example.com", 443, -1, "1.0"
			if diff := cmp.Diff(want, *got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func FuzzReadAnnouncement(f *testing.F) {
	f.Add([]byte(`{"host":"relay.example.com","port":443,"stunPort":3478,"certHash":"` + hash64 + `"}`))
	f.Add([]byte(`{"host":"192.0.2.1","port":1e3}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ReadAnnouncement(bytes.NewReader(b))
		if err != nil {
			if !selvage.Is(err, selvage.KindInvalid) {
				t.Fatalf("error %v is not of kind invalid", err)
			}
			return
		}
		// What is taken in is something that clients can be shown.
		relay := selvage.Relay{Name: "x", Region: FirstRelay, Host: a.Host, Port: a.Port, STUNPort: a.STUNPort, CertHash: a.CertHash}
		if err := checkRelay(relay); err != nil {
			t.Fatal(err)
		}
		if err := checkNode(node(FirstRelay, a.Host, a.Port, a.STUNPort, a.CertHash)); err != nil {
			t.Fatal(err)
		}
	})
}
