package session

import (
	"context"
	"errors"
	"time"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/record"
	"cellhold/internal/sandbox"
	"cellhold/internal/session/snapshots"
	"cellhold/internal/session/states"
	"cellhold/internal/session/terms"
	"cellhold/internal/session/undo"
)

// saveTimeout limits the time to save one sandbox. 1 GiB at 10 MB/s takes less.
const saveTimeout = 2 * time.Minute

// errWatchEnds is the error of file watches when their session hibernates.
var errWatchEnds = cellhold.Errorf(cellhold.Unavailable, "The session was hibernated, which ends the watch. Watch again to resume the session.")

// Hibernate saves the session to disk and frees its memory. The next use resumes it. If a call, a cell or a
// command is running, the error is a Conflict. If the session is hibernated already, Hibernate only records the request.
func (s *Session) Hibernate(ctx context.Context) error {
	turn, err := s.states.Acquire(ctx)
	if err != nil {
		return err
	}
	defer turn.Release()
	if turn.Settled() == states.Hibernated {
		return put(ctx, s, func(r *record.Session) { r.Idle = false })
	}
	return s.hibernate(ctx, turn, false)
}

// hibernate hibernates a ready session. idle says that the session was idle, and no caller requested the hibernation.
//
// The server can stop at any step without harm. Before step 5 records the session as hibernated, the next
// server adopts the sandbox and removes the snapshot. After step 5, it uses the snapshot and destroys the
// sandbox.
func (s *Session) hibernate(ctx context.Context, turn *states.Turn, idle bool) (err error) {
	if err := turn.Begin(states.Hibernate); err != nil {
		return err
	}
	defer turn.Abort()
	if err := s.env.Snapshots.CheckSupport(); err != nil {
		return err
	}
	// 1. Make new calls wait.
	l, err := s.sandboxes.close(turn)
	if err != nil {
		return err
	}
	free, err := s.env.Registry.ReserveHibernated()
	if err != nil {
		return err
	}
	defer free()
	ctx, cancel := context.WithTimeout(detach(ctx), saveTimeout)
	defer cancel()
	begun := time.Now()
	var steps undo.Steps
	defer func() { steps.Run(ctx, saveTimeout, &err) }()
	// 2. Update the session's output files and notebook on the host.
	s.sandboxes.pullLast(ctx, l)
	s.wires.Flush(ctx)
	if err := s.notes.Flush(ctx); err != nil {
		s.slog.Error("writing the notebook", "err", err)
	}
	// 3. Save the sandbox. It stays paused, so that the snapshot has its last state.
	name := snapshots.Name(s.id, snapshots.Hibernation)
	if err := s.sandboxes.save(ctx, l, name, true); err != nil {
		return err
	}
	steps.Add(func(ctx context.Context) error { s.env.Registry.DropSnapshot(ctx, name); return nil })
	// 4. Detach from the sandbox.
	if !s.sandboxes.detachLive(l, errWatchEnds) {
		return cellhold.Errorf(cellhold.Conflict, "The session's sandbox ended while it was saved. Restart its kernel to get a new one.")
	}
	steps.Add(func(ctx context.Context) error { return s.sandboxes.reattach(ctx, l) })
	// 5. Record the session as hibernated.
	ev := record.NewEvent(cellhold.EventSessionHibernated, "", "", cellhold.SessionHibernatedContent{Idle: idle})
	err = s.commit(ctx, ev, func(r *record.Session, _ int64) {
		r.State, r.Snapshot, r.Boot, r.Idle = cellhold.SessionHibernated, name, l.Boot(), idle
	})
	if err != nil {
		return err
	}
	turn.Commit()
	// 6. Destroy the sandbox, which frees its memory.
	s.env.Registry.Destroy(ctx, l.Sandbox())
	s.slog.Info("session hibernated", "idle", idle, "took", time.Since(begun))
	return nil
}

// save saves a sandbox as the snapshot name. With pause, the sandbox stays paused after a success. After an
// error, the sandbox continues, and there is no snapshot.
func (b *sandboxes) save(ctx context.Context, l *live, name string, pause bool) (err error) {
	sb := l.Sandbox()
	need := int64(0)
	if u, err := sb.Usage(ctx); err == nil {
		need = u.Memory
	}
	if err := b.s.env.Snapshots.CheckSpace(ctx, need); err != nil {
		return err
	}
	if pause {
		err = sb.Pause(ctx)
	}
	if err == nil {
		err = sb.Snapshot(ctx, name)
	}
	if err == nil {
		return nil
	}
	b.s.slog.Error("saving a session", "err", err)
	if pause {
		clean, cancel := cleanup(ctx)
		defer cancel()
		err = errors.Join(err, sb.Resume(clean))
	}
	return snapshots.SaveError(err)
}

// reattach attaches to the paused sandbox of a session again, after a failed hibernation.
func (b *sandboxes) reattach(ctx context.Context, l *live) error {
	err := l.Sandbox().Resume(ctx)
	var again *live
	if err == nil {
		again, err = b.connect(ctx, l.Sandbox(), attachment.Request{Kernels: b.s.Record().Kernels, Before: b.following()})
	}
	if err == nil {
		if err = again.OpenNetwork(ctx, b.network()); err == nil {
			b.attach(again)
			return nil
		}
		again.Close(nil)
	}
	b.s.slog.Error("attaching to a sandbox again", "err", err)
	b.s.env.Registry.Destroy(ctx, l.Sandbox())
	return errors.Join(err, b.following().Die(ctx, cellhold.StatusLost, "The sandbox could not be reached after it was saved."))
}

// Resume resumes a hibernated session. If the session is ready, Resume does nothing.
func (s *Session) Resume(ctx context.Context) error {
	turn, err := s.acquireReady(ctx, true)
	if err != nil {
		return err
	}
	turn.Release()
	return nil
}

// resume resumes a hibernated session. It continues when its caller disconnects, because other callers can
// wait for the session.
func (s *Session) resume(ctx context.Context, turn *states.Turn) error {
	if err := turn.Begin(states.Resume); err != nil {
		return err
	}
	defer turn.Abort()
	free, err := s.env.Registry.ReserveRunning()
	if err != nil {
		return err
	}
	defer free()
	ctx, cancel := context.WithTimeoutCause(detach(ctx), s.env.StartTimeout, errStartTimeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	begun := time.Now()
	if err := s.sandboxes.restoreHibernated(ctx); err != nil {
		s.slog.Error("resuming a session", "err", err)
		return resumeError(ctx, err, s.env.StartTimeout)
	}
	turn.Commit()
	s.slog.Info("session resumed", "sandbox", s.Record().Sandbox, "took", time.Since(begun))
	return nil
}

// restoreHibernated restores a sandbox from the session's snapshot, and records the session as ready. If the
// server stops before this record is written, the next server destroys the sandbox. If it stops later, the next
// server removes the snapshot.
func (b *sandboxes) restoreHibernated(ctx context.Context) error {
	rec := b.s.Record()
	l, err := b.restore(ctx, rec, rec.Snapshot, attachment.Request{Kernels: rec.Kernels, Before: b.following()})
	if err != nil {
		return err
	}
	if !b.filesKnown {
		if err := b.s.mirror.Recognise(ctx, l.Client()); err != nil {
			b.s.slog.Warn("recognising output files", "err", err) // the mirror then copies the files again
		}
		b.filesKnown = true
	}
	ev := record.NewEvent(cellhold.EventSessionResumed, "", "", cellhold.SessionResumedContent{})
	if err := b.commit(ctx, l, ev, func(r *record.Session, _ int64) { terms.MakeReady(r, string(l.Sandbox().ID())) }); err != nil {
		return err
	}
	b.attach(l)
	b.s.env.Registry.Reschedule()
	b.s.wg.Go(func() { b.s.env.Registry.DropSnapshot(b.s.ctx, rec.Snapshot) })
	return nil
}

// resumeError returns the caller's error for a session that did not resume.
func resumeError(ctx context.Context, err error, timeout time.Duration) error {
	if errors.Is(err, sandbox.ErrSnapshot) {
		return cellhold.Wrap(cellhold.Conflict, err,
			"The session cannot be resumed from its snapshot: %s. Restart a kernel to continue in a new sandbox: variables and all files but the output files are lost; "+
				"the events, the notebook and the output files are kept.", snapshots.Why(err))
	}
	if errors.Is(context.Cause(ctx), errStartTimeout) {
		return cellhold.Wrap(cellhold.Unavailable, err, "The session did not resume within %s and is still hibernated. The host can be overloaded: retry later.", timeout)
	}
	return cellhold.Wrap(cellhold.Unavailable, err, "The session could not be resumed and is still hibernated. Retry.")
}
