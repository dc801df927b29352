package review

import (
	"strconv"
	"strings"

	"selvage"
	"selvage/internal/policy/transport"
)

// ParseTarget reads "NAME:PORT" or "NAME:PORT/PROTOCOL", such as "web:443/tcp",
// "[fd7a::1]:53/udp" or "web/icmp". Without a protocol it is TCP; only protocols
// without ports do without a port.
func ParseTarget(s string) (name string, proto int, port uint16, err error) {
	bad := func(why string) (string, int, uint16, error) {
		return "", 0, 0, selvage.Errorf(selvage.KindInvalid, "%q: %s; write NAME:PORT or NAME:PORT/PROTOCOL, for example web:443/tcp", s, why)
	}
	rest, protoName, named := strings.Cut(s, "/")
	proto = protoTCP
	if named {
		protos, err := transport.ParseProto(protoName)
		if err != nil || len(protos) != 1 {
			return bad("unknown protocol")
		}
		proto = protos[0]
	}
	name, portText, ok := transport.SplitPorts(rest)
	if !transport.Ported(proto) {
		if ok && portText != "*" {
			name = rest // an address of IPv6, or a tag
		}
		if strings.Trim(name, "[]") == "" {
			return bad("no name")
		}
		return strings.Trim(name, "[]"), proto, 0, nil
	}
	if !ok || name == "" {
		return bad("no name or no port")
	}
	n, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return bad("not a port")
	}
	return name, proto, uint16(n), nil
}
