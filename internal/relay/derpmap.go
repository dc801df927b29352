package relay

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"tailscale.com/tailcfg"
	"tailscale.com/util/dnsname"

	"selvage"
)

// The most that a region map may hold; each client gets all of it, and measures it.
const (
	maxMapBytes = 1 << 20 // bytes of a file or an answer
	maxRegions  = 256     // regions of one source
	maxNodes    = 32      // nodes of one region
	maxRegionID = 1 << 20 // Tailscale's own are below 900, one's own from 900 on
	maxText     = 100     // bytes of a code or a name
)

// pinPrefix begins a CertName that is the hash of a certificate.
const pinPrefix = "sha256-raw:"

// familyOff as a node's IPv4 or IPv6 tells clients not to use that family.
const familyOff = "none"

// capPins is the first capability version whose clients understand pinPrefix: it
// came with 1.82, and 1.80 (113) takes the hash for a name.
const capPins tailcfg.CapabilityVersion = 115

// ParseMap reads a region map in Tailscale's form, as JSON or YAML; in YAML the
// names of fields may be in lower case. A region that is null takes the region of
// that number out of the maps before it. If strict is set, unknown fields are
// errors, as suits a file that a person writes.
func ParseMap(text []byte, strict bool) (*tailcfg.DERPMap, error) {
	if len(text) > maxMapBytes {
		return nil, selvage.Errorf(selvage.KindInvalid, "region map is longer than %d bytes", maxMapBytes)
	}
	if trimmed := bytes.TrimSpace(text); len(trimmed) == 0 || trimmed[0] != '{' {
		var err error
		if text, err = yamlToJSON(text); err != nil {
			return nil, err
		}
	}
	m := new(tailcfg.DERPMap)
	d := json.NewDecoder(bytes.NewReader(text))
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(m); err != nil {
		return nil, selvage.Errorf(selvage.KindInvalid, "region map: %w", err)
	}
	if d.More() {
		return nil, selvage.Errorf(selvage.KindInvalid, "region map: something follows the end of the map")
	}
	// The scores of regions belong to a tailnet's policy.
	m.HomeParams, m.OmitDefaultRegions = nil, false
	if err := checkMap(m); err != nil {
		return nil, err
	}
	return m, nil
}

func yamlToJSON(text []byte) ([]byte, error) {
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		return nil, selvage.Errorf(selvage.KindInvalid, "region map: %w", err)
	}
	if _, ok := v.(map[string]any); !ok {
		return nil, selvage.Errorf(selvage.KindInvalid, "region map: want a map with the key regions")
	}
	v, err := stringKeys(v)
	if err != nil {
		return nil, err
	}
	out, err := json.Marshal(v)
	if err != nil {
		return nil, selvage.Errorf(selvage.KindInvalid, "region map: %w", err)
	}
	return out, nil
}

// stringKeys makes the keys of maps what JSON allows.
func stringKeys(v any) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			e, err := stringKeys(e)
			if err != nil {
				return nil, err
			}
			v[k] = e
		}
		return v, nil
	case map[any]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			switch k.(type) {
			case string, int, int64, uint64:
			default:
				return nil, selvage.Errorf(selvage.KindInvalid, "region map: the key %v is neither text nor a whole number", k)
			}
			e, err := stringKeys(e)
			if err != nil {
				return nil, err
			}
			m[fmt.Sprint(k)] = e
		}
		return m, nil
	case []any:
		for i, e := range v {
			e, err := stringKeys(e)
			if err != nil {
				return nil, err
			}
			v[i] = e
		}
		return v, nil
	}
	return v, nil
}

// checkMap checks the map and fills in what follows from the rest.
func checkMap(m *tailcfg.DERPMap) error {
	if len(m.Regions) == 0 {
		return selvage.Errorf(selvage.KindInvalid, "region map has no regions; put them under the key regions, by number")
	}
	if len(m.Regions) > maxRegions {
		return selvage.Errorf(selvage.KindInvalid, "region map has %d regions; at most %d are allowed", len(m.Regions), maxRegions)
	}
	names := make(map[string]int)
	for _, id := range slices.Sorted(maps.Keys(m.Regions)) {
		if id < 1 || id > maxRegionID {
			return selvage.Errorf(selvage.KindInvalid, "region %d: use a number from 1 to %d", id, maxRegionID)
		}
		r := m.Regions[id]
		if r == nil {
			continue
		}
		if err := checkRegion(id, r); err != nil {
			return selvage.Errorf(selvage.KindInvalid, "region %d: %w", id, err)
		}
		for _, n := range r.Nodes {
			if other, ok := names[n.Name]; ok {
				return selvage.Errorf(selvage.KindInvalid, "region %d: node name %q is in region %d already; each node needs a name of its own", id, n.Name, other)
			}
			names[n.Name] = id
		}
	}
	return nil
}

func checkRegion(id int, r *tailcfg.DERPRegion) error {
	if r.RegionID == 0 {
		r.RegionID = id
	}
	if r.RegionID != id {
		return selvage.Errorf(selvage.KindInvalid, "regionID is %d; make it the number that the region stands under", r.RegionID)
	}
	if r.RegionCode == "" {
		return selvage.Errorf(selvage.KindInvalid, "regionCode is missing; give it a short name like fra")
	}
	if r.RegionName == "" {
		r.RegionName = r.RegionCode
	}
	if len(r.RegionCode) > maxText || len(r.RegionName) > maxText {
		return selvage.Errorf(selvage.KindInvalid, "regionCode or regionName is longer than %d bytes", maxText)
	}
	if len(r.Nodes) > maxNodes {
		return selvage.Errorf(selvage.KindInvalid, "%d nodes; at most %d are allowed", len(r.Nodes), maxNodes)
	}
	for i, n := range r.Nodes {
		if n == nil {
			return selvage.Errorf(selvage.KindInvalid, "node %d is empty; give it a hostName or leave it out", i+1)
		}
		if n.Name == "" {
			n.Name = nodeName(id, i)
		}
		n.RegionID = id
		if err := checkNode(n); err != nil {
			return selvage.Errorf(selvage.KindInvalid, "node %.*q: %w", maxText, n.Name, err)
		}
	}
	return nil
}

// nodeName is what nodes are called by custom: 900a, 900b.
func nodeName(region, i int) string {
	if i < 26 {
		return strconv.Itoa(region) + string(rune('a'+i))
	}
	return fmt.Sprintf("%d-%d", region, i)
}

func checkNode(n *tailcfg.DERPNode) error {
	if len(n.Name) > maxText {
		return selvage.Errorf(selvage.KindInvalid, "name is longer than %d bytes", maxText)
	}
	if err := checkHost(n.HostName); err != nil {
		return selvage.Errorf(selvage.KindInvalid, "hostName: %w", err)
	}
	if ip, err := netip.ParseAddr(n.HostName); err == nil && ip.Is6() {
		return selvage.Errorf(selvage.KindInvalid, "hostName %s is an IPv6 address, which clients can't use there; put it into ipv6 and give a name", n.HostName)
	}
	if ip, err := netip.ParseAddr(n.IPv4); n.IPv4 != "" && n.IPv4 != familyOff && (err != nil || !ip.Is4()) {
		return selvage.Errorf(selvage.KindInvalid, "ipv4 is %.40q; use an IPv4 address, or \"none\" to not use IPv4", n.IPv4)
	}
	if ip, err := netip.ParseAddr(n.IPv6); n.IPv6 != "" && n.IPv6 != familyOff && (err != nil || !ip.Is6() || ip.Zone() != "") {
		return selvage.Errorf(selvage.KindInvalid, "ipv6 is %.40q; use an IPv6 address, or \"none\" to not use IPv6", n.IPv6)
	}
	if n.STUNPort < -1 || n.STUNPort > maxPort {
		return selvage.Errorf(selvage.KindInvalid, "stunPort is %d; use a port, 0 for %d, or -1 for no STUN", n.STUNPort, DefaultSTUNPort)
	}
	if n.DERPPort < 0 || n.DERPPort > maxPort {
		return selvage.Errorf(selvage.KindInvalid, "derpPort is %d; use a port, or 0 for 443", n.DERPPort)
	}
	if _, err := netip.ParseAddr(n.STUNTestIP); n.STUNTestIP != "" && err != nil {
		return selvage.Errorf(selvage.KindInvalid, "stunTestIP is %.40q; use an IP address or leave it out", n.STUNTestIP)
	}
	return checkCertName(n.CertName)
}

func checkCertName(name string) error {
	if name == "" {
		return nil
	}
	if sum, ok := strings.CutPrefix(name, pinPrefix); ok {
		return checkHash(sum)
	}
	if err := checkHost(name); err != nil {
		return selvage.Errorf(selvage.KindInvalid, "certName: %w", err)
	}
	return nil
}

// checkHash wants lower case, because clients compare the text.
func checkHash(sum string) error {
	b, err := hex.DecodeString(sum)
	if err != nil || len(b) != 32 || strings.ToLower(sum) != sum {
		return selvage.Errorf(selvage.KindInvalid, "certificate hash %.80q is not a SHA-256: use 64 hex digits in lower case", sum)
	}
	return nil
}

const maxPort = 1<<16 - 1

// checkHost accepts a host name or an IP address without a zone.
func checkHost(host string) error {
	if ip, err := netip.ParseAddr(host); err == nil && ip.Zone() == "" {
		return nil
	}
	if host == "" {
		return selvage.Errorf(selvage.KindInvalid, "empty host; use a name or an address that devices can reach")
	}
	if err := dnsname.ValidHostname(host); err != nil || strings.HasSuffix(host, ".") {
		return selvage.Errorf(selvage.KindInvalid, "%.80q is not a host; use a name like relay.example.com or an address", host)
	}
	return nil
}
