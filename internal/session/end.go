package session

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"cellhold"
	"cellhold/internal/record"
	"cellhold/internal/session/paths"
	"cellhold/internal/session/states"
	"cellhold/internal/session/terms"
)

// End ends the session at the owner's request: it destroys the sandbox and deletes the records. It continues
// if the caller disconnects. For an ended session, it deletes the records that can still be read.
func (s *Session) End(ctx context.Context) error {
	return s.end(detach(ctx), cellhold.EndAsked)
}

// end ends the session for the given reason.
func (s *Session) end(ctx context.Context, reason cellhold.EndReason) error {
	turn, err := s.states.Acquire(ctx)
	if err != nil {
		return err
	}
	defer turn.Release()
	if turn.Settled() == states.Ended {
		return s.purge(ctx)
	}
	if now := time.Now(); reason == cellhold.EndExpired && now.Before(s.idle.Expires(now)) {
		return nil // used since the check
	}
	if err := turn.Begin(states.End); err != nil {
		return err
	}
	before := s.Record()
	rec := s.change(terms.MarkEnded(reason))
	if l := s.sandboxes.current(); l != nil && !rec.Once { // a run has read its files
		s.sandboxes.pullLast(ctx, l)
	}
	s.sandboxes.destroy(ctx)
	err = finish(ctx, s, rec)
	turn.Commit()
	s.env.DropSnapshots(ctx, before)
	s.slog.Info("session ended", "reason", reason)
	if reason == cellhold.EndAsked {
		err = errors.Join(err, s.purge(ctx))
	}
	return err
}

// finish writes the last events and the record of a session whose sandbox is destroyed, and stops the
// session's goroutines.
func finish(ctx context.Context, s *Session, rec record.Session) error {
	f := s.sandboxes.following()
	err := f.Die(ctx, cellhold.StatusLost, "The session has ended.")
	err = errors.Join(err, s.log.Append(ctx, []record.Event{
		record.NewEvent(cellhold.EventSessionEnded, "", "", cellhold.SessionEndedContent{Reason: rec.Reason})}),
		s.env.Store.PutSession(ctx, rec))
	if e := s.notes.Write(ctx); e != nil {
		s.slog.Error("writing the notebook", "err", e)
	}
	s.stop(nil)
	f.Release()
	s.env.Registry.Forget(s, true)
	return err
}

// DropSnapshots removes all snapshots of a session.
func (e *Environment) DropSnapshots(ctx context.Context, rec record.Session) {
	e.Registry.DropSnapshot(ctx, rec.Snapshot)
	for _, c := range rec.Checkpoints {
		e.Registry.DropSnapshot(ctx, c.Snapshot)
	}
}

// pullLastTimeout limits the last copy of the output files: a guest that hangs must not delay the end.
const pullLastTimeout = 10 * time.Second

// pullLast copies the output files once more, because a background thread can have written some.
func (b *sandboxes) pullLast(ctx context.Context, l *live) {
	ctx, cancel := context.WithTimeout(ctx, pullLastTimeout)
	defer cancel()
	if err := l.PullOutput(ctx); err != nil {
		b.s.slog.Warn("mirroring output files", "err", err)
	}
}

// purge deletes the records of an ended session, and its notebook unless notebooks are kept. If the session has no
// user, it also deletes the output files, because no later session could find them.
func (s *Session) purge(ctx context.Context) error {
	s.env.Registry.Forget(s, false)
	err := s.env.Store.DeleteSession(ctx, s.id)
	if !s.env.KeepNotebooks || s.Record().Once {
		err = errors.Join(err, ignoreMissing(os.Remove(s.HostFiles().NotebookPath())))
	}
	return errors.Join(err, s.env.removeOutput(s.Record()))
}

// removeOutput removes the output files of a session without a user, which no later session could find.
func (e *Environment) removeOutput(rec record.Session) error {
	if rec.User != "" {
		return nil
	}
	return os.RemoveAll(paths.Output(e.Outputs, rec))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Detach stops the session's goroutines at the end of the server. The sandbox keeps running for the next
// server, unless the server is ephemeral.
func (s *Session) Detach(ctx context.Context) {
	clean, cancel := cleanup(ctx)
	defer cancel()
	leaving := cellhold.Errorf(cellhold.Unavailable, "The server is shutting down. Reconnect with the number of your last event.")
	turn, err := s.states.Acquire(clean) // waits for a running End
	if err != nil {
		// A transition hangs. The next server takes over the session.
		s.slog.Error("waiting for a change of the session", "err", err)
		s.stop(leaving)
		return
	}
	defer turn.Release()
	if turn.Settled() == states.Ended {
		return
	}
	sb := s.sandboxes.detach()
	if err := s.notes.Write(clean); err != nil {
		s.slog.Error("writing the notebook", "err", err)
	}
	s.stop(leaving)
	if s.env.Ephemeral {
		if sb != nil {
			s.env.Registry.Destroy(ctx, sb)
		}
		s.env.DropSnapshots(ctx, s.Record())
	}
}
