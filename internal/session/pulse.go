package session

import (
	"context"
	"time"

	"cellhold"
)

const (
	// maxPulse is how long before the end of an idle session its processor time is looked at, to see
	// whether something in it works on: a minute, or a quarter of the idle timeout if that is less.
	maxPulse = time.Minute
	// workShare is the share of one core from which on a session works. An idle kernel with all that
	// surrounds it takes less than a tenth of that.
	workShare = 0.05
)

// pulse is what a session's sandbox had used at some moment.
type pulse struct {
	at  time.Time
	cpu time.Duration // negative when it cannot be known
}

// pulseTime is how long before its end, or before it is hibernated, a session is looked at.
func (o *Options) pulseTime() time.Duration {
	idle := o.IdleTimeout
	if o.HibernateAfter > 0 {
		idle = min(idle, o.HibernateAfter)
	}
	return min(maxPulse, idle/4)
}

// expiring says when a session that is due at that moment has to be looked at next, and whether it is
// to end, or to be hibernated, now. A thread or child process that a cell left behind may be computing: a session whose
// processes use the processor shortly before its end is not idle, and begins a new idle time. It still
// ends when it is too old.
func (s *Session) expiring(ctx context.Context, due, now time.Time) (next time.Time, end bool) {
	before := s.m.o.pulseTime()
	r := s.record()
	if r.State != cellhold.SessionReady || s.m.o.MaxAge > 0 && !r.Created.Add(s.m.o.MaxAge).After(now) {
		return due, !due.After(now)
	}
	look := due.Add(-before)
	if now.Before(look) {
		return look, false
	}
	s.mu.Lock()
	last := s.pulse
	s.mu.Unlock()
	if last.at.Before(look) { // the first look before this end, which may be late
		if s.takePulse(ctx, now).cpu < 0 {
			return due, !due.After(now)
		}
		return later(due, now.Add(before)), false
	}
	if due.After(now) {
		return due, false
	}
	cpu := s.takePulse(ctx, now).cpu
	if cpu-last.cpu < time.Duration(workShare*float64(now.Sub(last.at))) {
		return due, true
	}
	s.slog.Debug("a session works on by itself", "cpu", cpu-last.cpu, "within", now.Sub(last.at))
	s.change(func(r *cellhold.Session) { r.Used = now })
	return s.due(now).Add(-before), false
}

// takePulse looks at the processor time of the sandbox.
func (s *Session) takePulse(ctx context.Context, now time.Time) pulse {
	p := pulse{at: now, cpu: -1}
	s.mu.Lock()
	place := s.place
	s.mu.Unlock()
	if place != nil {
		if u, err := place.sandbox.Usage(ctx); err == nil {
			p.cpu = u.CPU
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pulse = p
	return p
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
