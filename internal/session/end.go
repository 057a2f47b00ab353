package session

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/kernel"
)

// End ends the session because its owner asked: the sandbox is destroyed, the records are deleted.
// It goes on when the caller goes away. Ending a session that has ended deletes what can be read.
func (s *Session) End(ctx context.Context) error {
	return s.end(context.WithoutCancel(ctx), cellhold.EndAsked)
}

// end ends the session for that reason.
func (s *Session) end(ctx context.Context, reason cellhold.EndReason) error {
	release, err := s.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	if s.record().State == cellhold.SessionEnded {
		return s.purge(ctx)
	}
	if now := time.Now(); reason == cellhold.EndExpired && now.Before(s.expires(now)) {
		return nil // used at the last moment
	}
	saved := s.record()
	rec := s.change(func(r *cellhold.Session) { // from here on it takes nothing
		r.State, r.Reason, r.Used = cellhold.SessionEnded, reason, time.Now().UTC()
		r.Vault = nil // nothing needs the secrets any more
		r.Snapshot, r.Checkpoints = "", nil
	})
	if s.client() != nil {
		s.lastFiles(ctx)
	}
	if sb := s.detach(); sb != nil {
		s.m.destroy(ctx, sb)
	}
	err = s.finish(ctx, rec, reason)
	s.m.dropSnapshots(ctx, saved)
	s.slog.Info("session ended", "reason", reason)
	if reason == cellhold.EndAsked {
		err = errors.Join(err, s.purge(ctx))
	}
	return err
}

// finish writes the last events and the record of a session that has no sandbox any more, and stops
// what runs for it here.
func (s *Session) finish(ctx context.Context, rec cellhold.Session, reason cellhold.EndReason) error {
	err := s.dieAll(ctx, cellhold.StatusLost, "The session has ended.")
	err = errors.Join(err, s.sayEnded(ctx, reason), s.m.o.Store.PutSession(ctx, rec))
	if e := s.notes.Write(ctx); e != nil {
		s.slog.Error("writing the notebook", "err", e)
	}
	s.stop(nil)
	for _, k := range s.all() {
		k.Release()
	}
	if c := s.currentCommands(); c != nil {
		c.Release()
	}
	s.m.forget(s, true)
	return err
}

// lastFilesWait bounds the last copy of the output files; a guest that hangs must not delay the end.
const lastFilesWait = 10 * time.Second

// lastFiles copies the output files once more: a background thread may have written some.
func (s *Session) lastFiles(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastFilesWait)
	defer cancel()
	if err := s.pull(ctx, s.client()); err != nil {
		s.slog.Warn("mirroring output files", "err", err)
	}
}

func (s *Session) sayEnded(ctx context.Context, reason cellhold.EndReason) error {
	return s.log.Append(ctx, []cellhold.Event{
		cellhold.NewEvent(cellhold.EventSessionEnded, "", "", cellhold.SessionEndedContent{Reason: reason})})
}

// endLost writes the end of a session whose sandbox an earlier server has left and that is gone, or
// never was ready.
func (s *Session) endLost(ctx context.Context, pending []cellhold.Cell, reason cellhold.EndReason) error {
	rec := s.change(func(r *cellhold.Session) {
		r.State, r.Reason, r.Used = cellhold.SessionEnded, reason, time.Now().UTC()
		r.Vault = nil                       // nothing needs the secrets any more
		r.Snapshot, r.Checkpoints = "", nil // what was saved is reaped
	})
	s.m.add(s)
	// Kernels without a link: they bring the cells up to what the journal says, and end them.
	var errs []error
	for _, x := range rec.Kernels {
		k, err := kernel.New(ctx, kernel.Options{ID: x.ID, Session: s.id, Log: s.log,
			Journal: s.m.o.Store, Logger: s.slog, Pending: of(pending, x.ID)})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, k.Die(ctx, cellhold.StatusLost, "The sandbox was gone when the server came back."))
		s.mu.Lock()
		s.kernels[x.ID] = resting(k)
		s.mu.Unlock()
	}
	_, lost := s.newCommands(ctx, nil, guestapi.Info{}) // likewise
	return errors.Join(append(errs, lost, s.finish(ctx, rec, reason))...)
}

// purge deletes the records of an ended session, its notebook unless notebooks are kept, and the
// files of a session that belongs to no user, which nobody could find again.
func (s *Session) purge(ctx context.Context) error {
	s.m.forget(s, false)
	err := s.m.o.Store.DeleteSession(ctx, s.id)
	if !s.m.o.KeepNotebooks {
		err = errors.Join(err, ignoreMissing(os.Remove(s.NotebookPath())))
	}
	if r := s.record(); r.User == "" {
		err = errors.Join(err, os.RemoveAll(s.m.o.outputDir(r)))
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
