package dns

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
	"tailscale.com/tailcfg"
	"tailscale.com/types/dnstype"
	"tailscale.com/util/dnsname"

	"selvage"
)

func TestCleanHostname(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", "web1", "web1"},
		{"capitals", "DESKTOP-4F2K", "desktop-4f2k"},
		{"apple", "Anna’s MacBook Pro.local", "annas-macbook-pro"},
		{"ascii quote", "Bob's iPhone", "bobs-iphone"},
		{"domain", "web1.example.com", "web1-example-com"},
		{"final dot", "web1.lan.", "web1"},
		{"only a suffix", ".local", "local"},
		{"umlauts", "Bürorechner Größe", "burorechner-grosse"},
		{"full width", "ＷＥＢ１", "web1"},
		{"polish", "Łódź", "lodz"},
		{"foreign", "电脑", "device"},
		{"mixed", "电脑-pc", "pc"},
		{"empty", "", "device"},
		{"hyphens", "---", "device"},
		{"runs", "a _.- b", "a-b"},
		{"localhost", "localhost.localdomain", "device"},
		{"broken text", "a\xff\xfeb\x00c", "abc"},
		{"long", strings.Repeat("x", 70), strings.Repeat("x", 63)},
		{"hyphen at the cut", strings.Repeat("x", 62) + "-y", strings.Repeat("x", 62)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := CleanHostname(tt.in); got != tt.want {
				t.Errorf("CleanHostname(%q) = %q, want %q", tt.in, got, tt.want)
			}
		})
	}
}

func FuzzCleanHostname(f *testing.F) {
	for _, s := range []string{"web1", "Anna’s Mac.local", "", "..", "İ", "ﬁ", "\xf0\x28", "A\u0301-", "localhost", "㎓"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		label := CleanHostname(s)
		if err := CheckLabel(label); err != nil {
			t.Fatalf("CleanHostname(%q) = %q: %v", s, label, err)
		}
		if again := CleanHostname(label); again != label {
			t.Fatalf("CleanHostname(%q) = %q, not the same again", label, again)
		}
	})
}

func TestUnique(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		label := rapid.StringMatching(`[a-z]([a-z0-9-]{0,61}[a-z0-9])?`).Draw(t, "label")
		taken := map[string]bool{}
		for range rapid.IntRange(0, 120).Draw(t, "devices") {
			name := Unique(label, func(s string) bool { return taken[s] })
			if taken[name] {
				t.Fatalf("%q is taken already", name)
			}
			if err := CheckLabel(name); err != nil && name != "localhost" {
				t.Fatal(err)
			}
			taken[name] = true
		}
	})
	taken := map[string]bool{"web": true, "web-1": true}
	if got := Unique("web", func(s string) bool { return taken[s] }); got != "web-2" {
		t.Errorf("got %q, want web-2", got)
	}
}

func TestCheckDomain(t *testing.T) {
	tests := []struct {
		name, in string
		want     string // part of the error; empty if good
	}{
		{"good", "mesh.example.com", ""},
		{"one label", "mesh", ""},
		{"empty", "", "empty"},
		{"dot at the end", "mesh.example.com.", `write it as "mesh.example.com"`},
		{"capital", "Mesh.example.com", "lower case"},
		{"two dots", "mesh..com", "empty name"},
		{"wildcard", "*.example.com", "leave that out"},
		{"underscore", "my_mesh.example.com", `'_'`},
		{"local", "office.local", ".local"},
		{"number", "mesh.1", "IP address"},
		{"address", "10.0.0.1", "IP address"},
		{"long label", strings.Repeat("a", 64) + ".com", "too long"},
		{"no room", strings.Repeat("a.", 95) + "com", "at most 189"},
		{"too long", strings.Repeat("a.", 126) + "com", "at most 253"},
		{"foreign", "büro.example", `'ü'`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantError(t, CheckDomain(tt.in), tt.want) })
	}
}

func wantError(t *testing.T, err error, part string) {
	t.Helper()
	switch {
	case part == "" && err != nil:
		t.Errorf("unexpected error: %v", err)
	case part != "" && err == nil:
		t.Errorf("no error, want one with %q", part)
	case part != "" && !strings.Contains(err.Error(), part):
		t.Errorf("error %q, want one with %q", err, part)
	case part != "" && !selvage.Is(err, selvage.KindInvalid):
		t.Errorf("error %q is not of kind invalid", err)
	}
}

func TestCheck(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")
	tests := []struct {
		name string
		in   selvage.DNSSettings
		want string
	}{
		{"empty", selvage.DNSSettings{}, ""},
		{"all forms", selvage.DNSSettings{
			Nameservers:   []string{"1.1.1.1", "10.0.0.1:5353", "2620:fe::9", "[2620:fe::9]:53", "https://dns.quad9.net/dns-query"},
			OverrideLocal: true,
			Split:         map[string][]string{"corp.example.com": {"10.0.0.53"}, "_msdcs.example.com": nil, "10.in-addr.arpa": {"10.0.0.53"}},
			SearchPaths:   []string{"corp.example.com"},
			Records:       []selvage.DNSRecord{{Name: "db.example.com", Value: v4}, {Name: "db.example.com", Value: v6}},
		}, ""},
		{"name as nameserver", selvage.DNSSettings{Nameservers: []string{"dns.google"}}, `nameserver "dns.google"`},
		{"port 0", selvage.DNSSettings{Nameservers: []string{"1.1.1.1:0"}}, "not a resolver"},
		{"unknown DoH", selvage.DNSSettings{Nameservers: []string{"https://dns.example.com/dns-query"}}, "clients do not know"},
		{"plain HTTP", selvage.DNSSettings{Nameservers: []string{"http://1.1.1.1/"}}, "not a resolver"},
		{"own resolver", selvage.DNSSettings{Nameservers: []string{"100.100.100.100"}}, "ask itself"},
		{"zone", selvage.DNSSettings{Nameservers: []string{"fe80::1%eth0"}}, "interface"},
		{"unspecified", selvage.DNSSettings{Nameservers: []string{"0.0.0.0"}}, "not the address of a host"},
		{"override without", selvage.DNSSettings{OverrideLocal: true}, "overrideLocal"},
		{"bad suffix", selvage.DNSSettings{Split: map[string][]string{"bad..suffix": {"1.1.1.1"}}}, `split DNS suffix: in "bad..suffix"`},
		{"root suffix", selvage.DNSSettings{Split: map[string][]string{".": {"1.1.1.1"}}}, "dot at an end"},
		{"own suffix", selvage.DNSSettings{Split: map[string][]string{"mesh.test": {"1.1.1.1"}}}, "own domain"},
		{"bad split resolver", selvage.DNSSettings{Split: map[string][]string{"a.test": {"x"}}}, `suffix a.test: resolver "x"`},
		{"bad path", selvage.DNSSettings{SearchPaths: []string{""}}, "search path: empty"},
		{"bad record", selvage.DNSSettings{Records: []selvage.DNSRecord{{Name: "-", Value: v4}}}, "extra record"},
		{"no value", selvage.DNSSettings{Records: []selvage.DNSRecord{{Name: "a.test"}}}, "no usable value"},
		{"two values", selvage.DNSSettings{Records: []selvage.DNSRecord{{Name: "a.test", Value: v4}, {Name: "a.test", Value: v4.Next()}}}, "two addresses"},
		{"many paths", selvage.DNSSettings{SearchPaths: make([]string, maxSearch+1)}, "at most 32"},
		{"many resolvers", selvage.DNSSettings{Nameservers: make([]string, maxNameservers+1)}, "at most 16"},
		{"many records", selvage.DNSSettings{Records: make([]selvage.DNSRecord, maxRecords+1)}, "at most 1000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantError(t, Check(tt.in, "mesh.test"), tt.want) })
	}
	wantError(t, Check(selvage.DNSSettings{}, "mesh."), "dot at an end")
}

func TestConfig(t *testing.T) {
	here := []*dnstype.Resolver{}
	via := func(addrs ...string) []*dnstype.Resolver { return resolvers(addrs) }
	v4 := netip.MustParseAddr("10.0.0.1")
	tests := []struct {
		name string
		in   selvage.DNSSettings
		want *tailcfg.DNSConfig
	}{
		{"magic only", selvage.DNSSettings{MagicDNS: true}, &tailcfg.DNSConfig{
			Proxied: true, Domains: []string{"mesh.test"}, FallbackResolvers: here,
			Routes: map[string][]*dnstype.Resolver{"mesh.test": here},
		}},
		{"off", selvage.DNSSettings{}, &tailcfg.DNSConfig{FallbackResolvers: here, Routes: map[string][]*dnstype.Resolver{}}},
		{"override and split", selvage.DNSSettings{
			MagicDNS: true, OverrideLocal: true, Nameservers: []string{"9.9.9.9"},
			Split: map[string][]string{"corp.test": {"10.0.0.53"}}, SearchPaths: []string{"corp.test", "mesh.test"},
		}, &tailcfg.DNSConfig{
			Proxied: true, Resolvers: via("9.9.9.9"), Domains: []string{"mesh.test", "corp.test"},
			Routes: map[string][]*dnstype.Resolver{"mesh.test": here, "corp.test": via("10.0.0.53")},
		}},
		{"records", selvage.DNSSettings{
			MagicDNS: true, Split: map[string][]string{"corp.test": {"10.0.0.53"}, "ours.test": nil},
			Records: []selvage.DNSRecord{
				{Name: "db.corp.test", Value: v4},
				{Name: "x.ours.test", Value: v4},
				{Name: "y.mesh.test", Value: netip.MustParseAddr("fd00::1")},
			},
		}, &tailcfg.DNSConfig{
			Proxied: true, Domains: []string{"mesh.test"}, FallbackResolvers: here,
			Routes: map[string][]*dnstype.Resolver{"mesh.test": here, "corp.test": via("10.0.0.53"), "ours.test": here, "db.corp.test": here},
			ExtraRecords: []tailcfg.DNSRecord{
				{Name: "db.corp.test", Type: "A", Value: "10.0.0.1"},
				{Name: "x.ours.test", Type: "A", Value: "10.0.0.1"},
				{Name: "y.mesh.test", Type: "AAAA", Value: "fd00::1"},
			},
		}},
		{"bad items left out", selvage.DNSSettings{
			MagicDNS: true, Nameservers: []string{"nonsense", "9.9.9.9"}, SearchPaths: []string{"a..b"},
			Split: map[string][]string{"..": {"1.1.1.1"}}, Records: []selvage.DNSRecord{{Name: "a..b", Value: v4}, {Name: "a.b"}},
		}, &tailcfg.DNSConfig{
			Proxied: true, Domains: []string{"mesh.test"}, FallbackResolvers: via("9.9.9.9"),
			Routes: map[string][]*dnstype.Resolver{"mesh.test": here},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := selvage.DefaultSettings("mesh.test")
			s.DNS = tt.in
			if diff := cmp.Diff(tt.want, Config(s)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Whatever was stored, each name that clients get is one that they can read.
func FuzzConfig(f *testing.F) {
	f.Add("mesh.test", "corp.test", "corp.test", "db.corp.test", "9.9.9.9")
	f.Add("", ".", "..", "a..b", "::")
	f.Add(strings.Repeat("a", 64), strings.Repeat("a.", 130), "-", "\x00", "https://dns.google/dns-query")
	f.Fuzz(func(t *testing.T, domain, suffix, path, record, server string) {
		s := selvage.DefaultSettings(domain)
		s.DNS.Nameservers = []string{server}
		s.DNS.Split = map[string][]string{suffix: {server}}
		s.DNS.SearchPaths = []string{path}
		s.DNS.Records = []selvage.DNSRecord{{Name: record, Value: netip.MustParseAddr("10.0.0.1")}}
		c := Config(s)
		names := append([]string{}, c.Domains...)
		for name := range c.Routes {
			names = append(names, name)
		}
		for _, r := range c.ExtraRecords {
			names = append(names, r.Name)
		}
		for _, name := range names {
			fqdn, err := dnsname.ToFQDN(name)
			if err != nil || fqdn == "." {
				t.Fatalf("clients get the name %q: %q, %v", name, fqdn, err)
			}
		}
		for _, r := range append(c.Resolvers, c.FallbackResolvers...) {
			if _, ok := r.IPPort(); !ok && !strings.HasPrefix(r.Addr, "https://") {
				t.Fatalf("clients get the resolver %q", r.Addr)
			}
		}
		if c.Proxied && c.Domains[0] != domain {
			t.Fatalf("search domains %q do not begin with %q", c.Domains, domain)
		}
	})
}
