package config

import (
	"net"
	"net/netip"
	"path/filepath"
	"strings"
)

// Config is how a server runs. The comment on each field is what operators read.
type Config struct {
	// Folder for everything that the server keeps: database, keys, certificates,
	// socket. Default: $XDG_STATE_HOME/selvage, or /var/lib/selvage for a service.
	DataDir string `yaml:"data_dir"`
	// Address to listen on, HOST:PORT or :PORT. Default: localhost:8080, or :443
	// when hostname or tls.cert is set.
	Listen string `yaml:"listen"`
	// Public name of the server, such as vpn.example.com. It is enough to get HTTPS:
	// the certificate comes from an ACME authority (Let's Encrypt).
	Hostname string `yaml:"hostname"`
	// Public URL, if the server is behind a proxy that does HTTPS, such as
	// https://vpn.example.com. Otherwise it follows from hostname and listen.
	URL string `yaml:"url"`
	// Address of a PostgreSQL database, postgres://USER:PASSWORD@HOST/NAME. Empty:
	// SQLite in the data folder.
	Database string `yaml:"database"`
	// Key that encrypts secrets in the database: 32 bytes in base 64. Servers that
	// share a database need the same. Empty: the file master.key in the data folder,
	// which is made at the first start.
	MasterKey string `yaml:"master_key"`
	// File with the master key, instead of master_key.
	MasterKeyFile string `yaml:"master_key_file"`
	// Path of the socket that the command line speaks to. Default: selvage.sock in
	// the data folder.
	Socket string `yaml:"socket"`
	// Lowest capability version of clients that are served; 113 is Tailscale 1.80,
	// the oldest that is possible.
	OldestClient int `yaml:"oldest_client"`

	// How to get the certificate for hostname.
	ACME ACME `yaml:"acme"`
	// A certificate of your own, instead of ACME.
	TLS TLS `yaml:"tls"`
	// Names that new tailnets get.
	DNS DNS `yaml:"dns"`
	// The relay in the server and the map of other relays.
	Relay Relay `yaml:"relay"`
	// What the server writes to its standard error.
	Log Log `yaml:"log"`
	// Numbers for monitoring, at /metrics.
	Metrics Metrics `yaml:"metrics"`
}

// ACME says how the certificate for Hostname is obtained.
type ACME struct {
	// E-mail address that the authority writes to when something is wrong. Optional.
	Email string `yaml:"email"`
	// URL of the authority. Empty: Let's Encrypt.
	Directory string `yaml:"directory"`
	// PEM file with the root certificates of the authority's own HTTPS, if they are
	// not among the system's.
	CAFile string `yaml:"ca_file"`
	// Address for plain HTTP: challenges, and a redirect to HTTPS. Default: :80 when
	// hostname is set. "none" is no such listener.
	HTTPListen string `yaml:"http_listen"`
}

// TLS is a pair of PEM files; they are read again when they change.
type TLS struct {
	// PEM file with the certificate and its chain.
	Cert string `yaml:"cert"`
	// PEM file with the private key.
	Key string `yaml:"key"`
}

// DNS says how tailnets are named.
type DNS struct {
	// Suffix of the names of devices: device.TAILNET.SUFFIX. It applies to tailnets
	// that are made later.
	BaseDomain string `yaml:"base_domain"`
}

// Relay says which relays clients are told about.
type Relay struct {
	// Whether the server is a relay itself, for clients that reach each other in no
	// other way.
	Enabled bool `yaml:"enabled"`
	// UDP address on which clients learn their own address (STUN). "none" is no STUN.
	STUNListen string `yaml:"stun_listen"`
	// Name of the server's relay, as people see it.
	RegionName string `yaml:"region_name"`
	// Short name of the server's relay: letters, digits and hyphens.
	RegionCode string `yaml:"region_code"`
	// Files and URLs of further relay maps. "tailscale" is the public one of Tailscale.
	Maps []string `yaml:"maps"`
	// Whether only devices of this server may use the relay.
	VerifyClients bool `yaml:"verify_clients"`
}

// Log says what is logged and how.
type Log struct {
	// Least level that is logged: debug, info, warn or error.
	Level string `yaml:"level"`
	// Form of a line: text or json.
	Format string `yaml:"format"`
}

// Metrics says who may see the numbers.
type Metrics struct {
	// Networks from which /metrics may be read.
	Allow []netip.Prefix `yaml:"allow"`
}

// Names and defaults that others need to know.
const (
	// None switches a listener off.
	None = "none"
	// OldestClient is the lowest OldestClient that can be configured.
	OldestClient = 113
	// TailscaleMap in Relay.Maps stands for the public relays of Tailscale.
	TailscaleMap = "tailscale"
	// FileName is the configuration in a data folder.
	FileName = "selvage.yaml"
	// SystemFile is read if there is none in the data folder.
	SystemFile = "/etc/selvage/selvage.yaml"

	socketName   = "selvage.sock"
	databaseName = "selvage.db"
)

// Default returns the configuration of a server to which nobody said anything, for
// the given data folder. What follows from other settings is empty until Resolve.
func Default(dataDir string) Config {
	return Config{
		DataDir:      dataDir,
		OldestClient: OldestClient,
		DNS:          DNS{BaseDomain: "selvage.internal"},
		Relay: Relay{
			Enabled: true, STUNListen: ":3478", RegionName: "Selvage", RegionCode: "selvage", VerifyClients: true,
		},
		Log: Log{Level: "info", Format: "text"},
		Metrics: Metrics{Allow: []netip.Prefix{
			netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"),
		}},
	}
}

// resolve fills in what follows from other settings.
func (c *Config) resolve() {
	public := c.Hostname != "" || c.TLS.Cert != ""
	if c.Listen == "" {
		c.Listen = "localhost:8080"
		if public {
			c.Listen = ":443"
		}
	}
	if c.ACME.HTTPListen == "" {
		c.ACME.HTTPListen = None
		if c.Hostname != "" {
			c.ACME.HTTPListen = ":80"
		}
	}
	if c.Socket == "" {
		c.Socket = filepath.Join(c.DataDir, socketName)
	}
	c.URL = strings.TrimSuffix(c.URL, "/")
}

// DSN returns the address of the database in the form that the store takes.
func (c *Config) DSN() string {
	if c.Database != "" {
		return c.Database
	}
	return "sqlite:" + filepath.Join(c.DataDir, databaseName)
}

// PublicURL returns where people's browsers find the server, without a slash at the
// end; empty if only who dials the server knows.
func (c *Config) PublicURL() string {
	if c.URL != "" || c.Hostname == "" {
		return c.URL
	}
	if _, port, err := net.SplitHostPort(c.Listen); err == nil && port != "443" && port != "https" {
		return "https://" + net.JoinHostPort(c.Hostname, port)
	}
	return "https://" + c.Hostname
}
