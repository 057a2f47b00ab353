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
