package session

import (
	"context"
	"slices"
	"time"

	"cellhold"
)

// strayRetry is how long a sandbox that could not be destroyed is left alone before the next try.
const strayRetry = time.Minute

// expire hibernates and ends idle sessions, ends old ones and purges ended ones, when their time comes, until the
// context ends.
func (m *Manager) expire(ctx context.Context) {
	for {
		next := m.sweep(ctx, time.Now())
		t := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-m.wake:
			t.Stop()
		case <-t.C:
		}
	}
}

// sweep does what is due, and returns when the next thing will be.
func (m *Manager) sweep(ctx context.Context, now time.Time) time.Time {
	next := now.Add(time.Hour) // nothing depends on it; a bound for the timer
	for _, s := range m.all() {
		at, end := s.expiring(ctx, s.due(now), now)
		if !end {
			next = earlier(next, at)
			continue
		}
		s.endDue(ctx)
	}
	if m.retryStrays(ctx) {
		next = earlier(next, now.Add(strayRetry))
	}
	return next
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// due is when the session has to be looked at again: when it has to be hibernated or to end or, once it has, to be purged.
// Use only ever moves that moment away, so nobody has to say that a session was used: it is seen when
// the old moment comes.
func (s *Session) due(now time.Time) time.Time {
	at := s.expires(now)
	if bed := s.bedtime(s.used(now)); !bed.IsZero() {
		at = earlier(at, bed)
	}
	return at
}

// expires is when the session has to end or to be purged.
func (s *Session) expires(now time.Time) time.Time {
	r := s.record()
	if r.State == cellhold.SessionEnded {
		return r.Used.Add(s.m.o.Retention)
	}
	r.Used = s.used(now)
	return s.m.o.expiry(r)
}

// used is when the session was last used: now, if something is under way.
func (s *Session) used(now time.Time) time.Time {
	if slices.ContainsFunc(s.all(), func(k *running) bool { return k.Busy() }) {
		return now // a session that is computing is not idle
	}
	if s.moving.Load() > 0 {
		return now
	}
	if c := s.currentCommands(); c != nil && c.Busy() {
		return now
	}
	return s.record().Used
}

// expiry is when a session ends if nothing uses it until then.
func (o *Options) expiry(r cellhold.Session) time.Time {
	t := r.Used.Add(o.IdleTimeout)
	if o.MaxAge > 0 {
		t = earlier(t, r.Created.Add(o.MaxAge))
	}
	return t
}

// endDue ends or purges a session whose time has come.
func (s *Session) endDue(ctx context.Context) {
	var err error
	if s.record().State == cellhold.SessionEnded {
		err = s.purge(ctx)
	} else if now := time.Now(); now.Before(s.expires(now)) {
		s.hibernateIdle(ctx)
		s.m.nudge() // for what is due next
	} else {
		s.slog.Info("session expired")
		err = s.end(ctx, cellhold.EndExpired)
	}
	if err != nil && ctx.Err() == nil {
		s.slog.Error("ending a session", "err", err)
		s.change(func(r *cellhold.Session) { r.Used = r.Used.Add(strayRetry) }) // not again at once
	}
}

// retryStrays tries again to destroy what could not be, and reports whether some are left.
func (m *Manager) retryStrays(ctx context.Context) bool {
	m.mu.Lock()
	strays := m.strays
	m.strays = nil
	m.mu.Unlock()
	for _, x := range strays {
		m.cleanUp(ctx, x.id, x.destroy)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.strays) > 0
}
