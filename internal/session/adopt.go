package session

import (
	"context"
	"errors"
	"slices"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/kernel"
	"cellhold/internal/record"
	"cellhold/internal/sandbox"
	"cellhold/internal/session/states"
	"cellhold/internal/session/terms"
)

// Adopt takes over a session of an earlier server, and returns it in the state in which it can continue:
// ready, hibernated or ended. base ends the session's goroutines. After an error the record does not change,
// so that the next server can try again; Adopt can still return a session that can be read.
func Adopt(ctx, base context.Context, env *Environment, rec record.Session) (*Session, error) {
	log, err := kernel.NewLog(ctx, rec.ID, env.Store)
	if err != nil {
		return nil, err
	}
	if len(rec.Kernels) == 0 || rec.Kernels[0].Spec == "" {
		rec.Kernels = env.FirstKernel() // an older server wrote the record and knew only this kernel
	}
	s := newSession(env, rec, log)
	if rec.State == cellhold.SessionEnded {
		log.Close(nil)
		return s, nil
	}
	a := adoption{Session: s, rec: rec}
	if a.pending, err = a.readPending(ctx); err != nil {
		log.Close(err)
		return nil, err
	}
	s.run(base)
	switch {
	case rec.State == cellhold.SessionStarting:
		return s, a.endLost(ctx, cellhold.EndFailed)
	case env.Ephemeral:
		return s, a.endLost(ctx, cellhold.EndLost)
	case rec.State == cellhold.SessionHibernated:
		err = a.hibernated(ctx)
	default:
		err = a.ready(ctx)
		if err != nil && ctx.Err() == nil {
			env.Logger.Warn("session lost", "session", rec.ID, "sandbox", rec.Sandbox, "err", err)
			return s, a.endLost(ctx, cellhold.EndLost)
		}
	}
	if err != nil {
		s.stop(err)
		return nil, err
	}
	return s, nil
}

// adoption is the takeover of one session.
type adoption struct {
	*Session
	rec     record.Session
	pending []record.Cell // cells that were not done when the earlier server ended
}

// readPending returns the cells that are not done, in order. It gives the cells to package wire too.
func (s adoption) readPending(ctx context.Context) ([]record.Cell, error) {
	var cells []record.Cell
	for c, err := range s.env.Store.Cells(ctx, s.id) {
		if err != nil && c.ID != "" {
			s.slog.Error("reading a cell", "cell", c.ID, "err", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		if c.State != cellhold.CellDone {
			cells = append(cells, c)
		}
		s.wires.Recover(c)
	}
	return cells, nil
}

// hibernated takes over a session that has no sandbox.
func (s adoption) hibernated(ctx context.Context) error {
	f, err := attachment.Detached(ctx, s.options(), s.rec.Kernels, s.rec.Boot, s.pending)
	if err != nil {
		return err
	}
	s.sandboxes.follow(f)
	return nil
}

func (s adoption) options() attachment.Options {
	return attachment.Options{Session: s.id, Logger: s.slog, Log: s.log, Journal: s.env.Store}
}

// ready attaches to the live sandbox of a session. After an error it destroys the sandbox, unless this server
// is shutting down: then the next server takes it over.
func (s adoption) ready(ctx context.Context) (err error) {
	rec := s.rec
	adopting, cancel := context.WithTimeout(ctx, attachment.GreetTimeout)
	sb, err := s.env.Driver.Adopt(adopting, sandbox.ID(rec.Sandbox))
	cancel()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.sandboxes.detach()
			if ctx.Err() == nil {
				s.env.Registry.Destroy(ctx, sb)
			}
		}
	}()
	s.use()
	if s.env.Driver.Features().Pause { // the earlier server can have stopped while it saved the sandbox
		if err := sb.Resume(ctx); err != nil {
			return err
		}
	}
	l, err := s.sandboxes.connect(ctx, sb, attachment.Request{Kernels: rec.Kernels, Pending: s.pending})
	if err != nil {
		return err
	}
	s.sandboxes.attach(l)
	if !slices.Contains(l.Known(), rec.Kernels[0].ID) { // the earlier server stopped before it started the kernels
		err = s.sandboxes.setUp(ctx, l, rec)
	} else {
		l.FinishKernels(ctx, rec.Kernels, rec.Startup)
		if err = s.sandboxes.recognise(ctx, l, len(s.pending) == 0); err == nil {
			err = l.OpenNetwork(ctx, s.sandboxes.network())
		}
	}
	if err == nil {
		s.slog.Info("session taken over", "sandbox", rec.Sandbox, "pending", len(s.pending))
		s.notes.Changed()
	}
	return err
}

// recognise finds the output files of the sandbox that an earlier server copied to the host. If no cell is
// pending and no other session uses the folder on the host, it also copies the other files. The earlier server
// can have stopped after a rollback or a fork, before it copied the files.
func (b *sandboxes) recognise(ctx context.Context, l *live, nonePending bool) error {
	ctx, cancel := context.WithTimeout(ctx, attachment.GreetTimeout)
	defer cancel()
	b.filesKnown = true
	if err := b.s.mirror.Recognise(ctx, l.Client()); err != nil || !nonePending || b.s.Record().User != "" {
		return err
	}
	if err := b.s.mirror.Restore(ctx, l.Client(), true); err != nil {
		b.s.slog.Warn("mirroring output files", "err", err)
	}
	return nil
}

// endLost records the end of a session whose sandbox is gone or never became ready.
func (s adoption) endLost(ctx context.Context, reason cellhold.EndReason) error {
	turn, err := s.states.Acquire(ctx)
	if err != nil {
		return err
	}
	defer turn.Release()
	if err := turn.Begin(states.End); err != nil {
		return err
	}
	rec := s.change(terms.MarkEnded(reason))
	// Without a sandbox, the followers complete the cells from the journal, and end them.
	f, err := attachment.Detached(ctx, s.options(), rec.Kernels, "", s.pending)
	s.sandboxes.follow(f)
	err = errors.Join(err, f.Die(ctx, cellhold.StatusLost, "The sandbox was gone when the server started."), finish(ctx, s.Session, rec))
	turn.Commit()
	return err
}
