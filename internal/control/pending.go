package control

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"

	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/netmap"
)

// Limits of registrations that wait for a person.
const (
	// maxPending bounds the table, maxPendingBytes what devices say of themselves in
	// it. When it is full, the one that has not been heard of for the longest time
	// goes; its device asks again with the same code.
	maxPending      = 10_000
	maxPendingBytes = 64 << 20
	// pendingTTL is how long a registration waits without a sign of its device.
	pendingTTL = time.Hour
)

// Pending is a device that waits for a person to connect it.
type Pending struct {
	Code    string
	Machine key.MachinePublic
	// Hostname, OS and Client are what the device says of itself.
	Hostname, OS, Client string
	Tags                 []string // asked for
	Address              string   // where it calls from
	Since                time.Time
	// Seen stands for Hostname, OS and Tags. Who decides by these hands it to
	// AdmitSeen, since the device can change them at any time.
	Seen string
}

// seenOf returns the digest for [Pending.Seen].
func seenOf(hostname, os string, tags []string) string {
	sum := sha256.Sum256(jsonOf([]any{hostname, os, append([]string{}, tags...)}))
	return hex.EncodeToString(sum[:])
}

// pending is a registration that waits, or that has been refused and still has to
// tell the device so.
type pending struct {
	// The following fields are guarded by the table's lock.
	about   Pending
	join    netmap.Join
	size    int
	seen    time.Time
	polls   int  // requests that wait for it
	claimed bool // somebody is admitting it

	done chan struct{}
	// net, node and err are set before done is closed.
	net  *netmap.Net
	node *netmap.Node
	err  error
}

// over reports whether it has been decided.
func (p *pending) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// pendingTable holds the registrations that wait, by code. Nothing of it needs to
// survive a restart: a code follows from the keys of the device, which repeats its
// question.
type pendingTable struct {
	now func() time.Time

	mu sync.Mutex
	// guards the following fields
	byCode map[string]*pending
	bytes  int
}

func newPendingTable(now func() time.Time) *pendingTable {
	return &pendingTable{now: now, byCode: map[string]*pending{}}
}

// code names the registration of a machine with a node key: 80 bits that only the
// server can make, the same again after a restart.
func (s *Server) code(m key.MachinePublic, k key.NodePublic) string {
	mac := hmac.New(sha256.New, s.codeKey)
	mac.Write([]byte(m.String()))
	mac.Write([]byte(k.String()))
	return strings.ToLower(base32.HexEncoding.EncodeToString(mac.Sum(nil)[:10]))
}

// sameCode reports whether the link that a client follows ends with code.
func sameCode(followup, code string) bool {
	_, got, ok := strings.Cut(followup, "/register/")
	return ok && subtle.ConstantTimeCompare([]byte(got), []byte(code)) == 1
}

// put adds a registration, or refreshes it. One that was refused stays so for those
// who follow its link; a new attempt waits anew.
func (t *pendingTable) put(code string, j netmap.Join, c *connection, follows bool) *pending {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	p := t.byCode[code]
	if p != nil && (t.stale(p, now) || p.over() && !follows) {
		t.remove(p)
		p = nil
	}
	if p == nil {
		p = &pending{about: Pending{Code: code, Machine: c.machine, Since: now}, done: make(chan struct{})}
		t.byCode[code] = p
	}
	t.bytes -= p.size
	p.size = 1
	if h := j.Hostinfo; h != nil {
		p.size += len(jsonOf(h))
		p.about.Hostname, p.about.OS, p.about.Client, p.about.Tags = h.Hostname, h.OS, h.IPNVersion, h.RequestTags
	}
	p.about.Seen = seenOf(p.about.Hostname, p.about.OS, p.about.Tags)
	t.bytes += p.size
	p.seen, p.join, p.about.Address = now, j, c.remote
	t.makeRoom(now, p) // a refresh can make it bigger, too
	return p
}

func (t *pendingTable) stale(p *pending, now time.Time) bool {
	return p.polls == 0 && now.Sub(p.seen) > pendingTTL
}

func (t *pendingTable) remove(p *pending) {
	if t.byCode[p.about.Code] == p {
		delete(t.byCode, p.about.Code)
		t.bytes -= p.size
	}
}

// makeRoom brings the table back within its bounds. Those whose devices wait right now
// are the last to go, but for keep, which goes only if it is too big by itself.
func (t *pendingTable) makeRoom(now time.Time, keep *pending) {
	if len(t.byCode) <= maxPending && t.bytes <= maxPendingBytes {
		return
	}
	all := make([]*pending, 0, len(t.byCode))
	for _, p := range t.byCode {
		if p != keep {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *pending) int {
		if (a.polls > 0) == (b.polls > 0) {
			return a.seen.Compare(b.seen)
		}
		return cmp.Compare(min(a.polls, 1), min(b.polls, 1))
	})
	// A tenth at once, so that the sorting is rare.
	for _, p := range all {
		if len(t.byCode) <= maxPending*9/10 && t.bytes <= maxPendingBytes*9/10 && !t.stale(p, now) {
			return
		}
		t.remove(p)
	}
	if t.bytes > maxPendingBytes {
		t.remove(keep)
	}
}

// poll counts a request that begins or ceases to wait for p.
func (t *pendingTable) poll(p *pending, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.polls += n
	p.seen = t.now()
}

// find returns what waits with the code, or nil. The caller holds mu.
func (t *pendingTable) find(code string) *pending {
	p := t.byCode[strings.ToLower(code)]
	if p == nil || t.stale(p, t.now()) || p.over() {
		return nil
	}
	return p
}

func (t *pendingTable) get(code string) (Pending, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.find(code); p != nil {
		return p.about, true
	}
	return Pending{}, false
}

// anySeen is for who decides without having been shown what the device is.
const anySeen = ""

// claim gives the caller the right to decide, until it calls finish or release. If seen
// isn't anySeen, the device must still be what it was then.
func (t *pendingTable) claim(code, seen string) (*pending, netmap.Join, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.find(code)
	if p == nil {
		return nil, netmap.Join{}, errNobodyWaits()
	}
	if seen != anySeen && seen != p.about.Seen {
		return nil, netmap.Join{}, errChanged()
	}
	if p.claimed {
		return nil, netmap.Join{}, selvage.Errorf(selvage.KindConflict, "somebody else is deciding about this device right now")
	}
	p.claimed = true
	return p, p.join, nil
}

func (t *pendingTable) release(p *pending) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.claimed = false
}

// finish tells who waits for the registration how it ended, once.
func (t *pendingTable) finish(p *pending, net *netmap.Net, node *netmap.Node, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.over() {
		return
	}
	if err == nil {
		t.remove(p)
	}
	p.net, p.node, p.err, p.seen = net, node, err, t.now()
	close(p.done)
}

// drop ends the registration of a device that has become a node in another way.
func (t *pendingTable) drop(code string, net *netmap.Net, node *netmap.Node) {
	t.mu.Lock()
	p := t.find(code)
	t.mu.Unlock()
	if p != nil {
		t.finish(p, net, node, nil)
	}
}

func errNobodyWaits() error {
	return selvage.Errorf(selvage.KindNotFound, "no device waits with this code; it may be connected already, or it has given up: run `tailscale up` on it again")
}

func errChanged() error {
	return selvage.Errorf(selvage.KindConflict, "the device has changed its name, its system or the tags that it asks for since you looked at it; look at it again before you connect it")
}

// Pending returns the device that waits with the code.
func (s *Server) Pending(code string) (Pending, error) {
	p, ok := s.pending.get(code)
	if !ok {
		return Pending{}, errNobodyWaits()
	}
	return p, nil
}

// Admit connects the device that waits with the code, whatever it says of itself, as a
// device of the user or with tags. preapproved is whether who admits it may approve
// devices too.
func (s *Server) Admit(ctx context.Context, actor selvage.Actor, net *netmap.Net, code string, user selvage.UserID, tags []string, preapproved bool) (*netmap.Node, error) {
	return s.admit(ctx, actor, net, code, anySeen, user, tags, preapproved)
}

// AdmitSeen is Admit for somebody who was shown the device: seen is [Pending.Seen] of
// that time. If the device has changed since, the error is of KindConflict.
func (s *Server) AdmitSeen(ctx context.Context, actor selvage.Actor, net *netmap.Net, code, seen string, user selvage.UserID, tags []string, preapproved bool) (*netmap.Node, error) {
	if seen == anySeen {
		return nil, errChanged()
	}
	return s.admit(ctx, actor, net, code, seen, user, tags, preapproved)
}

func (s *Server) admit(ctx context.Context, actor selvage.Actor, net *netmap.Net, code, seen string, user selvage.UserID, tags []string, preapproved bool) (*netmap.Node, error) {
	if err := netmap.CheckTags(net.View().Policy, tags); err != nil {
		return nil, err
	}
	p, j, err := s.pending.claim(code, seen)
	if err != nil {
		return nil, err
	}
	defer s.pending.release(p)
	j.User, j.Tags, j.Preapproved = user, tags, preapproved
	node, err := net.Join(ctx, actor, j)
	if err != nil {
		return nil, err
	}
	s.pending.finish(p, net, node, nil)
	s.log.Info("device joined", "tailnet", net.View().Tailnet.Name, "node", node.ID, "name", node.Name, "by", actor.Name)
	return node, nil
}

// Reject tells the device that waits with the code that it may not connect.
func (s *Server) Reject(code string) error {
	p, _, err := s.pending.claim(code, anySeen)
	if err != nil {
		return err
	}
	defer s.pending.release(p)
	s.pending.finish(p, nil, nil, selvage.Errorf(selvage.KindDenied, "an administrator has refused this device"))
	return nil
}
