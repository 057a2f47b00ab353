package idle

import (
	"context"
	"errors"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/record"
)

// fixed is a session whose facts a test sets.
type fixed struct {
	rec    record.Session
	busy   bool
	cpu    time.Duration // negative if it cannot be measured
	noSave bool          // the session cannot be saved
}

func (f *fixed) Record() record.Session { return f.rec }
func (f *fixed) Busy() bool             { return f.busy }
func (f *fixed) CanHibernate() bool     { return !f.noSave }
func (f *fixed) Used(at time.Time)      { f.rec.Used = at }

func (f *fixed) CPU(context.Context) (time.Duration, error) {
	if f.cpu < 0 {
		return 0, errors.New("the CPU time cannot be measured")
	}
	return f.cpu, nil
}

var start = time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)

func ready() *fixed {
	return &fixed{rec: record.Session{Session: cellhold.Session{State: cellhold.SessionReady, Created: start, Used: start}}}
}

var times = Times{Idle: time.Hour, Hibernate: 15 * time.Minute, Retention: 24 * time.Hour}

// look calls the timer, and checks the next time, relative to start, and whether the session is due.
func look(t *testing.T, timer *Timer, now, next time.Duration, due bool) {
	t.Helper()
	at, is := timer.Look(t.Context(), start.Add(now))
	if is != due || !due && !at.Equal(start.Add(next)) {
		t.Errorf("after %s: due %t, next look after %s; want %t, %s", now, is, at.Sub(start), due, next)
	}
}

func TestAnIdleSessionIsDueAfterTwoMeasurements(t *testing.T) {
	timer := New(ready(), times)
	look(t, timer, 0, 14*time.Minute, false)
	look(t, timer, 14*time.Minute, 15*time.Minute, false)
	look(t, timer, 15*time.Minute, 0, true)
}

func TestASessionThatUsesTheCPUIsNotIdle(t *testing.T) {
	s := ready()
	timer := New(s, times)
	look(t, timer, 14*time.Minute, 15*time.Minute, false)
	s.cpu = 4 * time.Second // in one minute; 3 s are 5 %
	look(t, timer, 15*time.Minute, 29*time.Minute, false)
	s.cpu += time.Second
	look(t, timer, 29*time.Minute, 30*time.Minute, false)
	look(t, timer, 30*time.Minute, 0, true)
}

func TestASessionInUseIsNeverDue(t *testing.T) {
	s := ready()
	s.busy = true
	look(t, New(s, times), 40*time.Hour, 40*time.Hour+14*time.Minute, false)
}

func TestASessionAboveTheMaximumAgeIsDueEvenIfItWorks(t *testing.T) {
	s := ready()
	s.busy = true
	old := times
	old.MaxAge = 2 * time.Hour
	look(t, New(s, old), 2*time.Hour, 0, true)
}

func TestASessionThatCannotHibernateEndsLater(t *testing.T) {
	s := ready()
	s.noSave = true
	look(t, New(s, times), 0, 59*time.Minute, false)
}

func TestWithoutAMeasurementTheIdleTimeDecides(t *testing.T) {
	s := ready()
	s.cpu = -1
	timer := New(s, times)
	look(t, timer, 14*time.Minute, 15*time.Minute, false)
	look(t, timer, 15*time.Minute, 0, true)
}

func TestAnEndedSessionIsPurgedAfterItsRetention(t *testing.T) {
	s := ready()
	s.rec.State = cellhold.SessionEnded
	look(t, New(s, times), 0, 24*time.Hour, false)
	look(t, New(s, times), 24*time.Hour, 0, true)
}

// limited is a ready session with a deadline in five minutes.
func limited(action cellhold.DeadlineAction) *fixed {
	s := ready()
	s.rec.Deadline, s.rec.AtDeadline = start.Add(5*time.Minute), action
	return s
}

func TestADeadlineIsDueEvenIfTheSessionIsBusy(t *testing.T) {
	for _, action := range []cellhold.DeadlineAction{cellhold.DeadlineEnd, cellhold.DeadlineHibernate} {
		s := limited(action)
		s.busy = true
		timer := New(s, times)
		look(t, timer, time.Minute, 4*time.Minute, false)
		look(t, timer, 5*time.Minute, 0, true)
	}
}

func TestADeadlineReplacesTheEndOfIdleSessions(t *testing.T) {
	s := limited(cellhold.DeadlineEnd)
	s.rec.Deadline = start.Add(3 * time.Hour)
	if end := times.Expiry(s.rec); !end.Equal(s.rec.Deadline) {
		t.Errorf("the session ends at %s, want its deadline", end.Sub(start))
	}
	timer := New(s, times)
	look(t, timer, 14*time.Minute, 15*time.Minute, false)
	look(t, timer, 15*time.Minute, 0, true) // it hibernates, because it is idle
}

func TestASessionThatCannotHibernateAtItsDeadlineEndsWhenItIsIdle(t *testing.T) {
	s := limited(cellhold.DeadlineHibernate)
	s.noSave = true
	look(t, New(s, times), 5*time.Minute, 64*time.Minute, false) // the first measurement, a minute before the end
	if end := times.Expiry(s.rec); !end.Equal(start.Add(65 * time.Minute)) {
		t.Errorf("the session ends after %s, want the idle time after its deadline", end.Sub(start))
	}
}

func TestAHibernatedSessionWithADeadlineIsKept(t *testing.T) {
	asked, idle := limited(cellhold.DeadlineEnd).rec, limited(cellhold.DeadlineEnd).rec
	asked.State, idle.State, idle.Idle = cellhold.SessionHibernated, cellhold.SessionHibernated, true
	if end := times.Expiry(asked); end.Sub(start) < keepHibernated {
		t.Errorf("a session that its caller hibernated ends after %s, want at least %s", end.Sub(start), keepHibernated)
	}
	if end := times.Expiry(idle); !end.Equal(idle.Deadline) {
		t.Errorf("an idle session ends after %s, want its deadline", end.Sub(start))
	}
}

func TestAHibernationAtTheDeadlineIsRetried(t *testing.T) {
	timer := New(limited(cellhold.DeadlineHibernate), times)
	timer.Postpone() // from now on, which is long after start
	if at, due := timer.Look(t.Context(), start.Add(6*time.Minute)); due || time.Until(at) > RetryAfter {
		t.Errorf("after a failure: due %t, next look in %s; want a retry within %s", due, time.Until(at), RetryAfter)
	}
}
