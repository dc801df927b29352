package control

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"strings"
	"sync"
	"time"

	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/netmap"
)

// Limits of registrations that wait for a person.
const (
	// maxPending bounds the table. When it is full, the one that has not been heard
	// of for the longest time goes; its device asks again with the same code.
	maxPending = 10_000
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

	join netmap.Join
	seen time.Time
	done chan struct{}
	// net, node and err are set before done is closed.
	net  *netmap.Net
	node *netmap.Node
	err  error
}

// pendingTable holds the registrations that wait, by code. Nothing of it needs to
// survive a restart: a code follows from the keys of the device, which repeats its
// question.
type pendingTable struct {
	now func() time.Time

	mu sync.Mutex
	// guards the following field
	byCode map[string]*Pending
}

func newPendingTable(now func() time.Time) *pendingTable {
	return &pendingTable{now: now, byCode: map[string]*Pending{}}
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

// put adds a registration, or refreshes it.
func (t *pendingTable) put(code string, j netmap.Join, c *connection) (*Pending, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	p := t.byCode[code]
	if p != nil && now.Sub(p.seen) > pendingTTL {
		p = nil
	}
	if p == nil {
		t.makeRoom(now)
		p = &Pending{Code: code, Machine: c.machine, Since: now, done: make(chan struct{})}
		t.byCode[code] = p
	}
	p.seen, p.join, p.Address = now, j, c.remote
	if h := j.Hostinfo; h != nil {
		p.Hostname, p.OS, p.Client, p.Tags = h.Hostname, h.OS, h.IPNVersion, h.RequestTags
	}
	return p, nil
}

func (t *pendingTable) makeRoom(now time.Time) {
	if len(t.byCode) < maxPending {
		return
	}
	var oldest *Pending
	for code, p := range t.byCode {
		if now.Sub(p.seen) > pendingTTL {
			delete(t.byCode, code)
		} else if oldest == nil || p.seen.Before(oldest.seen) {
			oldest = p
		}
	}
	if len(t.byCode) >= maxPending {
		delete(t.byCode, oldest.Code)
	}
}

func (t *pendingTable) get(code string) (Pending, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.byCode[strings.ToLower(code)]
	if p == nil || t.now().Sub(p.seen) > pendingTTL {
		return Pending{}, false
	}
	return *p, true
}

// finish tells who waits for the registration how it ended, once.
func (t *pendingTable) finish(code string, net *netmap.Net, node *netmap.Node, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.byCode[strings.ToLower(code)]
	if p == nil {
		return
	}
	delete(t.byCode, p.Code)
	p.net, p.node, p.err = net, node, err
	close(p.done)
}

// Pending returns the device that waits with the code.
func (s *Server) Pending(code string) (Pending, error) {
	p, ok := s.pending.get(code)
	if !ok {
		return Pending{}, selvage.Errorf(selvage.KindNotFound, "no device waits with this code; it may be connected already, or it has given up: run `tailscale up` on it again")
	}
	return p, nil
}

// Admit connects the device that waits with the code, as a device of the user or
// with tags. preapproved is whether who admits it may approve devices too.
func (s *Server) Admit(ctx context.Context, actor selvage.Actor, net *netmap.Net, code string, user selvage.UserID, tags []string, preapproved bool) (*netmap.Node, error) {
	p, err := s.Pending(code)
	if err != nil {
		return nil, err
	}
	j := p.join
	j.User, j.Tags, j.Preapproved = user, tags, preapproved
	if err := netmap.CheckTags(net.View().Policy, tags); err != nil {
		return nil, err
	}
	node, err := net.Join(ctx, actor, j)
	if err != nil {
		return nil, err
	}
	s.pending.finish(code, net, node, nil)
	return node, nil
}

// Reject tells the device that waits with the code that it may not connect.
func (s *Server) Reject(code string) error {
	if _, err := s.Pending(code); err != nil {
		return err
	}
	s.pending.finish(code, nil, nil, selvage.Errorf(selvage.KindDenied, "an administrator has refused this device"))
	return nil
}
