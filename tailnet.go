package selvage

import (
	"net/netip"
	"time"
)

// Tailnet is one network: its own users, devices, policy, names and addresses.
type Tailnet struct {
	ID       TailnetID `json:"id"`
	Name     string    `json:"name"` // a DNS label, unique in the server
	Created  time.Time `json:"created"`
	Settings Settings  `json:"settings"`
}

// Settings are what an operator decides for a whole tailnet. The zero value is not
// valid; DefaultSettings is.
type Settings struct {
	// Domain is the MagicDNS suffix, without a leading or trailing dot.
	Domain string `json:"domain"`
	// IPv4 and IPv6 are the ranges that node addresses come from. Both are set.
	IPv4 netip.Prefix `json:"ipv4"`
	IPv6 netip.Prefix `json:"ipv6"`
	// KeyExpiry is how long a node key of a user's device lasts; zero is for ever.
	KeyExpiry time.Duration `json:"keyExpiry"`
	// EphemeralTimeout is how long an ephemeral node may be silent before it goes.
	EphemeralTimeout time.Duration `json:"ephemeralTimeout"`
	// DeviceApproval makes new devices wait for an administrator.
	DeviceApproval bool `json:"deviceApproval"`
	// NetworkMapCaching lets clients keep the last map on disk, so that they
	// reach their peers while the server is away.
	NetworkMapCaching bool `json:"networkMapCaching"`
	// ClientLogs allows clients to upload their logs to their maker. Off by default.
	ClientLogs bool        `json:"clientLogs"`
	DNS        DNSSettings `json:"dns"`
}

// DNSSettings are the name settings of a tailnet.
type DNSSettings struct {
	// MagicDNS makes clients answer names of nodes. On by default.
	MagicDNS bool `json:"magicDNS"`
	// Nameservers are the global resolvers: an IP, IP:port or an https:// URL.
	// They are used only if OverrideLocal is set or the device has none.
	Nameservers   []string `json:"nameservers,omitempty"`
	OverrideLocal bool     `json:"overrideLocal"`
	// Split maps a suffix to the resolvers for it; an empty list means that the
	// suffix has no resolver but the client itself.
	Split map[string][]string `json:"split,omitempty"`
	// SearchPaths follow the tailnet's own domain.
	SearchPaths []string `json:"searchPaths,omitempty"`
	// Records are extra names.
	Records []DNSRecord `json:"records,omitempty"`
}

// DNSRecord is an extra name that clients answer themselves.
type DNSRecord struct {
	Name  string     `json:"name"`  // full name, no trailing dot
	Value netip.Addr `json:"value"` // decides the type: A or AAAA
}

// Limits and defaults of settings.
const (
	DefaultKeyExpiry        = 180 * 24 * time.Hour
	DefaultEphemeralTimeout = 10 * time.Minute
)

// DefaultSettings returns the settings of a new tailnet with the given domain.
func DefaultSettings(domain string) Settings {
	return Settings{
		Domain:            domain,
		IPv4:              netip.MustParsePrefix("100.64.0.0/10"),
		IPv6:              netip.MustParsePrefix("fd7a:115c:a1e0::/48"),
		KeyExpiry:         DefaultKeyExpiry,
		EphemeralTimeout:  DefaultEphemeralTimeout,
		NetworkMapCaching: true,
		DNS:               DNSSettings{MagicDNS: true},
	}
}
