// Package consoletest opens a console for tests: a real tailnet on SQLite, a door
// where devices wait, a clock that stands still, and visitors with cookies.
package consoletest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/console"
	"selvage/internal/console/site"
	"selvage/internal/identity"
	"selvage/internal/netmap"
	"selvage/internal/store"
	"selvage/internal/store/storetest"
)

// Kit is a console over a tailnet of its own.
type Kit struct {
	testing.TB
	DB      *store.DB
	Hub     *netmap.Hub
	Net     *netmap.Net
	Clock   *Clock
	Door    *Door
	Handler http.Handler
	// Log is what the console has logged.
	Log *Log
}

// Clock is a clock that tests set.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now returns the time that was set.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance lets time pass.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Log collects what is logged.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// String returns all that was logged.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// New opens a console whose server is known under publicURL; empty for plain HTTP
// under whatever name it is asked for.
func New(t testing.TB, publicURL string) *Kit {
	t.Helper()
	clock := &Clock{now: time.Date(2026, 5, 4, 9, 30, 0, 0, time.UTC)}
	k := &Kit{TB: t, DB: storetest.New(t), Clock: clock, Log: &Log{}, Door: &Door{waiting: map[string]wait{}, clock: clock}}
	hub, err := netmap.Open(context.Background(), netmap.Options{DB: k.DB, Logger: slog.New(slog.DiscardHandler), Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	k.Hub, k.Net = hub, hub.Nets()[0]
	k.Handler = console.New(console.Options{
		Options: site.Options{
			Hub: hub, DB: k.DB, Logger: slog.New(slog.NewTextHandler(k.Log, nil)),
			PublicURL: publicURL, Version: "1.0-test", Now: clock.Now,
		},
		Door: console.Door{Pending: k.Door.Pending, Admit: k.Door.Admit, Reject: k.Door.Reject},
	}).Handler()
	return k
}

// Owner signs the tailnet's first owner in.
func (k *Kit) Owner() *Visitor {
	k.Helper()
	owner := k.Net.View().Owner()
	v := k.Stranger()
	v.Post("/welcome/"+k.Link(owner.ID), "login", "ada@example.com", "name", "Ada Weaver").Redirects("/")
	return v
}

// Member makes a user and signs them in.
func (k *Kit) Member(login string, role selvage.Role) (*Visitor, *selvage.User) {
	k.Helper()
	u, err := k.Net.CreateUser(context.Background(), selvage.Local(), login, "", role)
	if err != nil {
		k.Fatal(err)
	}
	v := k.Stranger()
	v.Post("/welcome/" + k.Link(u.ID)).Redirects("/")
	return v, k.Net.View().User(u.ID)
}

// Link makes a one-time link and returns its secret.
func (k *Kit) Link(user selvage.UserID) string {
	k.Helper()
	var secret string
	err := k.Net.Update(context.Background(), selvage.Local(), func(tx *netmap.Tx) (err error) {
		secret, _, err = identity.NewLink(tx, k.Clock.Now(), user)
		return err
	})
	if err != nil {
		k.Fatal(err)
	}
	return secret
}

// NewDevice describes a device that may join.
func NewDevice(hostname, os string) netmap.Join {
	return netmap.Join{
		Machine: key.NewMachine().Public(), Key: key.NewNode().Public(), Cap: 142,
		Hostinfo: &tailcfg.Hostinfo{Hostname: hostname, OS: os, IPNVersion: "1.102.5-tabc1234-g5678def"},
	}
}

// Join connects a device of a user.
func (k *Kit) Join(user selvage.UserID, j netmap.Join) *netmap.Node {
	k.Helper()
	j.User = user
	n, err := k.Net.Join(context.Background(), selvage.Local(), j)
	if err != nil {
		k.Fatal(err)
	}
	return n
}

// ChangeSettings changes the tailnet's settings.
func (k *Kit) ChangeSettings(change func(*selvage.Settings)) {
	k.Helper()
	err := k.Net.ChangeSettings(context.Background(), selvage.Local(), "settings.set", func(s *selvage.Settings) error {
		change(s)
		return nil
	})
	if err != nil {
		k.Fatal(err)
	}
}

// SetPolicy puts a policy in force.
func (k *Kit) SetPolicy(text string) {
	k.Helper()
	if _, err := k.Net.SetPolicy(context.Background(), selvage.Local(), text); err != nil {
		k.Fatal(err)
	}
}

// ApproveRoutes approves routes of a device.
func (k *Kit) ApproveRoutes(id selvage.NodeID, routes ...netip.Prefix) {
	k.Helper()
	if err := k.Net.SetApprovedRoutes(context.Background(), selvage.Local(), id, routes); err != nil {
		k.Fatal(err)
	}
}

// Online gives a device a session until the test ends.
func (k *Kit) Online(id selvage.NodeID) {
	k.Helper()
	if _, err := k.Net.Watch(id); err != nil {
		k.Fatal(err)
	}
}

// Door is where devices wait, in the place of the server for clients.
type Door struct {
	clock *Clock

	mu sync.Mutex
	// guards the following fields
	waiting  map[string]wait
	rejected []string
	broken   error
}

type wait struct {
	device console.Device
	join   netmap.Join
}

// Wait lets a device wait and returns its code.
func (d *Door) Wait(j netmap.Join, address string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	code := fmt.Sprintf("c0de%012d", len(d.waiting)+len(d.rejected)+1)
	h := j.Hostinfo
	d.waiting[code] = wait{console.Device{
		Code: code, Hostname: h.Hostname, OS: h.OS, Client: h.IPNVersion, Tags: h.RequestTags,
		Address: address, Since: d.clock.Now().Add(-2 * time.Minute),
	}, j}
	return code
}

// Break makes every question fail with err.
func (d *Door) Break(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = err
}

// Rejected returns the codes of the devices that were refused.
func (d *Door) Rejected() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rejected
}

// Pending is Door.Pending of the console.
func (d *Door) Pending(code string) (console.Device, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken != nil {
		return console.Device{}, d.broken
	}
	w, ok := d.waiting[code]
	if !ok {
		return console.Device{}, selvage.Errorf(selvage.KindNotFound, "no device waits with this code")
	}
	return w.device, nil
}

// Admit is Door.Admit of the console.
func (d *Door) Admit(ctx context.Context, actor selvage.Actor, net *netmap.Net, code string, user selvage.UserID, tags []string, preapproved bool) (*netmap.Node, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w, ok := d.waiting[code]
	if !ok {
		return nil, selvage.Errorf(selvage.KindNotFound, "no device waits with this code")
	}
	w.join.User, w.join.Tags, w.join.Preapproved = user, tags, preapproved
	if err := netmap.CheckTags(net.View().Policy, tags); err != nil {
		return nil, err
	}
	n, err := net.Join(ctx, actor, w.join)
	if err != nil {
		return nil, err
	}
	delete(d.waiting, code)
	return n, nil
}

// Reject is Door.Reject of the console.
func (d *Door) Reject(code string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.waiting[code]; !ok {
		return selvage.Errorf(selvage.KindNotFound, "no device waits with this code")
	}
	delete(d.waiting, code)
	d.rejected = append(d.rejected, code)
	return nil
}

// Report lets a device tell its home relay and the addresses where it is reached.
func (k *Kit) Report(id selvage.NodeID, homeDERP int, endpoints ...string) {
	k.Helper()
	var list []netip.AddrPort
	for _, e := range endpoints {
		list = append(list, netip.MustParseAddrPort(e))
	}
	_, err := k.Net.Report(id, func(s *selvage.Soft) { s.HomeDERP, s.Endpoints = homeDERP, list })
	if err != nil {
		k.Fatal(err)
	}
}
