package relay

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"tailscale.com/tailcfg"

	"selvage"
)

const mapJSON = `{"Regions": {
	"1": {"RegionID": 1, "RegionCode": "fra", "RegionName": "Frankfurt", "Nodes": [
		{"Name": "1a", "RegionID": 1, "HostName": "derp1.example.com", "IPv4": "192.0.2.1", "IPv6": "none", "CanPort80": true}]},
	"2": {"RegionCode": "ams", "Nodes": [{"HostName": "192.0.2.2", "CertName": "sha256-raw:` + hash64 + `"}]}}}`

const mapYAML = `
regions:
  1:
    regioncode: fra
    regionname: Frankfurt
    nodes:
      - {name: 1a, hostname: derp1.example.com, ipv4: 192.0.2.1, ipv6: none, canport80: true}
  2:
    regioncode: ams
    nodes:
      - hostname: 192.0.2.2
        certname: sha256-raw:` + hash64 + "\n"

const hash64 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func goodMap() *tailcfg.DERPMap {
	return &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{
		1: {RegionID: 1, RegionCode: "fra", RegionName: "Frankfurt", Nodes: []*tailcfg.DERPNode{
			{Name: "1a", RegionID: 1, HostName: "derp1.example.com", IPv4: "192.0.2.1", IPv6: "none", CanPort80: true},
		}},
		2: {RegionID: 2, RegionCode: "ams", RegionName: "ams", Nodes: []*tailcfg.DERPNode{
			{Name: "2a", RegionID: 2, HostName: "192.0.2.2", CertName: pinPrefix + hash64},
		}},
	}}
}

func TestParseMap(t *testing.T) {
	for name, text := range map[string]string{"JSON": mapJSON, "YAML": mapYAML} {
		got, err := ParseMap([]byte(text), true)
		if diff := cmp.Diff(goodMap(), got); diff != "" || err != nil {
			t.Errorf("%s: %v, -want +got:\n%s", name, err, diff)
		}
	}
	node := func(fields string) string {
		return `{"Regions":{"7":{"RegionCode":"x","Nodes":[{"HostName":"a.example.com",` + fields + `}]}}}`
	}
	tests := []struct{ name, text, want string }{
		{"empty", "", "key regions"},
		{"list", "[1]", "key regions"},
		{"cut off", `{"Regions":`, "unexpected EOF"},
		{"two values", mapJSON + "{}", "follows the end"},
		{"no regions", "{}", "no regions"},
		{"unknown field", `{"Regions":{},"x":1}`, `unknown field "x"`},
		{"bad key", "regions: {[1]: {}}", "region map"},
		{"key of a kind", "regions: {1.5: {}}", "neither text nor a whole number"},
		{"region 0", `{"Regions":{"0":{}}}`, "region 0: use a number"},
		{"huge region", `{"Regions":{"99999999":{}}}`, "use a number"},
		{"other number", `{"Regions":{"7":{"RegionID":8,"RegionCode":"x"}}}`, "region 7: regionID is 8"},
		{"no code", `{"Regions":{"7":{}}}`, "regionCode is missing"},
		{"null node", `{"Regions":{"7":{"RegionCode":"x","Nodes":[null]}}}`, "node 1 is empty"},
		{"no host", `{"Regions":{"7":{"RegionCode":"x","Nodes":[{}]}}}`, `node "7a": hostName: empty host`},
		{"bad host", `{"Regions":{"7":{"RegionCode":"x","Nodes":[{"HostName":"a b"}]}}}`, `"a b" is not a host`},
		{"IPv6 host", `{"Regions":{"7":{"RegionCode":"x","Nodes":[{"HostName":"2001:db8::1"}]}}}`, "put it into ipv6"},
		{"bad IPv4", node(`"IPv4":"::1"`), `ipv4 is "::1"`},
		{"bad IPv6", node(`"IPv6":"192.0.2.1"`), `ipv6 is "192.0.2.1"`},
		{"STUN port", node(`"STUNPort":-2`), "stunPort is -2"},
		{"DERP port", node(`"DERPPort":65536`), "derpPort is 65536"},
		{"STUN test IP", node(`"STUNTestIP":"x"`), "stunTestIP"},
		{"short hash", node(`"CertName":"sha256-raw:00"`), "not a SHA-256"},
		{"capital hash", node(`"CertName":"sha256-raw:` + strings.ToUpper(hash64) + `"`), "lower case"},
		{"bad certificate name", node(`"CertName":"a b"`), "certName"},
		{"one name twice", `{"Regions":{"7":{"RegionCode":"x","Nodes":[{"Name":"n","HostName":"a"},{"Name":"n","HostName":"b"}]}}}`, `"n" is in region 7 already`},
		{"long", strings.Repeat(" ", maxMapBytes+1), "longer than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseMap([]byte(tt.text), true)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !selvage.Is(err, selvage.KindInvalid) {
				t.Errorf("error %v, want one of kind invalid with %q", err, tt.want)
			}
		})
	}
	if _, err := ParseMap([]byte(`{"Regions":{"7":{"RegionCode":"x"}},"New":1}`), false); err != nil {
		t.Errorf("an unknown field behind a URL: %v", err)
	}
}

func FuzzParseMap(f *testing.F) {
	f.Add([]byte(mapJSON), true)
	f.Add([]byte(mapYAML), false)
	f.Add([]byte("regions: {1: null}"), true)
	f.Add([]byte("a: &a [*a]"), true)
	f.Fuzz(func(t *testing.T, text []byte, strict bool) {
		m, err := ParseMap(text, strict)
		if err != nil {
			if !selvage.Is(err, selvage.KindInvalid) {
				t.Fatalf("error %v is not of kind invalid", err)
			}
			return
		}
		if len(m.Regions) == 0 {
			t.Fatal("no regions and no error")
		}
		for id, r := range m.Regions {
			if r == nil {
				continue
			}
			if r.RegionID != id || r.RegionCode == "" {
				t.Fatalf("region %d: %+v", id, r)
			}
			for _, n := range r.Nodes {
				if n.RegionID != id || n.Name == "" || n.HostName == "" {
					t.Fatalf("region %d: node %+v", id, n)
				}
			}
		}
	})
}

func TestEmbeddedRegion(t *testing.T) {
	pinned := NewPinned(Seed{1})
	pin := func(host string) string {
		h, err := pinned.Hash(host)
		if err != nil {
			t.Fatal(err)
		}
		return pinPrefix + h
	}
	free := Embedded{STUNPort: 3479, Pinned: pinned}
	public := Embedded{Host: "ctl.example.com", Code: "hq", Name: "Headquarters", HTTP80: true}
	tests := []struct {
		name, host string
		e          Embedded
		version    tailcfg.CapabilityVersion
		want       *tailcfg.DERPNode // nil: no region
	}{
		{
			"name and port", "box.lan:8080", free, newClient,
			&tailcfg.DERPNode{HostName: "box.lan", DERPPort: 8080, STUNPort: 3479, CertName: pin("box.lan")},
		},
		{
			"first client that pins", "box.lan:8080", free, 115,
			&tailcfg.DERPNode{HostName: "box.lan", DERPPort: 8080, STUNPort: 3479, CertName: pin("box.lan")},
		},
		{
			"old client", "box.lan:8080", free, 114,
			&tailcfg.DERPNode{HostName: "box.lan", DERPPort: 8080, STUNPort: 3479, InsecureForTests: true},
		},
		{
			"no port", "BOX.lan.", free, newClient,
			&tailcfg.DERPNode{HostName: "box.lan", DERPPort: 80, STUNPort: 3479, CertName: pin("box.lan"), CanPort80: true},
		},
		{
			"IPv4", "192.0.2.1:8080", free, newClient,
			&tailcfg.DERPNode{HostName: "192.0.2.1", IPv4: "192.0.2.1", IPv6: "none", DERPPort: 8080, STUNPort: 3479, CertName: pin("192.0.2.1")},
		},
		{
			"IPv6", "[2001:db8::1]:8080", free, newClient,
			&tailcfg.DERPNode{HostName: addressName, IPv4: "none", IPv6: "2001:db8::1", DERPPort: 8080, STUNPort: 3479, CertName: pin("192.0.2.1")},
		},
		{
			"IPv6 without port", "[2001:db8::1]", free, newClient,
			&tailcfg.DERPNode{HostName: addressName, IPv4: "none", IPv6: "2001:db8::1", DERPPort: 80, STUNPort: 3479, CertName: pin("192.0.2.1"), CanPort80: true},
		},
		{"no host", "", free, newClient, nil},
		{"nonsense", "a b:1", free, newClient, nil},
		{"bad port", "box.lan:99999", free, newClient, nil},
		{"zone", "[fe80::1%25eth0]:80", free, newClient, nil},
		{
			"public name", "192.0.2.1:8080", public, newClient,
			&tailcfg.DERPNode{HostName: "ctl.example.com", CanPort80: true},
		},
		{
			"public name, old client", "", public, oldClient,
			&tailcfg.DERPNode{HostName: "ctl.example.com", CanPort80: true},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := NewRegions(RegionConfig{Embedded: &tt.e, Log: testLog(t)})
			if err != nil {
				t.Fatal(err)
			}
			got := r.Map(tt.host, tt.version)
			if tt.want == nil {
				if len(got.Regions) != 0 {
					t.Fatalf("regions %+v, want none", got.Regions)
				}
				return
			}
			tt.want.Name, tt.want.RegionID = "900a", 900
			want := &tailcfg.DERPRegion{RegionID: 900, RegionCode: "selvage", RegionName: "selvage", Nodes: []*tailcfg.DERPNode{tt.want}}
			if tt.e.Code != "" {
				want.RegionCode, want.RegionName = tt.e.Code, tt.e.Name
			}
			if diff := cmp.Diff(want, got.Regions[900]); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if again := r.Map(tt.host, tt.version); again != got {
				t.Error("the map was made twice")
			}
		})
	}
}

func TestBadRegionConfig(t *testing.T) {
	tests := []struct {
		name string
		c    RegionConfig
		want string
	}{
		{"no certificate", RegionConfig{Embedded: &Embedded{}}, "no host name"},
		{"region of a relay", RegionConfig{Embedded: &Embedded{Host: "a", Region: 901}}, "region 901"},
		{"bad host", RegionConfig{Embedded: &Embedded{Host: "a b"}}, "not a host"},
		{"bad port", RegionConfig{Embedded: &Embedded{Host: "a", Port: -1}}, "port -1"},
		{"bad STUN port", RegionConfig{Embedded: &Embedded{Host: "a", STUNPort: -2}}, "STUN port -2"},
		{"empty source", RegionConfig{Sources: []string{""}}, "empty source"},
		{"odd source", RegionConfig{Sources: []string{"ftp://a/b"}}, "ftp://a/b"},
		{"bad source", RegionConfig{Sources: []string{"https://"}}, "not a good URL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewRegions(tt.c)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestSources(t *testing.T) {
	var body atomic.Pointer[string]
	serve := func(s string) { body.Store(&s) }
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if *body.Load() == "" {
			http.Error(w, "gone", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, *body.Load())
	}))
	defer web.Close()
	file := filepath.Join(t.TempDir(), "map.yaml")
	if err := os.WriteFile(file, []byte(mapYAML), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := NewRegions(RegionConfig{Sources: []string{file, web.URL + "/map"}, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		name, body string
		want       string // code of region 1; empty: no such region
		err        string
	}{
		{"source is away", "", "fra", "/map: status 503"},
		{"source wins", `{"Regions":{"1":{"RegionCode":"two"}}}`, "two", ""},
		{"last good is kept", `{"Regions":{"1":{}}}`, "two", "regionCode is missing"},
		{"too long", mapJSON + strings.Repeat(" ", maxMapBytes), "two", "longer than"},
		{"region is taken out", `{"Regions":{"1":null}}`, "", ""},
	}
	for _, s := range steps {
		serve(s.body)
		err := r.Refresh(testContext(t))
		if (err == nil) != (s.err == "") || err != nil && !strings.Contains(err.Error(), s.err) {
			t.Errorf("%s: error %v, want %q", s.name, err, s.err)
		}
		r.mu.Lock()
		r.publish(time.Now()) // as Run does when enough time has passed
		r.mu.Unlock()
		var got string
		m := r.Map("", newClient)
		if region := m.Regions[1]; region != nil {
			got = region.RegionCode
		}
		if got != s.want || m.Regions[2] == nil {
			t.Errorf("%s: region 1 is %q, want %q; all: %+v", s.name, got, s.want, m.Regions)
		}
		st := r.Status()
		if len(st) != 2 || st[0].Err != nil || st[0].Regions != 2 || (st[1].Err == nil) != (s.err == "") {
			t.Errorf("%s: status %+v", s.name, st)
		}
	}
	// The map of the file pins a certificate, which old clients can't.
	n := r.Map("", oldClient).Regions[2].Nodes[0]
	if n.CertName != "" || !n.InsecureForTests {
		t.Errorf("node for old clients: %+v", n)
	}
	if n := r.Map("", newClient).Regions[2].Nodes[0]; n.CertName == "" || n.InsecureForTests {
		t.Errorf("node for new clients: %+v", n)
	}
}

// wakes counts the wake-ups since it was last asked.
func wakes(r *Regions) int {
	synctest.Wait()
	select {
	case <-r.Changed():
		return 1
	default:
		return 0
	}
}

func TestRelaysComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := NewRegions(RegionConfig{Log: testLog(t)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		relay := selvage.Relay{Name: "fra", Region: 901, Host: "relay.example.com", Port: 443, STUNPort: 3478}
		seen := func() { relay.Seen = time.Now(); r.SetRelays([]selvage.Relay{relay}) }
		has := func() bool { return r.Map("", newClient).Regions[901] != nil }

		r.SetRelays([]selvage.Relay{relay})
		if has() || wakes(r) != 0 {
			t.Error("a relay that was never seen is in the map")
		}
		seen()
		if !has() || wakes(r) != 1 {
			t.Error("a new relay is not in the map at once")
		}
		want := &tailcfg.DERPRegion{RegionID: 901, RegionCode: "fra", RegionName: "fra", Nodes: []*tailcfg.DERPNode{{Name: "901a", RegionID: 901, HostName: "relay.example.com"}}}
		if diff := cmp.Diff(want, r.Map("", newClient).Regions[901]); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		for range 20 {
			time.Sleep(announceEvery)
			seen()
		}
		if !has() || wakes(r) != 0 {
			t.Error("announcements without news woke clients")
		}

		// Two changes in quick succession are one for clients.
		relay.Port = 8443
		seen()
		if wakes(r) != 1 {
			t.Error("a change after a quiet time was not published at once")
		}
		relay.Port = 8444
		seen()
		relay.Port = 8445
		seen()
		if got := r.Map("", newClient).Regions[901].Nodes[0].DERPPort; got != 8443 || wakes(r) != 0 {
			t.Errorf("port %d was published at once", got)
		}
		time.Sleep(coalesce)
		if got := wakes(r); got != 1 {
			t.Errorf("%d wake-ups for the later changes, want 1", got)
		}
		if got := r.Map("", newClient).Regions[901].Nodes[0].DERPPort; got != 8445 {
			t.Errorf("port %d, want 8445", got)
		}

		time.Sleep(relayLife - time.Minute)
		if !has() || wakes(r) != 0 {
			t.Error("a relay that is silent for less than its life is gone")
		}
		time.Sleep(time.Minute + expiryEvery)
		if wakes(r) != 1 || has() {
			t.Error("a silent relay is still in the map")
		}
		relay.Region = 900
		seen()
		relay.Region, relay.Host = 901, "a b"
		seen()
		time.Sleep(coalesce)
		if len(r.Map("", newClient).Regions) != 0 || wakes(r) != 0 {
			t.Error("a bad relay is in the map")
		}
	})
}

func TestFilesAreReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "map.json")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(mapJSON)
	synctest.Test(t, func(t *testing.T) {
		r, err := NewRegions(RegionConfig{Sources: []string{file}, Log: testLog(t)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		if wakes(r) != 1 || len(r.Map("", newClient).Regions) != 2 {
			t.Error("Run didn't load the file")
		}
		time.Sleep(3 * sourceEvery)
		if wakes(r) != 0 {
			t.Error("a file that is the same woke clients")
		}
		put("{")
		time.Sleep(sourceEvery)
		if wakes(r) != 0 || len(r.Map("", newClient).Regions) != 2 || r.Status()[0].Err == nil {
			t.Error("a broken file changed the map")
		}
		put(`{"Regions":{"5":{"RegionCode":"x"}}}`)
		time.Sleep(sourceEvery)
		if wakes(r) != 1 || r.Map("", newClient).Regions[5] == nil {
			t.Error("the file was not read again")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
