package policy

import (
	"net/netip"

	"github.com/tailscale/hujson"
	"tailscale.com/tailcfg"
)

type sshRule struct{}

type sshTest struct{}

func (p *parser) readSSH(v *hujson.Value, pol *Policy) {}

func (p *parser) readSSHTests(v *hujson.Value, pol *Policy) {}

// SSH returns the SSH rules of a device of class dst; nil if there are none.
func (c *Compiled) SSH(d Device, dst Class, members func(Class) []netip.Addr) *tailcfg.SSHPolicy {
	return nil
}
