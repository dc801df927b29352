package identity_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"selvage"
	"selvage/internal/identity"
	"selvage/internal/journal"
	"selvage/internal/netmap"
	"selvage/internal/store"
	"selvage/internal/store/storetest"
)

// world is a tailnet with an owner, on a clock that the test moves.
type world struct {
	*testing.T
	db    *store.DB
	net   *netmap.Net
	owner *selvage.User
	now   time.Time
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, db: storetest.New(t), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	hub, err := netmap.Open(context.Background(), netmap.Options{DB: w.db, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.now }})
	if err != nil {
		t.Fatal(err)
	}
	w.net = hub.Nets()[0]
	w.owner = w.net.View().Owner()
	return w
}

// update makes a change that must succeed.
func (w *world) update(change func(tx *netmap.Tx) error) {
	w.Helper()
	if err := w.net.Update(context.Background(), selvage.Local(), change); err != nil {
		w.Fatal(err)
	}
}

func (w *world) link() string {
	w.Helper()
	var secret string
	w.update(func(tx *netmap.Tx) (err error) {
		secret, _, err = identity.NewLink(tx, tx.Now, w.owner.ID)
		return err
	})
	return secret
}

func (w *world) useLink(secret string) error {
	return w.net.Update(context.Background(), selvage.Local(), func(tx *netmap.Tx) error {
		_, err := identity.UseLink(tx, tx.Now, secret)
		return err
	})
}

func (w *world) findLink(secret string) error {
	_, err := identity.FindLink(context.Background(), w.db, secret, w.now)
	return err
}

// actions returns the last n actions of the journal, oldest first.
func (w *world) actions(n int) []string {
	w.Helper()
	var list []string
	err := w.db.Read(context.Background(), func(tx *store.Tx) error {
		entries, err := tx.Entries(w.net.ID(), store.Query{Newest: true, Limit: n})
		for _, e := range entries {
			list = append([]string{e.Action}, list...)
		}
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return list
}

func (w *world) wantKind(err error, kind selvage.Kind, what string) {
	w.Helper()
	if !selvage.Is(err, kind) {
		w.Errorf("%s: got %v, want an error of kind %v", what, err, kind)
	}
}

func TestLinkIsUsedOnce(t *testing.T) {
	w := newWorld(t)
	secret := w.link()
	for range 2 { // looking does not use it
		if err := w.findLink(secret); err != nil {
			t.Fatal(err)
		}
	}
	if !w.net.View().User(w.owner.ID).Pending {
		t.Fatal("the owner should be pending at first")
	}
	if err := w.useLink(secret); err != nil {
		t.Fatal(err)
	}
	if w.net.View().User(w.owner.ID).Pending {
		t.Error("the owner is still pending")
	}
	if got := w.actions(3); got[0] != journal.LinkCreate || got[1] != journal.LinkUse || got[2] != journal.UserUpdate {
		t.Errorf("the journal has %v", got)
	}
	w.wantKind(w.findLink(secret), selvage.KindDenied, "find a used link")
	w.wantKind(w.useLink(secret), selvage.KindDenied, "use a link twice")
}

func TestLinkRefused(t *testing.T) {
	w := newWorld(t)
	secret := w.link()
	w.now = w.now.Add(identity.LinkLifetime)
	w.wantKind(w.findLink(secret), selvage.KindDenied, "find an expired link")
	w.wantKind(w.useLink(secret), selvage.KindDenied, "use an expired link")
	w.wantKind(w.findLink(secret+"0"), selvage.KindUnauthenticated, "find a link with a mistake")
	other := newWorld(t).link()
	w.wantKind(w.findLink(other), selvage.KindUnauthenticated, "find the link of another server")
	w.wantKind(w.useLink(other), selvage.KindUnauthenticated, "use the link of another server")
}

func TestLinkOfSuspendedUser(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	ann, err := w.net.CreateUser(ctx, selvage.Local(), "ann", "", selvage.RoleMember)
	if err != nil {
		t.Fatal(err)
	}
	w.owner = ann
	secret := w.link()
	if err := w.net.UpdateUser(ctx, selvage.Local(), ann.ID, func(u *selvage.User) { u.Suspended = true }); err != nil {
		t.Fatal(err)
	}
	w.wantKind(w.useLink(secret), selvage.KindDenied, "use the link of a suspended user")
	err = w.net.Update(ctx, selvage.Local(), func(tx *netmap.Tx) error {
		_, _, err := identity.NewSession(tx, tx.Now, ann.ID, "", "")
		return err
	})
	w.wantKind(err, selvage.KindDenied, "sign a suspended user in")
	_, err = identity.UserActor(w.net.View().User(ann.ID), "")
	w.wantKind(err, selvage.KindDenied, "act as a suspended user")
	_, err = identity.UserActor(nil, "")
	w.wantKind(err, selvage.KindUnauthenticated, "act as a user who is gone")
}

func (w *world) session() (string, *selvage.Session) {
	w.Helper()
	var cookie string
	var s *selvage.Session
	w.update(func(tx *netmap.Tx) (err error) {
		cookie, s, err = identity.NewSession(tx, tx.Now, w.owner.ID, "192.0.2.1", "Browser")
		return err
	})
	return cookie, s
}

func (w *world) checkSession(cookie string) error {
	_, err := identity.CheckSession(context.Background(), w.db, cookie, w.now)
	return err
}

func TestSessionExpires(t *testing.T) {
	w := newWorld(t)
	idle, _ := w.session()
	busy, _ := w.session()
	start := w.now
	for w.now.Sub(start)+identity.SessionIdle/2 < identity.SessionLifetime {
		w.now = w.now.Add(identity.SessionIdle / 2)
		if err := w.checkSession(busy); err != nil {
			t.Fatalf("after %v: %v", w.now.Sub(start), err)
		}
	}
	w.wantKind(w.checkSession(idle), selvage.KindUnauthenticated, "a session that was idle")
	w.now = start.Add(identity.SessionLifetime)
	w.wantKind(w.checkSession(busy), selvage.KindUnauthenticated, "a session past its lifetime")
	if err := identity.Purge(context.Background(), w.db, w.now); err != nil {
		t.Fatal(err)
	}
}

func TestSessionEnds(t *testing.T) {
	w := newWorld(t)
	one, s := w.session()
	two, _ := w.session()
	three, _ := w.session()
	w.update(func(tx *netmap.Tx) error { return identity.EndSession(tx, s) })
	w.wantKind(w.checkSession(one), selvage.KindUnauthenticated, "an ended session")
	if err := w.checkSession(two); err != nil {
		t.Error(err)
	}
	var ended int
	w.update(func(tx *netmap.Tx) (err error) {
		ended, err = identity.EndSessions(tx, w.owner.ID)
		return err
	})
	if ended != 2 {
		t.Errorf("%d sessions ended, want 2", ended)
	}
	w.wantKind(w.checkSession(three), selvage.KindUnauthenticated, "an ended session")
	if got := w.actions(6); got[0] != journal.SessionCreate || got[5] != journal.SessionEnd {
		t.Errorf("the journal has %v", got)
	}
}

func TestToken(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	var text string
	var made *selvage.Token
	w.update(func(tx *netmap.Tx) (err error) {
		text, made, err = identity.NewToken(tx, tx.Now, w.owner.ID, "for a test", tx.Now.Add(time.Hour))
		return err
	})
	tok, err := identity.CheckToken(ctx, w.db, text, w.now)
	if err != nil {
		t.Fatal(err)
	}
	a, err := identity.TokenActor(tok, w.net.View().User(tok.User), "192.0.2.1")
	if err != nil || a.Role != selvage.RoleOwner || a.Kind != selvage.ActorToken || a.ID != string(made.ID) || a.User != w.owner.ID {
		t.Errorf("the actor is %+v, %v", a, err)
	}
	_, err = identity.CheckToken(ctx, w.db, text, w.now.Add(time.Hour))
	w.wantKind(err, selvage.KindUnauthenticated, "an expired token")
	w.update(func(tx *netmap.Tx) error { return identity.DeleteToken(tx, tok) })
	_, err = identity.CheckToken(ctx, w.db, text, w.now)
	w.wantKind(err, selvage.KindUnauthenticated, "a deleted token")
	if got := w.actions(2); got[0] != journal.TokenCreate || got[1] != journal.TokenDelete {
		t.Errorf("the journal has %v", got)
	}
}
