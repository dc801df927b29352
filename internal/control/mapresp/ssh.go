package mapresp

import (
	"strings"

	"tailscale.com/tailcfg"

	"selvage/internal/netmap"
)

// SSH returns the SSH rules of a node, or nil if the policy lets nobody in. Where a
// rule asks for a check, the client of the node asks the server at host, which is the
// one that it has a connection to already.
func SSH(v *netmap.View, self *netmap.Node, host string) *tailcfg.SSHPolicy {
	p := v.SSH(self)
	if p == nil {
		return nil
	}
	for _, r := range p.Rules {
		if r.Action == nil || r.Action.HoldAndDelegate == "" {
			continue
		}
		a := *r.Action
		if _, path, ok := strings.Cut(a.HoldAndDelegate, "/machine/"); ok {
			a.HoldAndDelegate = "https://" + host + "/machine/" + path
		}
		r.Action = &a
	}
	return p
}
