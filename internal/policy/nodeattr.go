package policy

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/tailscale/hujson"
	"tailscale.com/tailcfg"

	"selvage/internal/policy/source"
)

// attrRule is an entry of nodeAttrs.
type attrRule struct {
	targets []selector
	names   []string
	app     []capability
	pool    []netip.Prefix
}

// funnelPorts is what the attribute "funnel" means beside itself: the ports that a
// device may open to the internet, as clients read it.
const funnelPorts tailcfg.NodeCapability = "https://tailscale.com/cap/funnel-ports?ports=443,8443,10000"

// derivedAttrs are the capabilities that the server derives from facts. A policy
// can name them, as the service allows, but does not set them.
var derivedAttrs = []string{string(tailcfg.CapabilityAdmin), string(tailcfg.CapabilityOwner)}

func (p *parser) readNodeAttrs(v *hujson.Value, pol *Policy) {
	els := p.Elements(v, "nodeAttrs")
	for i := range els {
		what := fmt.Sprintf("nodeAttrs[%d]", i)
		f := p.Fields(&els[i], what, "target", "attr", "app", "ipPool")
		var a attrRule
		for _, t := range p.Texts(f["target"], "target") {
			a.targets = append(a.targets, p.selector(t, inTarget, "target="))
		}
		for _, t := range p.Texts(f["attr"], "attr") {
			if slices.Contains(derivedAttrs, t.S) {
				p.Warnf(t.Off, "take it out", "%s: %q follows from the user's role and is not set by a policy", what, t.S)
				continue
			}
			a.names = append(a.names, t.S)
		}
		if f["app"] != nil {
			for _, m := range p.Members(f["app"], "app") {
				c := capability{name: tailcfg.PeerCapability(m.Name.S)}
				vals := p.Elements(m.Val, fmt.Sprintf("app[%q]", source.Clip(m.Name.S)))
				for j := range vals {
					c.values = append(c.values, tailcfg.RawMessage(p.Raw(&vals[j])))
				}
				a.app = append(a.app, c)
			}
		}
		a.pool = p.ipPool(f["ipPool"], what)
		pol.attrs = append(pol.attrs, a)
	}
}

// CapMap returns the node capabilities that nodeAttrs give the device; not nil.
// Values are those of all entries that match, in order.
func (c *Compiled) CapMap(d Device) tailcfg.NodeCapMap {
	caps := make(tailcfg.NodeCapMap)
	for _, a := range c.pol.attrs {
		if !c.anyMatches(a.targets, d) {
			continue
		}
		for _, name := range a.names {
			if _, ok := caps[tailcfg.NodeCapability(name)]; !ok {
				caps[tailcfg.NodeCapability(name)] = nil
			}
			if name == string(tailcfg.NodeAttrFunnel) {
				caps[funnelPorts] = nil
			}
		}
		for _, app := range a.app {
			name := tailcfg.NodeCapability(app.name)
			caps[name] = append(slices.Clip(caps[name]), app.values...)
		}
	}
	return caps
}
