package admin

import (
	"time"

	"selvage"
	"selvage/internal/authz"
	"selvage/internal/journal"
)

func dnsOf(s selvage.Settings) DNS {
	j := DNS{
		Domain: s.Domain, MagicDNS: s.DNS.MagicDNS, Nameservers: listed(s.DNS.Nameservers),
		OverrideLocal: s.DNS.OverrideLocal, Split: map[string][]string{},
		SearchPaths: listed(s.DNS.SearchPaths), Records: listed(s.DNS.Records),
	}
	for suffix, servers := range s.DNS.Split {
		j.Split[suffix] = listed(servers)
	}
	return j
}

func getDNS(r *request) (any, error) {
	net, err := r.net(authz.DNSRead)
	if err != nil {
		return nil, err
	}
	return dnsOf(net.View().Tailnet.Settings), nil
}

func changeDNS(r *request) (any, error) {
	net, err := r.net(authz.DNSWrite)
	if err != nil {
		return nil, err
	}
	b, err := body[DNSChange](r)
	if err != nil {
		return nil, err
	}
	err = net.ChangeSettings(r.Context(), r.actor, journal.DNSSet, func(s *selvage.Settings) error {
		b.apply(&s.DNS)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return dnsOf(net.View().Tailnet.Settings), nil
}

func (b *DNSChange) apply(d *selvage.DNSSettings) {
	if b.MagicDNS != nil {
		d.MagicDNS = *b.MagicDNS
	}
	if b.Nameservers != nil {
		d.Nameservers = *b.Nameservers
	}
	if b.OverrideLocal != nil {
		d.OverrideLocal = *b.OverrideLocal
	}
	if b.Split != nil {
		d.Split = *b.Split
	}
	if b.SearchPaths != nil {
		d.SearchPaths = *b.SearchPaths
	}
	if b.Records != nil {
		d.Records = *b.Records
	}
}

func settingsOf(s selvage.Settings) Settings {
	return Settings{
		Domain: s.Domain, IPv4: s.IPv4, IPv6: s.IPv6,
		KeyExpirySeconds: int64(s.KeyExpiry / time.Second), EphemeralTimeoutSeconds: int64(s.EphemeralTimeout / time.Second),
		DeviceApproval: s.DeviceApproval, NetworkMapCaching: s.NetworkMapCaching, ClientLogs: s.ClientLogs,
	}
}

func getSettings(r *request) (any, error) {
	net, err := r.net(authz.SettingsRead)
	if err != nil {
		return nil, err
	}
	return settingsOf(net.View().Tailnet.Settings), nil
}

func changeSettings(r *request) (any, error) {
	net, err := r.net(authz.SettingsRead)
	if err != nil {
		return nil, err
	}
	b, err := body[SettingsChange](r)
	if err != nil {
		return nil, err
	}
	if b.KeyExpirySeconds != nil || b.EphemeralTimeoutSeconds != nil || b.DeviceApproval != nil {
		if err := authz.Allow(r.actor, authz.DeviceSetting); err != nil {
			return nil, err
		}
	}
	if b.Domain != nil || b.IPv4 != nil || b.IPv6 != nil || b.NetworkMapCaching != nil || b.ClientLogs != nil {
		if err := authz.Allow(r.actor, authz.NetSetting); err != nil {
			return nil, err
		}
	}
	err = net.ChangeSettings(r.Context(), r.actor, journal.SettingsSet, func(s *selvage.Settings) error { return b.apply(s) })
	if err != nil {
		return nil, err
	}
	return settingsOf(net.View().Tailnet.Settings), nil
}

// maxSeconds bounds durations, so that they fit a time.Duration.
const maxSeconds = int64(100 * 365 * 24 * time.Hour / time.Second)

func (b *SettingsChange) apply(s *selvage.Settings) error {
	for _, d := range []struct {
		name string
		from *int64
		to   *time.Duration
	}{
		{"keyExpirySeconds", b.KeyExpirySeconds, &s.KeyExpiry},
		{"ephemeralTimeoutSeconds", b.EphemeralTimeoutSeconds, &s.EphemeralTimeout},
	} {
		if d.from == nil {
			continue
		}
		if *d.from < 0 || *d.from > maxSeconds {
			return selvage.Errorf(selvage.KindInvalid, "%s is %d: want 0 to %d", d.name, *d.from, maxSeconds)
		}
		*d.to = time.Duration(*d.from) * time.Second
	}
	if b.Domain != nil {
		s.Domain = *b.Domain
	}
	if b.IPv4 != nil {
		s.IPv4 = *b.IPv4
	}
	if b.IPv6 != nil {
		s.IPv6 = *b.IPv6
	}
	if b.DeviceApproval != nil {
		s.DeviceApproval = *b.DeviceApproval
	}
	if b.NetworkMapCaching != nil {
		s.NetworkMapCaching = *b.NetworkMapCaching
	}
	if b.ClientLogs != nil {
		s.ClientLogs = *b.ClientLogs
	}
	return nil
}
