// Package idle decides when a session has been idle long enough to hibernate or end.
//
// A session whose processes use the CPU is not idle: a cell can leave a working thread or process behind. So
// the package measures the CPU time twice before the session is due. It does not change sessions.
package idle

import (
	"context"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/record"
)

const (
	// maxWindow limits the window: the last part of the idle time, in which the CPU time is measured. The
	// window is at most a quarter of the idle time.
	maxWindow = time.Minute
	// workShare is the share of one core from which a session counts as working. An idle kernel and
	// the other processes of its sandbox use less than a tenth of this share.
	workShare = 0.05
	// RetryAfter is the pause after a session could not be ended or hibernated.
	RetryAfter = time.Minute
	// keepHibernated is the time after which a session with a deadline ends, if its caller hibernated it or its
	// deadline did.
	keepHibernated = 30 * 24 * time.Hour
)

// Times are the operator's settings.
type Times struct {
	Idle      time.Duration // a session ends after this long without use
	Hibernate time.Duration // a session hibernates after this long without use; 0: never
	MaxAge    time.Duration // a session ends at this age; 0: never
	Retention time.Duration // an ended session can be read for this long
}

// Expiry returns the time at which a session ends if it is not used before. A session that hibernates at its deadline
// only ends if it could not be hibernated for the idle time.
func (t Times) Expiry(r record.Session) time.Time {
	end := r.Used.Add(t.Idle)
	switch hibernates := r.AtDeadline == cellhold.DeadlineHibernate; {
	case r.Deadline.IsZero():
	case r.State == cellhold.SessionHibernated && (hibernates || !r.Idle):
		end = later(r.Used, r.Deadline).Add(keepHibernated)
	case hibernates:
		end = later(r.Used, r.Deadline).Add(t.Idle)
	default:
		end = r.Deadline
	}
	if t.MaxAge > 0 {
		end = earlier(end, r.Created.Add(t.MaxAge))
	}
	return end
}

// Session has the facts about a session that a Timer needs.
type Session interface {
	Record() record.Session
	// Busy reports whether a cell, a command or a transfer is running.
	Busy() bool
	// CPU returns the CPU time that the sandbox used, or an error if it cannot be measured.
	CPU(ctx context.Context) (time.Duration, error)
	// CanHibernate reports whether the session has a sandbox that can be saved.
	CanHibernate() bool
	// Used records that the session was used at that time.
	Used(at time.Time)
}

// Timer decides for one session. Its methods can be called from any goroutine.
type Timer struct {
	Times
	s Session

	mu        sync.Mutex
	last      sample
	notBefore time.Time // do not hibernate an idle session before this time
	retry     time.Time // do not hibernate at the deadline before this time
}

// sample is the CPU time that the sandbox had used at one time.
type sample struct {
	at  time.Time
	cpu time.Duration // negative if it cannot be measured
}

// New returns the timer of a session.
func New(s Session, t Times) *Timer { return &Timer{Times: t, s: s} }

// Look returns the next time to check the session, and whether it is due now: to hibernate, to end or, after
// its end, to be purged. Callers do not need to report use: use only delays the due time, and the next Look
// sees it. Look measures the CPU time at the start and at the end of the window before the due time. A deadline is due
// whether the session is used or not.
func (t *Timer) Look(ctx context.Context, now time.Time) (next time.Time, due bool) {
	deadline, limited := t.deadline()
	if limited && !deadline.After(now) {
		return deadline, true
	}
	next, due = t.lookIdle(ctx, now)
	if limited {
		next = earlier(next, deadline)
	}
	return next, due
}

// deadline returns the time at which a ready session must hibernate or end. It returns false if there is none.
func (t *Timer) deadline() (time.Time, bool) {
	r := t.s.Record()
	if r.Deadline.IsZero() || r.State != cellhold.SessionReady {
		return time.Time{}, false
	}
	if r.AtDeadline != cellhold.DeadlineHibernate {
		return r.Deadline, true
	}
	if !t.s.CanHibernate() {
		return time.Time{}, false // it ends when it is idle
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return later(r.Deadline, t.retry), true
}

// lookIdle is Look without a deadline.
func (t *Timer) lookIdle(ctx context.Context, now time.Time) (next time.Time, due bool) {
	end := t.Due(now)
	if !t.canWork(now) {
		return end, !end.After(now)
	}
	window := t.window()
	begin := end.Add(-window)
	last := t.lastSample()
	switch {
	case now.Before(begin):
		return begin, false
	case last.at.Before(begin): // the first check in this window, which can be late
		if t.measure(ctx, now).cpu < 0 {
			return end, !end.After(now)
		}
		return later(end, now.Add(window)), false
	case now.Before(end):
		return end, false
	}
	used := t.measure(ctx, now).cpu - last.cpu
	if used < time.Duration(workShare*float64(now.Sub(last.at))) {
		return end, true
	}
	t.s.Used(now)
	return t.Due(now).Add(-window), false
}

// canWork reports whether work in the sandbox would delay the due time: the session is ready and not too old.
func (t *Timer) canWork(now time.Time) bool {
	r := t.s.Record()
	return r.State == cellhold.SessionReady && (t.MaxAge == 0 || r.Created.Add(t.MaxAge).After(now))
}

// window returns the time before a session is due in which its CPU time is measured.
func (t *Timer) window() time.Duration {
	d := t.Idle
	if t.Hibernate > 0 {
		d = min(d, t.Hibernate)
	}
	return min(maxWindow, d/4)
}

func (t *Timer) lastSample() sample {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

// measure takes a sample.
func (t *Timer) measure(ctx context.Context, now time.Time) sample {
	x := sample{at: now, cpu: -1}
	if cpu, err := t.s.CPU(ctx); err == nil {
		x.cpu = cpu
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = x
	return x
}

// Due returns the time at which the session hibernates, ends or is purged, if it is not used before.
func (t *Timer) Due(now time.Time) time.Time {
	at := t.Expires(now)
	if deadline, limited := t.deadline(); limited {
		at = earlier(at, deadline)
	}
	if t.Hibernate == 0 || t.s.Record().State != cellhold.SessionReady || !t.s.CanHibernate() {
		return at
	}
	used := t.used(now)
	t.mu.Lock()
	defer t.mu.Unlock()
	return earlier(at, later(used.Add(t.Hibernate), t.notBefore))
}

// Expires returns the time at which the session ends or is purged, if it is not used before.
func (t *Timer) Expires(now time.Time) time.Time {
	r := t.s.Record()
	if r.State == cellhold.SessionEnded {
		return r.Used.Add(t.Retention)
	}
	r.Used = t.used(now)
	return t.Expiry(r)
}

// used returns the time of the last use. It is now if something is running.
func (t *Timer) used(now time.Time) time.Time {
	if t.s.Busy() {
		return now
	}
	return t.s.Record().Used
}

// Postpone delays the next attempt to hibernate by one more idle time. At a deadline, the next attempt follows after
// RetryAfter.
func (t *Timer) Postpone() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.notBefore, t.retry = now.Add(max(t.Hibernate, RetryAfter)), now.Add(RetryAfter)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
