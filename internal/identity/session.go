package identity

import (
	"context"
	"fmt"
	"time"

	"selvage"
	"selvage/internal/journal"
	"selvage/internal/store"
)

// How long a browser stays signed in.
const (
	// SessionIdle is how long a session lasts without a request.
	SessionIdle = 12 * time.Hour
	// SessionLifetime is how long a session lasts at most.
	SessionLifetime = 7 * 24 * time.Hour
	// seenStep is how exact the time of the last request is noted; a request in the
	// same step writes nothing.
	seenStep = time.Minute
	// maxAgent is the length of a User-Agent that is kept, in bytes.
	maxAgent = 200
)

// sessionEvent is what the journal says of a session: everything but its hash.
type sessionEvent struct {
	User    selvage.UserID `json:"user"`
	Address string         `json:"address,omitempty"`
	Agent   string         `json:"agent,omitempty"`
	Created time.Time      `json:"created"`
	Expires time.Time      `json:"expires"`
}

func eventOf(s *selvage.Session) sessionEvent {
	return sessionEvent{s.User, s.Address, s.Agent, s.Created, s.Expires}
}

// NewSession signs a user's browser in and returns the value of its cookie, which is
// not stored.
func NewSession(tx Tx, now time.Time, user selvage.UserID, address, agent string) (cookie string, s *selvage.Session, err error) {
	u := tx.User(user)
	if err := mayAct(u); err != nil {
		return "", nil, err
	}
	cookie, _ = newSecret(sessionPrefix)
	s = &selvage.Session{
		Hash: Hash(cookie), Tailnet: u.Tailnet, User: user, Created: now, Seen: now,
		Expires: now.Add(SessionLifetime), Address: address, Agent: agent[:min(len(agent), maxAgent)],
	}
	if err := tx.Store().PutSession(s); err != nil {
		return "", nil, err
	}
	tx.Log(journal.SessionCreate, userTarget(user), nil, eventOf(s))
	return cookie, s, nil
}

// CheckSession returns the session that the cookie belongs to, and notes that it is
// in use. The caller looks its user up and asks UserActor whether they may act.
func CheckSession(ctx context.Context, db *store.DB, cookie string, now time.Time) (*selvage.Session, error) {
	if _, err := parse(sessionPrefix, cookie); err != nil {
		return nil, err
	}
	var s *selvage.Session
	err := db.Read(ctx, func(tx *store.Tx) (err error) {
		s, err = tx.SessionByHash(Hash(cookie))
		return err
	})
	if err != nil {
		return nil, unknown(err, sessionPrefix)
	}
	if !matches(cookie, s.Hash) || !now.Before(s.Expires) || now.Sub(s.Seen) >= SessionIdle {
		return nil, selvage.Errorf(selvage.KindUnauthenticated, "this session has expired; sign in again")
	}
	if now.Sub(s.Seen) < seenStep {
		return s, nil
	}
	return s, touch(ctx, db, s, now)
}

// touch notes a session's last request. It must not bring back one that was ended
// meanwhile.
func touch(ctx context.Context, db *store.DB, s *selvage.Session, now time.Time) error {
	err := db.Tx(ctx, func(tx *store.Tx) error {
		cur, err := tx.SessionByHash(s.Hash)
		if err != nil {
			return unknown(err, sessionPrefix)
		}
		cur.Seen = now
		*s = *cur
		return tx.PutSession(cur)
	})
	if err != nil {
		return fmt.Errorf("note use of session: %w", err)
	}
	return nil
}

// EndSession signs a browser out.
func EndSession(tx Tx, s *selvage.Session) error {
	if err := tx.Store().DeleteSession(s.Hash); err != nil {
		return err
	}
	tx.Log(journal.SessionEnd, userTarget(s.User), eventOf(s), nil)
	return nil
}

// EndSessions signs all of a user's browsers out and returns how many there were.
func EndSessions(tx Tx, user selvage.UserID) (int, error) {
	sessions, err := tx.Store().Sessions(user)
	if err != nil {
		return 0, err
	}
	for _, s := range sessions {
		if err := EndSession(tx, s); err != nil {
			return 0, err
		}
	}
	return len(sessions), nil
}

// Purge removes links and sessions that can no longer be used. It is worth calling
// every hour or so.
func Purge(ctx context.Context, db *store.DB, now time.Time) error {
	err := db.Tx(ctx, func(tx *store.Tx) error {
		// A day's grace: who comes late is told that the link expired.
		if _, err := tx.PurgeLinks(now.Add(-LinkLifetime)); err != nil {
			return err
		}
		_, err := tx.PurgeSessions(now)
		return err
	})
	if err != nil {
		return fmt.Errorf("purge links and sessions: %w", err)
	}
	return nil
}
