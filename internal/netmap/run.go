package netmap

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// lastSaveTimeout bounds the save at the end of Run.
const lastSaveTimeout = 10 * time.Second

// Run saves soft state, takes in what other servers over the same database change,
// expires nodes and removes silent ephemeral ones until ctx ends, and then saves once
// more. The caller closes the database after it. Run is called once.
func (h *Hub) Run(ctx context.Context) error {
	flush := time.NewTicker(FlushInterval)
	defer flush.Stop()
	tick := time.NewTicker(tickInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return h.last(ctx)
		case <-flush.C:
			if err := h.Flush(ctx); err != nil && ctx.Err() == nil {
				h.log.Error("soft state not saved; will try again", "err", err)
			}
			if err := h.follow(ctx); err != nil && ctx.Err() == nil {
				h.log.Error("changes by other servers not taken in; will try again", "err", err)
			}
		case <-tick.C:
			for _, n := range h.Nets() {
				n.tick(ctx)
			}
		}
	}
}

// last saves for the last time. ctx has ended, and the save must not be cut off by the
// end that it waited for.
func (h *Hub) last(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSaveTimeout)
	defer cancel()
	for _, n := range h.Nets() {
		n.parting()
	}
	return h.Flush(ctx)
}

// Flush saves the soft state that has changed since the last time. A tailnet that
// can't be saved keeps no other from it.
func (h *Hub) Flush(ctx context.Context) error {
	var errs []error
	for _, n := range h.Nets() {
		if err := n.flush(ctx); err != nil {
			errs = append(errs, fmt.Errorf("save soft state of tailnet %s: %w", n.View().Tailnet.Name, err))
		}
	}
	return errors.Join(errs...)
}

// SoftLag returns how many nodes have soft state that is not saved yet.
func (h *Hub) SoftLag() int {
	lag := 0
	for _, n := range h.Nets() {
		n.mu.Lock()
		lag += len(n.unsaved)
		n.mu.Unlock()
	}
	return lag
}
