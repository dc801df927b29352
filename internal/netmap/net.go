package netmap

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"selvage"
	"selvage/internal/store"
)

// turnTimeout is how long a change of configuration waits for those before it.
const turnTimeout = 30 * time.Second

// Net is one tailnet: its model and its writers' locks. It is safe for concurrent
// use.
type Net struct {
	id       selvage.TailnetID
	hub      *Hub
	view     atomic.Pointer[View]
	watchers watchers

	// turn has one place: who fills it may change configuration. It is held while
	// the database works, so nothing that only changes memory waits for it.
	turn chan struct{}
	// journal is the number of the last journal entry that memory has taken in.
	// Who has the turn may write it.
	journal atomic.Int64
	finds   index // for who has the turn

	// saving is held while soft state is written, so that an older batch can't come
	// after a newer one.
	saving sync.Mutex

	mu sync.Mutex
	// is held while memory changes, never while anything waits, and guards the
	// following fields
	routes  election
	unsaved map[selvage.NodeID]*selvage.Soft
	due     time.Time // when tick has to look at the nodes, at the latest
	ticked  time.Time // the last tick
}

func newNet(h *Hub, id selvage.TailnetID) *Net {
	return &Net{
		id: id, hub: h, turn: make(chan struct{}, 1),
		watchers: newWatchers(),
		finds:    newIndex(),
		routes:   newElection(),
		unsaved:  map[selvage.NodeID]*selvage.Soft{},
	}
}

// ID returns the tailnet's ID.
func (n *Net) ID() selvage.TailnetID { return n.id }

// View returns the newest view.
func (n *Net) View() *View { return n.view.Load() }

// Update changes configuration. decide says what to change by the methods of Tx; it
// may be called again if the database asks for it, so it must have no effect but
// through tx. If decide or the database fails, nothing has changed. When Update
// returns nil, the change is stored, in the journal, and in the newest view.
//
// Other changes of configuration wait meanwhile; reports and presence don't.
func (n *Net) Update(ctx context.Context, actor selvage.Actor, decide func(tx *Tx) error) error {
	_, err := n.update(ctx, actor, decide)
	return err
}

// update is Update; it returns the view that has the change.
func (n *Net) update(ctx context.Context, actor selvage.Actor, decide func(tx *Tx) error) (*View, error) {
	if err := n.takeTurn(ctx); err != nil {
		return nil, err
	}
	defer n.endTurn()
	var tx *Tx
	err := n.hub.db.Tx(ctx, func(stx *store.Tx) error {
		// The lock comes before anything is read or decided.
		head, err := stx.LockTailnet(n.id)
		if err != nil {
			return err
		}
		if err := n.catchUp(stx, head.Seq); err != nil {
			return err
		}
		tx = newTx(n, stx, actor)
		if err := decide(tx); err != nil {
			return err
		}
		return tx.write()
	})
	if err != nil {
		return nil, err
	}
	n.journal.Add(int64(tx.written))
	return n.apply(&tx.changes, tx.Now), nil
}

// takeTurn waits until no other change of configuration is under way.
func (n *Net) takeTurn(ctx context.Context) error {
	wait := time.NewTimer(turnTimeout)
	defer wait.Stop()
	select {
	case n.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for other changes of tailnet %d: %w", n.id, context.Cause(ctx))
	case <-wait.C:
		return selvage.Errorf(selvage.KindBusy, "other changes of this tailnet take too long; try again")
	}
}

func (n *Net) endTurn() { <-n.turn }
