package session

import (
	"context"
	"errors"
	"time"

	"cellhold"
	"cellhold/internal/kernel"
	"cellhold/internal/record"
	"cellhold/internal/session/states"
)

// Start records a new session and gives it a sandbox made from rootfs. It returns when the kernel is idle and the
// registry has the session. base ends the session's goroutines. After an error it leaves nothing behind.
func Start(ctx, base context.Context, env *Environment, rec record.Session, rootfs string) (*Session, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, env.StartTimeout, errStartTimeout)
	defer cancel()
	if err := env.Store.PutSession(ctx, rec); err != nil {
		return nil, notRecorded(err)
	}
	s, err := start(ctx, base, env, rec, rootfs)
	if err != nil {
		return nil, env.abandon(ctx, rec, err)
	}
	return s, nil
}

func start(ctx, base context.Context, env *Environment, rec record.Session, rootfs string) (*Session, error) {
	s := newSession(env, rec, kernel.EmptyLog(rec.ID, env.Store))
	s.sandboxes.rootfs = rootfs
	s.run(base)
	if err := begin(ctx, s); err != nil {
		s.sandboxes.destroy(ctx)
		s.stop(nil)
		return nil, err
	}
	s.notes.Changed()
	env.Registry.Reschedule()
	return s, nil
}

// begin opens the sandbox of a new session, makes the session ready and adds it to the registry.
func begin(ctx context.Context, s *Session) error {
	turn, err := s.states.Acquire(ctx)
	if err != nil {
		return err
	}
	defer turn.Release()
	if err := turn.Begin(states.Start); err != nil {
		return err
	}
	if err := s.sandboxes.open(ctx, s.Record().Created); err != nil {
		return err
	}
	rec := s.change(func(r *record.Session) { // the idle time starts when the session can be used
		r.State, r.Used = cellhold.SessionReady, time.Now().UTC()
	})
	if err := s.env.Store.PutSession(ctx, rec); err != nil {
		return err
	}
	turn.Commit()
	return s.env.Registry.Add(s)
}

// abandon deletes the record of a session that did not start, and returns the caller's error.
func (e *Environment) abandon(ctx context.Context, rec record.Session, err error) error {
	clean, cancel := cleanup(ctx)
	defer cancel()
	if derr := e.Store.DeleteSession(clean, rec.ID); derr != nil {
		e.Logger.Error("deleting a session that did not start", "session", rec.ID, "err", derr)
	}
	late := errors.Is(context.Cause(ctx), errStartTimeout)
	if ctx.Err() == nil || late {
		e.Logger.Error("starting a session", "session", rec.ID, "err", err)
	}
	if late {
		return cellhold.Wrap(cellhold.Unavailable, err, "The session did not start within %s. The host can be overloaded: retry later.", e.StartTimeout)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, ok := errors.AsType[*cellhold.Error](err); ok {
		return err
	}
	return cellhold.Wrap(cellhold.Unavailable, err, "The session could not be started. The server's log has the reason; `cellhold doctor` checks the host.")
}
