package session

import (
	"context"
	"time"

	"cellhold"
	"cellhold/internal/record"
	"cellhold/internal/session/idle"
	"cellhold/internal/session/states"
)

// subject is a session as package idle sees it.
type subject struct{ *Session }

// Busy reports whether a cell, a command or a transfer is under way.
func (s subject) Busy() bool {
	l := s.sandboxes.current()
	return l != nil && l.Moving() || s.sandboxes.following().Busy()
}

// CPU returns the processor time that the sandbox has used.
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
	return s.sandboxes.current() != nil && s.env.Shelf.Able() == nil
}

// Used notes work that only the processor time shows.
func (s subject) Used(at time.Time) {
	s.slog.Debug("a session works by itself")
	s.change(func(r *record.Session) { r.Used = at })
}

// times are the settings that say when sessions are idle.
func (s *Settings) times() idle.Times {
	return idle.Times{Idle: s.IdleTimeout, Hibernate: s.HibernateAfter, MaxAge: s.MaxAge, Retention: s.Retention}
}

// Due returns when the session must be looked at again, and whether it is due now, for Expire.
func (s *Session) Due(ctx context.Context, now time.Time) (next time.Time, due bool) {
	return s.idle.Look(ctx, now)
}

// Expire does what is due: it hibernates, ends or purges the session.
func (s *Session) Expire(ctx context.Context) {
	var err error
	if s.Record().State == cellhold.SessionEnded {
		err = s.purge(ctx)
	} else if now := time.Now(); now.Before(s.idle.Expires(now)) {
		subject{s}.hibernate(ctx)
		s.env.Registry.Reschedule()
	} else {
		s.slog.Info("session expired")
		err = s.end(ctx, cellhold.EndExpired)
	}
	if err != nil && ctx.Err() == nil {
		s.slog.Error("ending a session", "err", err)
		s.change(func(r *record.Session) { r.Used = r.Used.Add(idle.RetryAfter) })
	}
}

// hibernate hibernates a session that nothing has used. If it cannot, it tries again after one more idle
// time.
func (s subject) hibernate(ctx context.Context) {
	turn := s.states.TryAcquire()
	if turn == nil {
		s.idle.Postpone() // another transition is under way
		return
	}
	defer turn.Release()
	now := time.Now()
	if turn.Settled() != states.Ready || now.Before(s.idle.Due(now)) {
		return // ended, or used at the last moment
	}
	if err := s.Session.hibernate(ctx, turn, true); err != nil && ctx.Err() == nil {
		s.idle.Postpone()
		s.slog.Warn("an idle session could not be hibernated", "err", err)
	}
}
