package registry

import (
	"context"
	"time"

	"cellhold"
	"cellhold/internal/sandbox"
	"cellhold/internal/session"
)

// destroyTimeout limits the destruction of one sandbox. With a fork bomb in the sandbox it took 4 s.
const destroyTimeout = 30 * time.Second

// stray is a sandbox or a snapshot that no session needs, with the function that removes it.
type stray struct {
	id     sandbox.ID // empty for a snapshot
	remove func(context.Context) error
}

// cleanUp removes a stray, even after ctx ended. If that fails, it retries later.
func (r *Registry) cleanUp(ctx context.Context, x stray) {
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), destroyTimeout)
	defer cancel()
	if err := x.remove(clean); err != nil {
		r.o.Logger.Error("destroying a sandbox", "sandbox", x.id, "err", err)
		r.mu.Lock()
		r.strays = append(r.strays, x)
		r.mu.Unlock()
		hooks{r}.Reschedule()
	}
}

// retryStrays retries to remove strays, and reports whether some are left.
func (r *Registry) retryStrays(ctx context.Context) bool {
	r.mu.Lock()
	strays := r.strays
	r.strays = nil
	r.mu.Unlock()
	for _, x := range strays {
		r.cleanUp(ctx, x)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.strays) > 0
}

// reapSnapshots removes the snapshots that no session needs.
func (r *Registry) reapSnapshots(ctx context.Context, spared map[cellhold.SessionID]bool) {
	needed := map[string]bool{}
	for _, s := range r.all() {
		rec := s.Record()
		if rec.State == cellhold.SessionEnded {
			continue
		}
		needed[rec.Snapshot] = true
		for _, c := range rec.Checkpoints {
			needed[c.Snapshot] = true
		}
	}
	if err := r.env.Snapshots.Reap(ctx, needed, spared); err != nil {
		r.o.Logger.Error("removing snapshots that no session needs", "err", err)
	}
}

// reapStrays destroys the sandboxes of the driver that belong to no session.
func (r *Registry) reapStrays(ctx context.Context, spared map[cellhold.SessionID]bool) error {
	infos, err := r.o.Driver.List(ctx)
	if err != nil {
		return err
	}
	owned := map[sandbox.ID]bool{}
	for _, s := range r.all() {
		if rec := s.Record(); rec.State == cellhold.SessionReady {
			owned[sandbox.ID(rec.Sandbox)] = true
		}
	}
	for _, info := range infos {
		if err := ctx.Err(); err != nil {
			return err // the next server destroys the other strays
		}
		if owned[info.ID] || spared[cellhold.SessionID(info.Labels[session.Label])] {
			continue
		}
		r.o.Logger.Info("destroying a stray sandbox", "sandbox", info.ID)
		r.cleanUp(ctx, stray{info.ID, func(ctx context.Context) error { return r.o.Driver.Remove(ctx, info.ID) }})
	}
	return nil
}
