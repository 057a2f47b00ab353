package session

import (
	"context"
	"time"

	"cellhold"
	"cellhold/internal/record"
	"cellhold/internal/session/idle"
	"cellhold/internal/session/states"
	"cellhold/internal/session/terms"
)

// subject is a session in the form that package idle needs.
type subject struct{ *Session }

// Busy reports whether a cell, a command or a transfer is running.
func (s subject) Busy() bool {
	l := s.sandboxes.current()
	return l != nil && l.Moving() || s.sandboxes.following().Busy()
}

// CPU returns the CPU time that the sandbox used.
func (s subject) CPU(ctx context.Context) (time.Duration, error) {
	l := s.sandboxes.current()
	if l == nil {
		return 0, ErrNoSandbox
	}
	u, err := l.Sandbox().Usage(ctx)
	return u.CPU, err
}

// CanHibernate reports whether the session has a sandbox that can be saved.
func (s subject) CanHibernate() bool {
	return s.sandboxes.current() != nil && s.env.Snapshots.CheckSupport() == nil
}

// Used records work that only the CPU time shows.
func (s subject) Used(at time.Time) {
	s.slog.Debug("the session's processes use the CPU")
	s.change(func(r *record.Session) { r.Used = at })
}

// times returns the settings that say when sessions are idle.
func (s *Settings) times() idle.Times {
	return idle.Times{Idle: s.IdleTimeout, Hibernate: s.HibernateAfter, MaxAge: s.MaxAge, Retention: s.Retention}
}

// SetDeadline sets the deadline of the session, which replaces the end of idle sessions.
func (s *Session) SetDeadline(ctx context.Context, d terms.Deadline) error {
	if err := d.Check(); err != nil {
		return err
	}
	turn, err := s.states.Acquire(ctx)
	if err != nil {
		return err
	}
	defer turn.Release()
	now := time.Now().UTC()
	if err := d.Allowed(s.Record(), now); err != nil {
		return err
	}
	defer s.env.Registry.Reschedule()
	return put(ctx, s, func(r *record.Session) { d.Apply(r, now) })
}

// SetNote changes one entry of a session's metadata. It does not resume the session, and does not count as use.
func SetNote(ctx context.Context, s *Session, name string, f func(old string) (string, error)) error {
	turn, err := s.states.Acquire(ctx)
	if err != nil {
		return err
	}
	defer turn.Release()
	meta, err := terms.Note(s.Record(), name, f)
	if err != nil {
		return err
	}
	return put(ctx, s, func(r *record.Session) { r.Meta = meta })
}

// put changes the record in the store, and then in memory. The caller must hold the turn.
func put(ctx context.Context, s *Session, f func(*record.Session)) error {
	rec := s.Record()
	f(&rec)
	if err := s.env.Store.PutSession(ctx, rec); err != nil {
		return notRecorded(err)
	}
	s.change(f)
	return nil
}

// Due returns the next time to check the session, and whether Expire must be called now.
func (s *Session) Due(ctx context.Context, now time.Time) (next time.Time, due bool) {
	return s.idle.Look(ctx, now)
}

// Expire does the due action: it hibernates, ends or purges the session. It does nothing while an earlier call runs.
func (s *Session) Expire(ctx context.Context) {
	if !s.expiring.CompareAndSwap(false, true) {
		return
	}
	defer func() { s.expiring.Store(false); s.env.Registry.Reschedule() }()
	var err error
	if s.Record().State == cellhold.SessionEnded {
		err = s.purge(ctx)
	} else if now := time.Now(); now.Before(s.idle.Expires(now)) {
		subject{s}.hibernate(ctx)
	} else {
		s.slog.Info("session expired")
		err = s.end(ctx, cellhold.EndExpired)
	}
	if err != nil && ctx.Err() == nil {
		s.slog.Error("ending a session", "err", err)
		s.change(func(r *record.Session) { r.Used = r.Used.Add(idle.RetryAfter) })
	}
}

// hibernate hibernates an idle session. If that fails, it retries after another idle time.
func (s subject) hibernate(ctx context.Context) {
	turn := s.states.TryAcquire()
	if turn == nil {
		s.idle.Postpone() // another transition is running
		return
	}
	defer turn.Release()
	now := time.Now()
	if turn.Settled() != states.Ready || now.Before(s.idle.Due(now)) {
		return // ended, or used since the check
	}
	deadline := s.Record().Deadline
	if err := s.Session.hibernate(ctx, turn, deadline.IsZero() || now.Before(deadline)); err != nil && ctx.Err() == nil {
		s.idle.Postpone()
		s.slog.Warn("hibernating an idle session", "err", err)
	}
}
