package config

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"selvage"
)

// hostPattern is a DNS name: labels of letters, digits and hyphens.
var hostPattern = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// maxHost is the length of a DNS name, in bytes.
const maxHost = 253

// check returns what is wrong with the resolved configuration, if anything is.
func (c *Config) check() error {
	for _, err := range []error{
		checkListen("listen", c.Listen, false),
		checkListen("acme.http_listen", c.ACME.HTTPListen, true),
		checkListen("relay.stun_listen", c.Relay.STUNListen, true),
		c.checkNames(),
		c.checkSecrets(),
		checkWord("log.level", c.Log.Level, "debug", "info", "warn", "error"),
		checkWord("log.format", c.Log.Format, "text", "json"),
		c.checkRelay(),
	} {
		if err != nil {
			return err
		}
	}
	if c.OldestClient < OldestClient {
		return selvage.Errorf(selvage.KindInvalid, "oldest_client is %d: clients older than capability version %d (Tailscale 1.80) are not supported", c.OldestClient, OldestClient)
	}
	return nil
}

func checkListen(key, addr string, optional bool) error {
	if optional && addr == None {
		return nil
	}
	_, port, err := net.SplitHostPort(addr)
	if n, numErr := strconv.Atoi(port); err != nil || numErr != nil || n < 0 || n > 65535 {
		return selvage.Errorf(selvage.KindInvalid, "%s is %q: want HOST:PORT or :PORT, such as :8080", key, addr)
	}
	return nil
}

func (c *Config) checkNames() error {
	if c.Hostname != "" {
		if _, err := netip.ParseAddr(c.Hostname); err == nil {
			return selvage.Errorf(selvage.KindInvalid, "hostname is %s: an address gets no public certificate; set a name, or leave it out and set listen", c.Hostname)
		}
		if !isHost(c.Hostname) || !strings.Contains(c.Hostname, ".") {
			return selvage.Errorf(selvage.KindInvalid, "hostname is %q: want a public name such as vpn.example.com", c.Hostname)
		}
	}
	if !isHost(c.DNS.BaseDomain) {
		return selvage.Errorf(selvage.KindInvalid, "dns.base_domain is %q: want a name such as selvage.internal", c.DNS.BaseDomain)
	}
	if c.URL == "" {
		return nil
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return selvage.Errorf(selvage.KindInvalid, "url is %q: want https://HOST without a path", c.URL)
	}
	return nil
}

func isHost(s string) bool { return len(s) <= maxHost && hostPattern.MatchString(s) }

func (c *Config) checkSecrets() error {
	switch {
	case (c.TLS.Cert == "") != (c.TLS.Key == ""):
		return selvage.Errorf(selvage.KindInvalid, "tls.cert and tls.key belong together: set both or neither")
	case c.TLS.Cert != "" && c.Hostname == "":
		return selvage.Errorf(selvage.KindInvalid, "tls.cert is set but hostname is not: set hostname to the name that the certificate is for")
	case c.MasterKey != "" && c.MasterKeyFile != "":
		return selvage.Errorf(selvage.KindInvalid, "master_key and master_key_file are both set: leave one out")
	case c.Database == "":
		return nil
	}
	if strings.HasPrefix(c.Database, "sqlite:") {
		return nil
	}
	// The address holds a password, so it is not repeated, and neither is the error.
	u, err := url.Parse(c.Database)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return selvage.Errorf(selvage.KindInvalid, "database is no good address: want postgres://USER:PASSWORD@HOST/NAME with %%XX for special characters, or nothing for SQLite")
	}
	return nil
}

func (c *Config) checkRelay() error {
	if !isHost(c.Relay.RegionCode) || strings.Contains(c.Relay.RegionCode, ".") {
		return selvage.Errorf(selvage.KindInvalid, "relay.region_code is %q: want letters a-z, digits and hyphens", c.Relay.RegionCode)
	}
	for _, m := range c.Relay.Maps {
		if m == "" {
			return selvage.Errorf(selvage.KindInvalid, "relay.maps has an empty entry: want a file, a URL or %q", TailscaleMap)
		}
		if strings.HasPrefix(m, "http://") {
			return selvage.Errorf(selvage.KindInvalid, "relay.maps has %q: who can change what it answers can lead all traffic through other relays; use https://", m)
		}
	}
	return nil
}

func checkWord(key, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return selvage.Errorf(selvage.KindInvalid, "%s is %q: want one of %s", key, value, strings.Join(allowed, ", "))
}
