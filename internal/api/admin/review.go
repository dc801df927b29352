package admin

import (
	"cmp"
	"strings"

	"selvage"
	"selvage/internal/authz"
	"selvage/internal/netmap"
	"selvage/internal/policy/review"
)

// The answers in this file are those of package review as they are: [review.Diff],
// [review.Answer], lists of [review.Reached], [review.RulesOf].

// maxReached bounds a list of who reaches what.
const maxReached = 20_000

// view returns the newest view of the tailnet that a question about the policy is for.
func (r *request) view() (*netmap.View, error) {
	net, err := r.net(authz.PolicyRead)
	if err != nil {
		return nil, err
	}
	return net.View(), nil
}

// diffPolicy answers what a policy would change, which is not put in force.
func diffPolicy(r *request) (any, error) {
	v, err := r.view()
	if err != nil {
		return nil, err
	}
	p, _, err := r.proposed(v)
	if err != nil {
		return nil, err
	}
	return review.Compare(v.Review(), v.ReviewUnder(p)), nil
}

// explainPolicy answers whether "from" may send to "to", which is NAME:PORT/PROTOCOL.
func explainPolicy(r *request) (any, error) {
	v, err := r.view()
	if err != nil {
		return nil, err
	}
	from := r.URL.Query().Get("from")
	if from == "" {
		return nil, selvage.Errorf(selvage.KindInvalid, "no \"from\": name a device, a login, a tag or an address")
	}
	to, proto, port, err := review.ParseTarget(r.URL.Query().Get("to"))
	if err != nil {
		return nil, err
	}
	return v.Review().Explain(review.Question{From: nameIn(v, from), To: nameIn(v, to), Proto: proto, Port: port})
}

// whoReaches answers who may send to "to", which is NAME:PORT/PROTOCOL.
func whoReaches(r *request) (any, error) {
	v, err := r.view()
	if err != nil {
		return nil, err
	}
	to, proto, port, err := review.ParseTarget(r.URL.Query().Get("to"))
	if err != nil {
		return nil, err
	}
	return bounded(v.Review().Who(nameIn(v, to), proto, port))
}

// reachOf answers what a person, tag or device may reach.
func reachOf(r *request) (any, error) {
	v, err := r.view()
	if err != nil {
		return nil, err
	}
	return bounded(v.Review().Reach(nameIn(v, r.PathValue("name"))))
}

func bounded(list []review.Reached, err error) (any, error) {
	switch {
	case err != nil:
		return nil, err
	case len(list) > maxReached:
		return nil, selvage.Errorf(selvage.KindInvalid, "the answer has %d pairs of devices, more than %d; ask about one device", len(list), maxReached)
	case list == nil:
		list = []review.Reached{}
	}
	return list, nil
}

// rulesOf answers which rules are in force on a device.
func rulesOf(r *request) (any, error) {
	v, err := r.view()
	if err != nil {
		return nil, err
	}
	node, err := v.NodeByName(r.PathValue("node"))
	if err != nil {
		return nil, err
	}
	return v.Review().Rules(node.Name)
}

// nameIn returns a device's name for its full name; other names are as they are.
func nameIn(v *netmap.View, s string) string {
	short, full := strings.CutSuffix(strings.ToLower(strings.TrimSuffix(s, ".")), "."+strings.ToLower(v.Domain()))
	if !full {
		return s
	}
	return cmp.Or(short, s)
}
