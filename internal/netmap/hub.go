package netmap

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"tailscale.com/types/key"

	"selvage"
	"selvage/internal/dns"
	"selvage/internal/journal"
	"selvage/internal/store"
)

// Intervals of the work that the hub does by itself.
const (
	// FlushInterval is how often soft state is saved; a crash loses at most what
	// came in since the last time.
	FlushInterval = 2 * time.Second
	// tickInterval is how often expiry and silent ephemeral nodes are looked for.
	tickInterval = time.Second
	// OfflineGrace is how long a node without a session still counts as online,
	// since clients come back within moments when their network changes.
	OfflineGrace = 3 * time.Second
	// neverSeenTimeout is how long an ephemeral node may be registered without
	// ever asking for a map.
	neverSeenTimeout = 24 * time.Hour
)

// Options are what a hub needs from outside.
type Options struct {
	DB     *store.DB
	Logger *slog.Logger
	// Now is the clock; time.Now if nil.
	Now func() time.Time
	// BaseDomain is the suffix under which new tailnets get their domains.
	BaseDomain string
	// CompactFrom is from how many devices on packet filters name their sources by
	// capability; 0 is DefaultCompactFrom.
	CompactFrom int
}

// Hub holds all tailnets of the server. It is safe for concurrent use.
type Hub struct {
	db         *store.DB
	log        *slog.Logger
	now        func() time.Time
	baseDomain string
	compact    int // see Options.CompactFrom
	started    time.Time
	serverSeq  int64 // of the server's own journal, as far as follow has read it

	mu sync.RWMutex
	// guards the following fields
	nets  map[selvage.TailnetID]*Net
	byKey map[key.NodePublic]keyRef
}

// keyRef is where a node key belongs.
type keyRef struct {
	net  *Net
	node selvage.NodeID
}

// DefaultTailnet is the name of the tailnet that a new server has.
const DefaultTailnet = "home"

// Open loads all tailnets; a new database gets the default one.
func Open(ctx context.Context, o Options) (*Hub, error) {
	h := &Hub{
		db: o.DB, log: o.Logger, now: o.Now, baseDomain: cmp.Or(o.BaseDomain, "selvage.internal"),
		compact: cmp.Or(o.CompactFrom, DefaultCompactFrom),
		nets:    map[selvage.TailnetID]*Net{},
		byKey:   map[key.NodePublic]keyRef{},
	}
	if h.now == nil {
		h.now = time.Now
	}
	h.started = h.now()
	if err := h.loadUnknown(ctx); err != nil {
		return nil, err
	}
	if len(h.nets) == 0 {
		_, err := h.CreateTailnet(ctx, selvage.System(), DefaultTailnet)
		if selvage.Is(err, selvage.KindConflict) { // another server was faster
			err = h.loadUnknown(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
	return h, nil
}

// CreateTailnet makes a tailnet with default settings and a pending owner.
func (h *Hub) CreateTailnet(ctx context.Context, actor selvage.Actor, name string) (*Net, error) {
	if err := dns.CheckLabel(name); err != nil {
		return nil, err
	}
	t := &selvage.Tailnet{Name: name, Created: h.now().UTC(), Settings: selvage.DefaultSettings(name + "." + h.baseDomain)}
	err := h.db.Tx(ctx, func(tx *store.Tx) error {
		id, err := tx.NextID("tailnet")
		if err != nil {
			return err
		}
		t.ID = selvage.TailnetID(id)
		if err := tx.PutTailnet(t); err != nil {
			return err
		}
		uid, err := tx.NextID("user")
		if err != nil {
			return err
		}
		owner := &selvage.User{
			ID: selvage.UserID(uid), Tailnet: t.ID, Login: "owner", DisplayName: "Owner",
			Role: selvage.RoleOwner, Created: t.Created, Pending: true,
		}
		if err := tx.PutUser(owner); err != nil {
			return err
		}
		_, err = journal.Append(tx, t.Created, actor, store.ServerTailnet, []journal.Change{
			{Action: journal.TailnetCreate, Target: "tailnet:" + t.ID.String(), New: t},
		})
		if err != nil {
			return err
		}
		_, err = journal.Append(tx, t.Created, actor, t.ID, []journal.Change{
			{Action: journal.UserCreate, Target: "user:" + owner.ID.String(), New: owner},
		})
		return err
	})
	if selvage.Is(err, selvage.KindConflict) {
		return nil, selvage.Errorf(selvage.KindConflict, "there is a tailnet %q already", name)
	}
	if err != nil {
		return nil, fmt.Errorf("create tailnet %s: %w", name, err)
	}
	return h.load(ctx, t.ID)
}

// Net returns the tailnet with the given ID, or nil.
func (h *Hub) Net(id selvage.TailnetID) *Net {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.nets[id]
}

// Nets returns all tailnets by ID.
func (h *Hub) Nets() []*Net {
	h.mu.RLock()
	defer h.mu.RUnlock()
	nets := make([]*Net, 0, len(h.nets))
	for _, n := range h.nets {
		nets = append(nets, n)
	}
	slices.SortFunc(nets, func(a, b *Net) int { return int(a.id - b.id) })
	return nets
}

// ByName returns the tailnet with the given name; the only or oldest one if name is
// empty.
func (h *Hub) ByName(name string) (*Net, error) {
	nets := h.Nets()
	if name == "" {
		return nets[0], nil
	}
	for _, n := range nets {
		if n.View().Tailnet.Name == name {
			return n, nil
		}
	}
	return nil, selvage.Errorf(selvage.KindNotFound, "no tailnet %q; `selvage tailnet list` shows them", name)
}

// NodeByKey returns the node with the given node key and its tailnet, or nils.
func (h *Hub) NodeByKey(k key.NodePublic) (*Net, *Node) {
	h.mu.RLock()
	ref, ok := h.byKey[k]
	h.mu.RUnlock()
	if !ok {
		return nil, nil
	}
	n := ref.net.View().Node(ref.node)
	if n == nil || n.Key != k {
		return nil, nil
	}
	return ref.net, n
}

// AuthKey returns the auth key with the given ID and its tailnet, or nils.
func (h *Hub) AuthKey(id selvage.KeyID) (*Net, *selvage.AuthKey) {
	for _, n := range h.Nets() {
		if k := n.View().AuthKey(id); k != nil {
			return n, k
		}
	}
	return nil, nil
}
