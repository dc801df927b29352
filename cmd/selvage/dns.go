package main

import (
	"context"
	"flag"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"selvage"
	"selvage/internal/api/admin"
)

func dnsCommand() *command {
	return &command{
		name: "dns", short: "Show and change what devices are told about names.",
		sub: []*command{
			{
				name: "get", short: "Show the DNS settings.",
				examples: []string{"dns get", "dns get --json"},
				setup: func(*flag.FlagSet) runFunc {
					return func(ctx context.Context, sh *shell, _ []string) error {
						d, err := get[admin.DNS](ctx, sh, "/dns", nil)
						if err != nil {
							return err
						}
						return showDNS(sh, d)
					}
				},
			},
			dnsSet(),
		},
	}
}

func showDNS(sh *shell, d admin.DNS) error {
	return sh.show(d, func(w io.Writer) error {
		var t table
		t.add("Domain", d.Domain)
		t.add("MagicDNS", onOff(d.MagicDNS))
		t.add("Nameservers", orNone(d.Nameservers))
		t.add("Override local DNS", onOff(d.OverrideLocal))
		t.add("Search paths", orNone(d.SearchPaths))
		for _, suffix := range slices.Sorted(maps.Keys(d.Split)) {
			t.add("Split", suffix+" = "+orNone(d.Split[suffix]))
		}
		for _, r := range d.Records {
			t.add("Record", r.Name+" = "+r.Value.String())
		}
		return t.write(w)
	})
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, " ")
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// dnsFlags are the parts of the settings; what is given replaces the whole part.
type dnsFlags struct {
	magic, override             switchFlag
	nameservers, search         listFlag
	split, records              listFlag
	addNameservers, addRecords  listFlag
	removeRecords, removeSplits listFlag
}

func dnsSet() *command {
	return &command{
		name: "set", short: "Change DNS settings; parts that are not given stay.",
		long: "A flag replaces the whole part of the settings that it is about; \"none\" empties it.\nThe flags with add and remove change single entries.",
		examples: []string{
			"dns set --nameserver 192.0.2.53 --override-local",
			"dns set --split corp.example.com=192.0.2.53,192.0.2.54",
			"dns set --add-record printer.home.selvage.internal=192.0.2.9",
			"dns set --nameserver none",
		},
		setup: func(fs *flag.FlagSet) runFunc {
			var f dnsFlags
			fs.Var(&f.magic, "magic-dns", "devices answer the names of devices: on or off")
			fs.Var(&f.override, "override-local", "use the nameservers in place of the devices' own: on or off")
			fs.Var(&f.nameservers, "nameserver", "`address` or https:// URL of a resolver; may be repeated")
			fs.Var(&f.search, "search", "search `domain`; may be repeated")
			fs.Var(&splitFlag{&f.split}, "split", "`suffix=address` of resolvers for one suffix; may be repeated")
			fs.Var(&f.records, "record", "`name=address` of an extra name; may be repeated")
			fs.Var(&f.addNameservers, "add-nameserver", "one more `address`")
			fs.Var(&f.addRecords, "add-record", "one more `name=address`")
			fs.Var(&f.removeRecords, "remove-record", "`name` whose records go")
			fs.Var(&f.removeSplits, "remove-split", "`suffix` that goes")
			return func(ctx context.Context, sh *shell, _ []string) error { return setDNS(ctx, sh, f) }
		},
	}
}

// splitFlag takes one SUFFIX=ADDRESS,ADDRESS at a time: its commas are not those of
// a list of values.
type splitFlag struct{ list *listFlag }

// String returns what was given, for flag's own use.
func (s *splitFlag) String() string {
	if s.list == nil {
		return ""
	}
	return s.list.String()
}

// Set takes the value of one occurrence.
func (s *splitFlag) Set(text string) error {
	s.list.given = true
	s.list.values = append(s.list.values, text)
	return nil
}

func setDNS(ctx context.Context, sh *shell, f dnsFlags) error {
	c, err := sh.client()
	if err != nil {
		return err
	}
	now, err := callOn[admin.DNS](ctx, c, "GET", "/dns", nil, nil, nil)
	if err != nil {
		return err
	}
	change, err := f.change(now)
	if err != nil {
		return err
	}
	if change == (admin.DNSChange{}) {
		return usagef("nothing to change; see `selvage dns set -h`")
	}
	d, err := callOn[admin.DNS](ctx, c, "PATCH", "/dns", nil, change, nil)
	if err != nil {
		return err
	}
	return showDNS(sh, d)
}

// change works out what to ask of the server.
func (f *dnsFlags) change(now admin.DNS) (admin.DNSChange, error) {
	b := admin.DNSChange{MagicDNS: f.magic.value, OverrideLocal: f.override.value}
	if f.nameservers.given || f.addNameservers.given {
		list := now.Nameservers
		if f.nameservers.given {
			list = withoutNone(f.nameservers.values)
		}
		list = append(list, f.addNameservers.values...)
		b.Nameservers = &list
	}
	if f.search.given {
		list := withoutNone(f.search.values)
		b.SearchPaths = &list
	}
	if f.split.given || f.removeSplits.given {
		split, err := f.newSplit(now.Split)
		if err != nil {
			return b, err
		}
		b.Split = &split
	}
	if f.records.given || f.addRecords.given || f.removeRecords.given {
		list, err := f.newRecords(now.Records)
		if err != nil {
			return b, err
		}
		b.Records = &list
	}
	return b, nil
}

func (f *dnsFlags) newSplit(now map[string][]string) (map[string][]string, error) {
	split := maps.Clone(now)
	if f.split.given {
		split = map[string][]string{}
	}
	for _, text := range withoutNone(f.split.values) {
		suffix, servers, ok := strings.Cut(text, "=")
		if !ok || suffix == "" {
			return nil, usagef("--split %q: want SUFFIX=ADDRESS, such as corp.example.com=192.0.2.53", text)
		}
		if split[suffix] == nil {
			split[suffix] = []string{}
		}
		for s := range strings.SplitSeq(servers, ",") {
			if s != "" {
				split[suffix] = append(split[suffix], s)
			}
		}
	}
	for _, suffix := range f.removeSplits.values {
		if _, ok := split[suffix]; !ok {
			return nil, selvage.Errorf(selvage.KindNotFound, "there are no resolvers for %q; `selvage dns get` shows those that there are", suffix)
		}
		delete(split, suffix)
	}
	return split, nil
}

func (f *dnsFlags) newRecords(now []selvage.DNSRecord) ([]selvage.DNSRecord, error) {
	list := now
	if f.records.given {
		list = []selvage.DNSRecord{}
	}
	for _, text := range append(withoutNone(f.records.values), f.addRecords.values...) {
		name, value, _ := strings.Cut(text, "=")
		addr, err := netip.ParseAddr(value)
		if name == "" || err != nil {
			return nil, usagef("record %q: want NAME=ADDRESS, such as printer.example.com=192.0.2.9", text)
		}
		list = append(list, selvage.DNSRecord{Name: name, Value: addr})
	}
	for _, name := range f.removeRecords.values {
		left := slices.DeleteFunc(slices.Clone(list), func(r selvage.DNSRecord) bool { return strings.EqualFold(r.Name, name) })
		if len(left) == len(list) {
			return nil, selvage.Errorf(selvage.KindNotFound, "there is no record %q; `selvage dns get` shows those that there are", name)
		}
		list = left
	}
	return list, nil
}

// withoutNone returns the values; "none" alone is no value.
func withoutNone(values []string) []string {
	if len(values) == 1 && values[0] == "none" {
		return []string{}
	}
	return append([]string{}, values...)
}
