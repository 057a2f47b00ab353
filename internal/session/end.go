package session

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"cellhold"
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
	if c := s.client(); c != nil {
		s.lastFiles(ctx)
	}
	sb := s.detach()
	rec := s.change(func(r *cellhold.Session) {
		r.State, r.Reason, r.Used = cellhold.SessionEnded, reason, time.Now().UTC()
		r.Kernels = []cellhold.Kernel{}
	})
	if sb != nil {
		s.m.destroy(ctx, sb)
	}
	err = errors.Join(s.lastEvents(ctx, reason), s.m.o.Store.PutSession(ctx, rec), s.notes.write(ctx))
	s.stop(nil)
	s.m.forget(s, true)
	s.slog.Info("session ended", "reason", reason)
	if reason == cellhold.EndAsked {
		err = errors.Join(err, s.purge(ctx))
	}
	return err
}

// lastFilesWait bounds the last copy of the output files; a guest that hangs must not delay the end.
const lastFilesWait = 10 * time.Second

// lastFiles copies the output files once more: a background thread may have written some.
func (s *Session) lastFiles(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastFilesWait)
	defer cancel()
	if err := s.mirror.pull(ctx, s.client()); err != nil {
		s.slog.Warn("mirroring output files", "err", err)
	}
}

// lastEvents ends the cells that are not done, and the session.
func (s *Session) lastEvents(ctx context.Context, reason cellhold.EndReason) error {
	k := s.currentKernel()
	if k == nil {
		return s.sayEnded(ctx, reason)
	}
	if err := k.Die(ctx, cellhold.StatusLost, "The session has ended."); err != nil {
		return err
	}
	return s.sayEnded(ctx, reason)
}

func (s *Session) sayEnded(ctx context.Context, reason cellhold.EndReason) error {
	return s.log.Append(ctx, []cellhold.Event{
		cellhold.NewEvent(cellhold.EventSessionEnded, "", "", cellhold.SessionEndedContent{Reason: reason})})
}

// endLost writes the end of a session whose sandbox an earlier server has left and that is gone.
func (s *Session) endLost(ctx context.Context, pending []cellhold.Cell, reason cellhold.EndReason) error {
	var evs []cellhold.Event
	var cells []*cellhold.Cell
	content := cellhold.CellDoneContent{Status: cellhold.StatusLost, Cause: "The sandbox was gone when the server came back."}
	now := time.Now().UTC()
	for _, c := range pending {
		evs = append(evs, cellhold.NewEvent(cellhold.EventCellDone, c.Kernel, c.ID, content))
		c.State, c.Status, c.Cause, c.Ended = cellhold.CellDone, content.Status, content.Cause, now
		cells = append(cells, &c)
	}
	if len(evs) > 0 {
		if err := s.log.Append(ctx, evs, cells...); err != nil {
			s.stop(nil)
			return err
		}
	}
	rec := s.change(func(r *cellhold.Session) {
		r.State, r.Reason, r.Used = cellhold.SessionEnded, reason, now
	})
	err := errors.Join(s.sayEnded(ctx, reason), s.m.o.Store.PutSession(ctx, rec), s.notes.write(ctx))
	s.stop(nil)
	s.m.forget(s, true)
	return err
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
