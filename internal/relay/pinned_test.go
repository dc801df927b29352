package relay

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
	"tailscale.com/util/dnsname"
)

func TestHashesAreStable(t *testing.T) {
	seed := Seed{7}
	// What clients were told before a restart must hold after it. If this changes
	// with the Go version, clients learn the new hash when they get their map; the
	// test is here so that it isn't a surprise.
	want := map[string]string{}
	for _, host := range []string{"localhost", "relay.example.com", "127.0.0.1"} {
		h, err := NewPinned(seed).Hash(host)
		if err != nil {
			t.Fatal(err)
		}
		want[host] = h
	}
	p := NewPinned(seed)
	for host, h := range want {
		got, err := p.Hash(host)
		if err != nil || got != h {
			t.Errorf("%s: %s, %v; want %s", host, got, err, h)
		}
	}
	same := func(a, b string) bool {
		ha, _ := p.Hash(a)
		hb, _ := p.Hash(b)
		return ha == hb && ha != ""
	}
	if !same("127.0.0.1", "2001:db8::1") {
		t.Error("addresses have different certificates")
	}
	if !same("Relay.Example.com.", "relay.example.com") {
		t.Error("case and a final dot make a difference")
	}
	if same("localhost", "relay.example.com") {
		t.Error("two names have one certificate")
	}
	if h, _ := NewPinned(Seed{8}).Hash("localhost"); h == want["localhost"] {
		t.Error("two seeds make one certificate")
	}
	if k := DERPKey(seed); !k.Equal(DERPKey(seed)) || k.Equal(DERPKey(Seed{8})) {
		t.Error("the key doesn't follow the seed")
	}
}

func TestHostileServerNames(t *testing.T) {
	p := NewPinned(Seed{})
	c := p.TLSConfig(nil)
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-zA-Z0-9.-]{0,300}`)).Draw(t, "name")
		cert, err := c.GetCertificate(&tls.ClientHelloInfo{ServerName: name})
		if err != nil {
			return
		}
		if name != "" && name != "." && dnsname.ValidHostname(strings.TrimSuffix(name, ".")) != nil {
			t.Fatalf("a certificate for %q", name)
		}
		if len(cert.Certificate) != 1 || len(p.certs) > maxPinned {
			t.Fatalf("%d certificates sent, %d kept", len(cert.Certificate), len(p.certs))
		}
	})
	for i := range 2 * maxPinned {
		name := strings.Repeat("a", i%60+1) + "." + strings.Repeat("b", i/60+1)
		if _, err := c.GetCertificate(&tls.ClientHelloInfo{ServerName: name}); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.certs) > maxPinned {
		t.Errorf("%d certificates are kept", len(p.certs))
	}
}

func TestLoadSeed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "relay.seed")
	first, err := LoadSeed(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadSeed(path)
	if err != nil || again != first || first == (Seed{}) {
		t.Errorf("got another seed: %v", err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	for _, bad := range []string{"", "abc", strings.Repeat("x", 64), strings.Repeat("0", 70)} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadSeed(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("seed %q: error %v, want one that names the file", bad, err)
		}
	}
	if _, err := LoadSeed(filepath.Join(path, "x")); err == nil {
		t.Error("no error for a place that can't be")
	}
}
