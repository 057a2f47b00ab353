package kernel_test

import (
	"context"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/kernel"
)

func TestAnAgentThatNeverEndsACellIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, newMemory(), newAgent(silent))
		start := time.Now()
		w.submit(t, "c1")
		<-w.agent.took
		<-w.stuck
		if waited := time.Since(start); waited < time.Minute || waited > 3*time.Minute {
			t.Errorf("reported after %s, want soon after the deadline of a minute", waited)
		}
		if err := w.kernel.Die(t.Context(), cellhold.StatusLost, "The sandbox was destroyed."); err != nil {
			t.Fatal(err)
		}
		if c := w.wait(t, "c1"); c.Status != cellhold.StatusTimeout || c.Usage == nil || c.Usage.Wall < 60 {
			t.Errorf("the cell ended with %s (%s) and used %+v", c.Status, c.Cause, c.Usage)
		}
		w.stop()
	})
}

func TestAnAgentThatNeverAcceptsACellIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(silent)
		a.refuse = cellhold.Errorf(cellhold.Conflict, "The kernel is busy.")
		w := open(t, newMemory(), a)
		start := time.Now()
		w.submit(t, "c1")
		w.submit(t, "c2")
		<-w.stuck
		if waited := time.Since(start); waited < time.Minute || waited > 5*time.Minute {
			t.Errorf("reported after %s, want some minutes", waited)
		}
		if err := w.kernel.Die(t.Context(), cellhold.StatusLost, "The sandbox was destroyed."); err != nil {
			t.Fatal(err)
		}
		if c := w.wait(t, "c1"); c.Status != cellhold.StatusLost {
			t.Errorf("the cell that was never accepted ended with %s", c.Status)
		}
		if c := w.wait(t, "c2"); c.Status != cellhold.StatusCancelled {
			t.Errorf("the queued cell ended with %s", c.Status)
		}
		if w.kernel.Busy() {
			t.Error("the kernel is still busy")
		}
		w.stop()
	})
}

// brokenLink sends an event that cannot be skipped after the agent's other events.
type brokenLink struct {
	*agent
	asked int
}

func (l *brokenLink) Events(context.Context, int64) iter.Seq2[guestapi.Event, error] {
	l.asked++
	return func(yield func(guestapi.Event, error) bool) {
		l.mu.Lock()
		state := l.evs[0]
		l.mu.Unlock()
		if !yield(state, nil) {
			return
		}
		<-l.took // a cell was accepted
		yield(guestapi.Event{}, cellhold.Wrap(cellhold.Internal, guestapi.ErrForm, "The agent in the sandbox sent invalid data."))
	}
}

func TestAnAgentThatBreaksTheProtocolIsReportedAtOnceAndNotAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(silent)
		l := &brokenLink{agent: a}
		w := openWith(t, newMemory(), a, func(o *kernel.Options) { o.Link = l })
		start := time.Now()
		w.submit(t, "c1")
		if why := <-w.stuck; why != "the agent broke the protocol" || time.Since(start) > time.Second {
			t.Errorf("reported after %s: %s", time.Since(start), why)
		}
		if err := w.kernel.Die(t.Context(), cellhold.StatusLost, "The sandbox was destroyed, because the agent broke the protocol."); err != nil {
			t.Fatal(err)
		}
		if c := w.wait(t, "c1"); c.Status != cellhold.StatusLost || !strings.Contains(c.Cause, "broke the protocol") {
			t.Errorf("the cell ended with %s (%s)", c.Status, c.Cause)
		}
		if waited := time.Since(start); waited > time.Second {
			t.Errorf("the end of the cell took %s", waited)
		}
		if synctest.Wait(); l.asked != 1 {
			t.Errorf("the events were read %d times, want once", l.asked)
		}
		w.stop()
	})
}

func TestCellsThatAreAcceptedInTimeAreNotReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, newMemory(), newAgent(silent))
		for _, id := range []cellhold.CellID{"c1", "c2", "c3", "c4", "c5", "c6"} {
			w.submit(t, id)
		}
		for range 6 { // 50 s each, so the last cell waits longer than the agent can take to accept one
			id := <-w.agent.took
			<-time.After(50 * time.Second)
			w.agent.done(id, cellhold.StatusOK)
		}
		if c := w.wait(t, "c6"); c.Status != cellhold.StatusOK {
			t.Errorf("the last cell ended with %s", c.Status)
		}
		select {
		case why := <-w.stuck:
			t.Errorf("reported: %s", why)
		default:
		}
		w.stop()
	})
}

// The time of a cell ends with the cell, even if a loaded host receives the last event later.
func TestTheTimeOfACellRunsFromItsStartToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, newMemory(), newAgent(silent))
		w.submit(t, "c1")
		<-w.agent.took
		began := time.Now()
		<-time.After(5 * time.Second) // of the fake clock
		w.agent.sayAt(began, "c1", cellhold.EventCellStarted, cellhold.CellStartedContent{})
		w.agent.sayAt(began.Add(3*time.Second), "c1", cellhold.EventCellDone, cellhold.CellDoneContent{Status: cellhold.StatusOK})
		c := w.wait(t, "c1")
		if c.Usage == nil || c.Usage.Wall != 3 || c.Ended.Sub(c.Started) != 3*time.Second {
			t.Errorf("the cell ran from %s to %s and used %+v, want 3 s", c.Started, c.Ended, c.Usage)
		}
		w.stop()
	})
}
