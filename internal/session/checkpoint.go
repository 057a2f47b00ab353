package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/lazy"
	"cellhold/internal/record"
	"cellhold/internal/sandbox"
	"cellhold/internal/session/refold"
	"cellhold/internal/session/snapshots"
	"cellhold/internal/session/states"
	"cellhold/internal/session/terms"
	"cellhold/internal/session/undo"
)

// checkpointName matches the names of checkpoints. They are parts of URL paths.
var checkpointName = lazy.Regexp(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Checkpoints returns the session's checkpoints, oldest first.
func (s *Session) Checkpoints() []cellhold.Checkpoint {
	list := []cellhold.Checkpoint{}
	for _, c := range s.Record().Checkpoints {
		list = append(list, c.Checkpoint)
	}
	return list
}

// Checkpoint saves the session as it is now under a name. The session continues. If a call, a cell or a
// command is running, or the name exists, the error is a Conflict.
func (s *Session) Checkpoint(ctx context.Context, name string) (cellhold.Checkpoint, error) {
	none := cellhold.Checkpoint{}
	if !checkpointName().MatchString(name) {
		return none, cellhold.Errorf(cellhold.Invalid, "Invalid checkpoint name %.64q: use 1 to 64 letters, digits, '.', '_' or '-', and begin with a letter or digit.", name)
	}
	if err := s.env.Snapshots.CheckSupport(); err != nil {
		return none, err
	}
	turn, err := s.acquireReady(ctx, false)
	if err != nil {
		return none, err
	}
	defer turn.Release()
	rec := s.Record()
	if _, err := rec.FindCheckpoint(name); err == nil {
		return none, cellhold.Errorf(cellhold.Conflict, "Checkpoint %q exists already. Delete it first, or choose another name.", name)
	}
	if len(rec.Checkpoints) >= s.env.MaxCheckpoints {
		return none, cellhold.Errorf(cellhold.Exhausted, "The limit of %d checkpoints is reached. Delete one first.", s.env.MaxCheckpoints)
	}
	if err := turn.Begin(states.Checkpoint); err != nil {
		return none, err
	}
	c, err := s.sandboxes.saveNow(ctx, turn, snapshots.Checkpoint)
	if err != nil {
		return none, err
	}
	c.Name, c.Size = name, s.env.Snapshots.Size(ctx, c.Snapshot)
	rec = s.change(func(r *record.Session) { r.Checkpoints = append(slices.Clone(r.Checkpoints), c) })
	if err := s.env.Store.PutSession(ctx, rec); err != nil {
		s.change(func(r *record.Session) { r.Checkpoints = r.WithoutCheckpoint(name) })
		s.env.Registry.DropSnapshot(ctx, c.Snapshot)
		return none, cellhold.Wrap(cellhold.Unavailable, err, "The checkpoint could not be recorded. Check the free space on the server's disk.")
	}
	turn.Commit()
	s.slog.Info("checkpoint made", "bytes", c.Size)
	return c.Checkpoint, nil
}

// saveNow saves the sandbox and returns the state of the session at that time. The sandbox continues. The caller
// must have begun a transition.
func (b *sandboxes) saveNow(ctx context.Context, turn *states.Turn, k snapshots.Kind) (record.Checkpoint, error) {
	l, err := b.close(turn)
	if err != nil {
		return record.Checkpoint{}, err
	}
	defer turn.Reopen()
	ctx, cancel := context.WithTimeout(detach(ctx), saveTimeout)
	defer cancel()
	b.s.use()
	c := b.present()
	c.Snapshot = snapshots.Name(b.s.id, k)
	return c, b.save(ctx, l, c.Snapshot, false)
}

// present returns the present state of the session, without its sandbox.
func (b *sandboxes) present() record.Checkpoint {
	rec := b.s.Record()
	return record.Checkpoint{Checkpoint: cellhold.Checkpoint{Created: time.Now().UTC(), Last: b.s.log.Last()},
		Kernels: rec.Kernels, Packages: rec.Packages, Undone: rec.Undone}
}

// DeleteCheckpoint deletes a checkpoint. It does not resume the session.
func (s *Session) DeleteCheckpoint(ctx context.Context, name string) error {
	turn, err := s.states.Acquire(ctx)
	if err != nil {
		return err
	}
	defer turn.Release()
	c, err := s.Record().FindCheckpoint(name)
	if err != nil {
		return err
	}
	if err := put(ctx, s, func(r *record.Session) { r.Checkpoints = r.WithoutCheckpoint(name) }); err != nil {
		return err
	}
	s.env.Registry.DropSnapshot(ctx, c.Snapshot)
	return nil
}

// Rollback restores memory and files from a checkpoint. If a call, a cell or a command is running, the error
// is a Conflict. Cells that were submitted after the checkpoint can still be read; the notebook omits them.
func (s *Session) Rollback(ctx context.Context, name string) (err error) {
	turn, err := s.states.Acquire(ctx)
	if err != nil {
		return err
	}
	defer turn.Release()
	c, err := s.Record().FindCheckpoint(name)
	if err != nil {
		return err
	}
	if err := turn.Begin(states.Rollback); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(detach(ctx), s.env.StartTimeout, errStartTimeout)
	defer cancel()
	var steps undo.Steps
	defer func() { steps.Run(ctx, saveTimeout, &err) }()
	if turn.Settled() == states.Hibernated { // the rollback makes a sandbox for it, without a resume
		free, err := s.env.Registry.ReserveRunning()
		if err != nil {
			return err
		}
		defer free()
	}
	if s.sandboxes.current() != nil { // if nil, the session is hibernated, or its sandbox ended
		l, err := s.sandboxes.close(turn)
		if err != nil {
			return err
		}
		if err := l.Sandbox().Pause(ctx); err != nil { // nothing must run in the sandbox that is replaced
			return cellhold.Wrap(cellhold.Unavailable, err, "The rollback failed: the sandbox could not be paused. The session continues unchanged.")
		}
		steps.Add(l.Sandbox().Resume)
	}
	if err := s.sandboxes.rollBack(ctx, c); err != nil {
		return err
	}
	turn.Commit()
	steps = nil // from here on the session is rolled back, even after an error
	return s.sandboxes.following().WaitIdle(ctx)
}

// rollBack replaces the session's sandbox, if it has one, with one that continues from a checkpoint. It makes
// the new sandbox first. Until the record names the new sandbox, a failure or the end of the server leaves
// the session unchanged.
func (b *sandboxes) rollBack(ctx context.Context, c record.Checkpoint) error {
	rec := b.s.Record()
	l, err := b.restore(ctx, rec, c.Snapshot, attachment.Request{Kernels: c.Kernels, Before: b.following(), Renew: true})
	if err != nil {
		b.s.slog.Error("rolling back", "checkpoint", c.Name, "err", err)
		if errors.Is(err, sandbox.ErrSnapshot) {
			return cellhold.Wrap(cellhold.Conflict, err, "Checkpoint %q cannot be restored: %s. The session continues unchanged. Delete the checkpoint.", c.Name, snapshots.Why(err))
		}
		return cellhold.Wrap(cellhold.Unavailable, err, "Checkpoint %q could not be restored. The session continues unchanged. Retry.", c.Name)
	}
	ev := record.NewEvent(cellhold.EventSessionRolledBack, "", "", cellhold.SessionRolledBackContent{Checkpoint: c.Name, Last: c.Last})
	now := time.Now().UTC()
	err = b.commit(ctx, l, ev, func(r *record.Session, seq int64) {
		terms.MakeReady(r, string(l.Sandbox().ID()))
		r.Checkpoint, r.Kernels, r.Packages = c.Name, c.Kernels, c.Packages
		r.Undone = append(slices.Clone(c.Undone), record.Undone{After: c.Last, Last: seq, Since: c.Created, Until: now})
	})
	if err != nil {
		return err
	}
	b.destroy(ctx)
	if err := refold.Cells(ctx, b.s.env.Store, b.s.id, c.Last, c.Undone); err != nil { // the events still have the output
		b.s.slog.Error("undoing late output of cells", "err", err)
	}
	b.attach(l)
	b.s.env.Registry.DropSnapshot(ctx, rec.Snapshot)
	b.s.displays.Forget()
	b.s.use()
	b.s.notes.Changed()
	b.s.env.Registry.Reschedule()
	if err := b.s.mirror.Restore(ctx, l.Client(), rec.User == ""); err != nil {
		b.s.slog.Warn("mirroring output files", "err", err)
	}
	b.filesKnown = true
	b.s.slog.Info("session rolled back", "sandbox", l.Sandbox().ID())
	return nil
}
