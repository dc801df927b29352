package store

import (
	"database/sql"
	"fmt"

	"selvage"
)

// MaxPolicies is the largest number of revisions that Policies lists at once.
const MaxPolicies = 1000

// PutPolicy saves a new revision. Revisions are never changed: one that exists is an
// error of KindConflict.
func (tx *Tx) PutPolicy(p *selvage.PolicyRevision) error {
	_, err := tx.exec("INSERT INTO policies (tailnet, rev, body, created, author) VALUES ($1, $2, $3, $4, $5)",
		int64(p.Tailnet), p.Rev, p.Text, nanos(p.Created), p.Author)
	if err != nil {
		return fmt.Errorf("save policy %d of tailnet %d: %w", p.Rev, p.Tailnet, err)
	}
	return nil
}

// Policy returns the newest revision of a tailnet's policy, nil if there is none.
func (tx *Tx) Policy(tailnet selvage.TailnetID) (*selvage.PolicyRevision, error) {
	p, ok, err := one(tx, scanPolicy, "SELECT tailnet, rev, body, created, author FROM policies WHERE tailnet = $1 ORDER BY rev DESC LIMIT 1", int64(tailnet))
	if err != nil {
		return nil, fmt.Errorf("read policy of tailnet %d: %w", tailnet, err)
	}
	if !ok {
		return nil, nil
	}
	return p, nil
}

// PolicyRevision returns one revision of a tailnet's policy, or an error of
// KindNotFound.
func (tx *Tx) PolicyRevision(tailnet selvage.TailnetID, rev int64) (*selvage.PolicyRevision, error) {
	p, ok, err := one(tx, scanPolicy, "SELECT tailnet, rev, body, created, author FROM policies WHERE tailnet = $1 AND rev = $2", int64(tailnet), rev)
	if err != nil {
		return nil, fmt.Errorf("read policy %d of tailnet %d: %w", rev, tailnet, err)
	}
	if !ok {
		return nil, selvage.Errorf(selvage.KindNotFound, "the policy has no revision %d", rev)
	}
	return p, nil
}

// Policies returns revisions of a tailnet's policy without their texts, newest first,
// at most limit of them and at most MaxPolicies.
func (tx *Tx) Policies(tailnet selvage.TailnetID, limit int) ([]*selvage.PolicyRevision, error) {
	if limit <= 0 || limit > MaxPolicies {
		limit = MaxPolicies
	}
	list, err := all(tx, scanPolicy, "SELECT tailnet, rev, '', created, author FROM policies WHERE tailnet = $1 ORDER BY rev DESC LIMIT $2", int64(tailnet), limit)
	if err != nil {
		return nil, fmt.Errorf("read policies of tailnet %d: %w", tailnet, err)
	}
	return list, nil
}

func scanPolicy(rows *sql.Rows) (*selvage.PolicyRevision, error) {
	var p selvage.PolicyRevision
	var created int64
	err := rows.Scan(&p.Tailnet, &p.Rev, &p.Text, &created, &p.Author)
	p.Created = timeOf(created)
	return &p, err
}
