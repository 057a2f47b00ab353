package session

import (
	"context"
	"errors"
	"time"

	"cellhold"
	"cellhold/internal/record"
	"cellhold/internal/sandbox"
	"cellhold/internal/session/states"
	"cellhold/internal/session/terms"
)

// Restart replaces the process of a kernel and returns when it is idle. An empty id means the first kernel.
// Variables are lost; files stay. A session whose sandbox ended or cannot be resumed gets a new sandbox with all
// its kernels. Then only the files in /mnt/data/output stay.
func (s *Session) Restart(ctx context.Context, id cellhold.KernelID) error {
	turn, err := s.acquireReady(ctx, true)
	if errors.Is(err, sandbox.ErrSnapshot) {
		return replaceHibernated(ctx, s)
	}
	if err != nil {
		return err
	}
	defer turn.Release()
	k, err := s.sandboxes.following().Kernel(id)
	if err != nil {
		return err
	}
	if err := turn.Begin(states.Restart); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.env.StartTimeout, errStartTimeout)
	defer cancel()
	s.use()
	if l := s.sandboxes.current(); l == nil {
		err = s.sandboxes.replace(ctx)
	} else if err = k.Restart(ctx); s.sandboxes.hasLost(ctx, l, err) {
		err = s.sandboxes.replace(ctx)
	}
	if errors.Is(context.Cause(ctx), errStartTimeout) {
		return cellhold.Wrap(cellhold.Unavailable, err, "The kernel did not start within %s. Retry.", s.env.StartTimeout)
	}
	turn.Commit()
	return err
}

// endWait limits how long hasLost waits until the end of a sandbox is recorded. Usually this takes a few writes
// to the store.
const endWait = 2 * time.Second

// hasLost reports whether the restart of a kernel failed with err because its sandbox ended, or does not have
// the kernel. A sandbox that does not answer can be about to end, so hasLost waits for the end.
func (b *sandboxes) hasLost(ctx context.Context, l *live, err error) bool {
	switch cellhold.KindOf(err) {
	case cellhold.NotFound:
		return true
	case cellhold.Unavailable:
		select {
		case <-l.over:
		case <-time.After(endWait):
		case <-ctx.Done():
		}
	}
	return b.current() == nil
}

// replace gives the session a new sandbox after the last one ended. The caller must hold the turn.
func (b *sandboxes) replace(ctx context.Context) error {
	b.destroy(ctx)
	if err := b.following().Die(ctx, cellhold.StatusLost, "The session got a new sandbox."); err != nil {
		return cellhold.Wrap(cellhold.Unavailable, err, "The end of the old sandbox could not be recorded. Check the free space on the server's disk.")
	}
	asked := time.Now()
	rec := b.s.change(func(r *record.Session) { r.Sandbox, r.Packages = record.NextSandboxID(r.ID, r.Sandbox), nil })
	img, err := b.s.env.Images.Resolve(rec.Image)
	if err != nil {
		return err
	}
	b.rootfs = img.Rootfs
	if rec.State == cellhold.SessionHibernated {
		return b.open(ctx, asked) // the caller writes the record after a success
	}
	if err := b.s.env.Store.PutSession(ctx, rec); err != nil {
		return notRecorded(err)
	}
	if err := b.open(ctx, asked); err != nil {
		return err
	}
	// A warm sandbox has its own id. If the id is not recorded, the next server sees the sandbox as a stray.
	if err := b.s.env.Store.PutSession(ctx, b.s.Record()); err != nil {
		b.destroy(ctx)
		return notRecorded(err)
	}
	return nil
}

// replaceHibernated gives a new sandbox to a session whose snapshot cannot be restored.
func replaceHibernated(ctx context.Context, s *Session) error {
	turn, err := s.states.Acquire(ctx)
	if err != nil {
		return err
	}
	defer turn.Release()
	rec := s.Record()
	if turn.Settled() != states.Hibernated {
		return cellhold.Errorf(cellhold.Conflict, "The session was used at the same time. Retry.")
	}
	if err := turn.Begin(states.Restart); err != nil {
		return err
	}
	free, err := s.env.Registry.ReserveRunning()
	if err != nil {
		return err
	}
	defer free()
	ctx, cancel := context.WithTimeoutCause(ctx, s.env.StartTimeout, errStartTimeout)
	defer cancel()
	if err := s.sandboxes.replace(ctx); err != nil {
		return err
	}
	ev := record.NewEvent(cellhold.EventSessionResumed, "", "", cellhold.SessionResumedContent{})
	in := sandbox.ID(s.Record().Sandbox)
	if err := s.commit(ctx, ev, func(r *record.Session, _ int64) { terms.MakeReady(r, string(in)) }); err != nil {
		s.sandboxes.destroy(ctx)
		return err
	}
	turn.Commit()
	s.env.Registry.DropSnapshot(ctx, rec.Snapshot)
	return nil
}
