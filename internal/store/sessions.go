package store

import (
	"database/sql"
	"fmt"
	"time"

	"selvage"
)

const linkColumns = "hash, tailnet, user_id, created, expires, used"

// PutLink saves a one-time link, new or changed.
func (tx *Tx) PutLink(l *selvage.Link) error {
	_, err := tx.exec(`INSERT INTO links (`+linkColumns+`) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (hash) DO UPDATE SET tailnet = excluded.tailnet, user_id = excluded.user_id, created = excluded.created,
expires = excluded.expires, used = excluded.used`,
		l.Hash, int64(l.Tailnet), int64(l.User), nanos(l.Created), nanos(l.Expires), nanos(l.Used))
	if err != nil {
		return fmt.Errorf("save link of user %d: %w", l.User, err)
	}
	return nil
}

// LinkByHash returns the link with the hash, or an error of KindNotFound. It does not
// look at expiry and use.
func (tx *Tx) LinkByHash(hash string) (*selvage.Link, error) {
	l, ok, err := one(tx, scanLink, "SELECT "+linkColumns+" FROM links WHERE hash = $1", hash)
	if err != nil {
		return nil, fmt.Errorf("read link by hash: %w", err)
	}
	if !ok {
		return nil, selvage.Errorf(selvage.KindNotFound, "the link is not known")
	}
	return l, nil
}

func scanLink(rows *sql.Rows) (*selvage.Link, error) {
	var l selvage.Link
	var created, expires, used int64
	err := rows.Scan(&l.Hash, &l.Tailnet, &l.User, &created, &expires, &used)
	l.Created, l.Expires, l.Used = timeOf(created), timeOf(expires), timeOf(used)
	return &l, err
}

// UseLink marks a link as used. Of several that try, one succeeds; the others get an
// error of KindConflict. A link that is not there is an error of KindNotFound.
func (tx *Tx) UseLink(hash string, at time.Time) error {
	n, err := tx.exec("UPDATE links SET used = $1 WHERE hash = $2 AND used = 0", nanos(at), hash)
	if err != nil {
		return fmt.Errorf("use link: %w", err)
	}
	if n == 1 {
		return nil
	}
	l, err := tx.LinkByHash(hash)
	if err != nil {
		return err
	}
	return selvage.Errorf(selvage.KindConflict, "the link was used on %s; ask for a new one", l.Used.Format(time.DateOnly))
}

// PurgeLinks removes the links that expired before the given time, used or not, and
// returns how many there were.
func (tx *Tx) PurgeLinks(before time.Time) (int64, error) {
	n, err := tx.exec("DELETE FROM links WHERE expires < $1", nanos(before))
	if err != nil {
		return 0, fmt.Errorf("purge links: %w", err)
	}
	return n, nil
}

const sessionColumns = "hash, tailnet, user_id, created, seen, expires, address, agent"

// PutSession saves a browser's session, new or changed. What the browser says of
// itself is made fit to be stored.
func (tx *Tx) PutSession(s *selvage.Session) error {
	_, err := tx.exec(`INSERT INTO sessions (`+sessionColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (hash) DO UPDATE SET tailnet = excluded.tailnet, user_id = excluded.user_id, created = excluded.created,
seen = excluded.seen, expires = excluded.expires, address = excluded.address, agent = excluded.agent`,
		s.Hash, int64(s.Tailnet), int64(s.User), nanos(s.Created), nanos(s.Seen), nanos(s.Expires), clean(s.Address), clean(s.Agent))
	if err != nil {
		return fmt.Errorf("save session of user %d: %w", s.User, err)
	}
	return nil
}

// SessionByHash returns the session with the hash, or an error of KindNotFound. It
// does not look at the expiry.
func (tx *Tx) SessionByHash(hash string) (*selvage.Session, error) {
	s, ok, err := one(tx, scanSession, "SELECT "+sessionColumns+" FROM sessions WHERE hash = $1", hash)
	if err != nil {
		return nil, fmt.Errorf("read session by hash: %w", err)
	}
	if !ok {
		return nil, selvage.Errorf(selvage.KindNotFound, "the session is not known")
	}
	return s, nil
}

// Sessions returns the sessions of a user, oldest first.
func (tx *Tx) Sessions(user selvage.UserID) ([]*selvage.Session, error) {
	list, err := all(tx, scanSession, "SELECT "+sessionColumns+" FROM sessions WHERE user_id = $1 ORDER BY created, hash", int64(user))
	if err != nil {
		return nil, fmt.Errorf("read sessions of user %d: %w", user, err)
	}
	return list, nil
}

func scanSession(rows *sql.Rows) (*selvage.Session, error) {
	var s selvage.Session
	var created, seen, expires int64
	err := rows.Scan(&s.Hash, &s.Tailnet, &s.User, &created, &seen, &expires, &s.Address, &s.Agent)
	s.Created, s.Seen, s.Expires = timeOf(created), timeOf(seen), timeOf(expires)
	return &s, err
}

// DeleteSession ends a session. One that is not there is no error: to sign out twice
// is to be signed out.
func (tx *Tx) DeleteSession(hash string) error {
	if _, err := tx.exec("DELETE FROM sessions WHERE hash = $1", hash); err != nil {
		return fmt.Errorf("delete session: %w", err)
	}
	return nil
}

// DeleteSessions ends all sessions of a user and returns how many there were.
func (tx *Tx) DeleteSessions(user selvage.UserID) (int64, error) {
	n, err := tx.exec("DELETE FROM sessions WHERE user_id = $1", int64(user))
	if err != nil {
		return 0, fmt.Errorf("delete sessions of user %d: %w", user, err)
	}
	return n, nil
}

// PurgeSessions removes the sessions that expired before the given time and returns
// how many there were.
func (tx *Tx) PurgeSessions(before time.Time) (int64, error) {
	n, err := tx.exec("DELETE FROM sessions WHERE expires < $1", nanos(before))
	if err != nil {
		return 0, fmt.Errorf("purge sessions: %w", err)
	}
	return n, nil
}
