package admin

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	"selvage"
	"selvage/internal/authz"
	"selvage/internal/netmap"
	"selvage/internal/policy"
	"selvage/internal/policy/review"
	"selvage/internal/store"
)

// maxRevisions is how many revisions of a policy are listed.
const maxRevisions = 100

// etag names a policy by what it says.
func etag(text string) string {
	sum := sha256.Sum256([]byte(text))
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

func problems(ds []policy.Diagnostic) []Problem {
	list := []Problem{}
	for _, d := range ds {
		list = append(list, Problem{Line: d.Line, Column: d.Col, Severity: string(d.Severity), Message: d.Msg, Fix: d.Fix})
	}
	return list
}

// Problems returns what a review has found, as the API says it.
func Problems(fs []review.Finding) []Problem {
	list := []Problem{}
	for _, f := range fs {
		list = append(list, Problem{Line: f.Line, Column: f.Col, Severity: f.Severity, Message: f.Msg, Fix: f.Fix})
	}
	return list
}

func (r *request) policyOf(v *netmap.View) Policy {
	j := Policy{Text: v.PolicyText()}
	j.ETag = etag(j.Text)
	if rev := v.Policy.Rev; rev != nil {
		j.Revision, j.Created, j.Author = rev.Rev, rev.Created, rev.Author
	}
	if v.Policy.Problem != nil {
		j.Problem = v.Policy.Problem.Error()
	}
	if v.Policy.Failing != nil {
		j.TestsFail = v.Policy.Failing.Error()
	}
	if w := v.Policy.Parsed.Warnings(); len(w) > 0 {
		j.Warnings = problems(w)
	}
	r.w.Header().Set("ETag", j.ETag)
	return j
}

func getPolicy(r *request) (any, error) {
	net, err := r.net(authz.PolicyRead)
	if err != nil {
		return nil, err
	}
	return r.policyOf(net.View()), nil
}

func setPolicy(r *request) (any, error) {
	net, err := r.net(authz.PolicyWrite)
	if err != nil {
		return nil, err
	}
	var b PolicyText
	if err := r.read(&b, maxPolicy); err != nil {
		return nil, err
	}
	match := r.Header.Get("If-Match")
	err = net.Update(r.Context(), r.actor, func(tx *netmap.Tx) error {
		v := tx.View()
		if match != "" && match != "*" && strings.Trim(match, `"`) != strings.Trim(etag(v.PolicyText()), `"`) {
			return selvage.Errorf(selvage.KindConflict, "the policy has changed since you read it; read it again, make your change once more, and set it")
		}
		if v.Policy.Rev != nil && v.Policy.Problem == nil && v.Policy.Rev.Text == b.Text {
			return nil
		}
		_, err := tx.PutPolicy(b.Text)
		return err
	})
	if err != nil {
		return nil, err
	}
	v := net.View()
	answer := r.policyOf(v)
	answer.Warnings = Problems(review.Lint(answer.Text, v.Review()))
	return answer, nil
}

// proposed reads a policy from the body of a request, and runs its tests. The error
// of a policy that would be refused has the places.
func (r *request) proposed(v *netmap.View) (*policy.Policy, string, error) {
	var b PolicyText
	if err := r.read(&b, maxPolicy); err != nil {
		return nil, "", err
	}
	p, err := policy.Parse(b.Text)
	if err == nil {
		err = v.TestPolicy(p)
	}
	if err != nil {
		return nil, b.Text, selvage.Errorf(selvage.KindInvalid, "%w", err)
	}
	return p, b.Text, nil
}

func checkPolicy(r *request) (any, error) {
	net, err := r.net(authz.PolicyRead)
	if err != nil {
		return nil, err
	}
	v := net.View()
	p, text, err := r.proposed(v)
	var refused *policy.Error
	switch {
	case errors.As(err, &refused):
		return PolicyCheck{Problems: Problems(review.Findings(text, err))}, nil
	case err != nil:
		return nil, err
	}
	return PolicyCheck{OK: true, Problems: Problems(review.Lint(text, v.ReviewUnder(p)))}, nil
}

func listRevisions(r *request) (any, error) {
	net, err := r.net(authz.PolicyRead)
	if err != nil {
		return nil, err
	}
	list := []PolicyRevision{}
	err = r.s.opts.DB.Read(r.Context(), func(tx *store.Tx) error {
		revs, err := tx.Policies(net.ID(), maxRevisions)
		for _, rev := range revs {
			list = append(list, PolicyRevision{Revision: rev.Rev, Created: rev.Created, Author: rev.Author})
		}
		return err
	})
	return list, err
}

func getRevision(r *request) (any, error) {
	net, err := r.net(authz.PolicyRead)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseInt(r.PathValue("rev"), 10, 64)
	if err != nil {
		return nil, selvage.Errorf(selvage.KindInvalid, "bad revision %q: want a number", r.PathValue("rev"))
	}
	var rev *selvage.PolicyRevision
	err = r.s.opts.DB.Read(r.Context(), func(tx *store.Tx) (err error) {
		rev, err = tx.PolicyRevision(net.ID(), number)
		return err
	})
	if selvage.Is(err, selvage.KindNotFound) {
		return nil, selvage.Errorf(selvage.KindNotFound, "no revision %d of the policy; `selvage policy history` shows them", number)
	}
	if err != nil {
		return nil, err
	}
	return Policy{Text: rev.Text, Revision: rev.Rev, Created: rev.Created, Author: rev.Author, ETag: etag(rev.Text)}, nil
}
