package netmap

import (
	"selvage/internal/policy"
	"selvage/internal/policy/review"
)

// Review puts the devices of the view under the policy in force, to answer what people
// ask of it.
func (v *View) Review() *review.Network {
	v.reviewOnce.Do(func() {
		v.review = review.New(v.Policy.Parsed, v.Policy.Compiled, v.users.persons(), v.reviewed())
	})
	return v.review
}

// ReviewUnder is Review under a policy that is not in force.
func (v *View) ReviewUnder(p *policy.Policy) *review.Network {
	persons := v.users.persons()
	return review.New(p, p.Compile(persons, nodeRanges(v.Tailnet, v.nodes)...), persons, v.reviewed())
}

// TestPolicy runs the tests of a policy for the people of the tailnet.
func (v *View) TestPolicy(p *policy.Policy) error { return p.Test(v.users.persons()) }

// reviewed returns all devices, by ID.
func (v *View) reviewed() []review.Node {
	var nodes []review.Node
	for n := range v.nodes.all {
		nodes = append(nodes, review.Node{
			Device: n.Device(), Name: n.Name, Approved: n.Approved, Expired: n.Expired, Online: n.Online,
			Advertised: n.Soft.Advertised(), Primary: n.Primary, NoRelay: n.Online && n.Soft.HomeDERP == 0,
		})
	}
	return nodes
}
