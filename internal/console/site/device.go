package site

import (
	"selvage"
	"selvage/internal/authz"
	"selvage/internal/netmap"
)

// SeesAll reports whether the visitor may see other people's devices.
func (v *Visit) SeesAll() bool { return authz.Allow(v.Actor, authz.NodeRead) == nil }

// MaySee reports whether the visitor may see a device: it is their own, it has a tag
// that they own, or they may see all.
func (v *Visit) MaySee(n *netmap.Node) bool {
	if authz.AllowOwn(v.Actor, authz.NodeRead, n.User) == nil {
		return true
	}
	for _, t := range n.Tags {
		if v.View.Policy.OwnsTag(v.User.ID, nil, t) {
			return true
		}
	}
	return false
}

// Device returns the device with the given ID if the visitor may see it. What they
// may not see does not exist for them.
func (v *Visit) Device(id string) (*netmap.Node, error) {
	if n, err := selvage.ParseNodeID(id); err == nil {
		if rec := v.View.Node(n); rec != nil && v.MaySee(rec) {
			return rec, nil
		}
	}
	return nil, selvage.Errorf(selvage.KindNotFound, "there is no device with this number in your network; it may have been removed")
}
