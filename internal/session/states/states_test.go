package states

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"cellhold"
)

var all = map[string]Transition{"start": Start, "hibernate": Hibernate, "resume": Resume, "checkpoint": Checkpoint,
	"rollback": Rollback, "fork": Fork, "restart": Restart, "end": End}

func acquire(t *testing.T, m *Machine) *Turn {
	t.Helper()
	turn, err := m.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return turn
}

func TestATransitionStartsOnlyFromTheStatesOfTheTable(t *testing.T) {
	want := map[State]string{
		Starting:   "end start",
		Ready:      "checkpoint end fork hibernate restart rollback",
		Hibernated: "end fork restart resume rollback",
		Ended:      "",
	}
	for settled, names := range want {
		for name, tr := range all {
			turn := acquire(t, New(settled))
			err := turn.Begin(tr)
			if allowed := strings.Contains(" "+names+" ", " "+name+" "); (err == nil) != allowed {
				t.Errorf("%s of a session that is %s: %v; allowed is %t", name, settled, err, allowed)
			}
			if err != nil && cellhold.KindOf(err) != cellhold.Conflict {
				t.Errorf("%s of a session that is %s: %v; want a conflict", name, settled, err)
			}
		}
	}
}

func TestACommitSettlesAndAnAbortRestoresTheState(t *testing.T) {
	for _, x := range []struct {
		from          State
		tr            Transition
		during, after State
	}{
		{Starting, Start, Starting, Ready},
		{Ready, Hibernate, Hibernating, Hibernated},
		{Hibernated, Resume, Resuming, Ready},
		{Ready, Checkpoint, Checkpointing, Ready},
		{Hibernated, Rollback, RollingBack, Ready},
		{Hibernated, Fork, Forking, Hibernated},
		{Ready, Fork, Forking, Ready},
		{Hibernated, Restart, Restarting, Ready},
		{Ready, End, Ending, Ended},
	} {
		m := New(x.from)
		turn := acquire(t, m)
		if err := turn.Begin(x.tr); err != nil || m.State() != x.during {
			t.Errorf("from %s: the state is %s, %v; want %s", x.from, m.State(), err, x.during)
		}
		turn.Release() // without Commit
		if m.State() != x.from {
			t.Errorf("a failed transition leaves %s; want %s", m.State(), x.from)
		}
		turn = acquire(t, m)
		if err := turn.Begin(x.tr); err != nil {
			t.Error(err)
		}
		turn.Commit()
		turn.Release()
		if m.State() != x.after {
			t.Errorf("from %s: the state after is %s; want %s", x.from, m.State(), x.after)
		}
	}
}

func TestCloseMakesCallsWaitAndFailsDuringACall(t *testing.T) {
	m := New(Ready)
	turn := acquire(t, m)
	if in, err := m.TryEnter(); !in || err != nil {
		t.Fatalf("a ready session: entered %t, %v", in, err)
	}
	if turn.Close() {
		t.Error("Close returned true while a call uses the sandbox")
	}
	m.Leave()
	if !turn.Close() {
		t.Error("Close returned false, but no call uses the sandbox")
	}
	if in, err := m.TryEnter(); in || err != nil {
		t.Errorf("after Close: entered %t, %v; want the call to wait", in, err)
	}
	turn.Release()
	if in, err := m.TryEnter(); !in || err != nil {
		t.Errorf("after the turn: entered %t, %v", in, err)
	}
}

func TestAnEndingSessionRefusesCalls(t *testing.T) {
	m := New(Ready)
	turn := acquire(t, m)
	if err := turn.Begin(End); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"while it ends", "after its end"} {
		if _, err := m.TryEnter(); cellhold.KindOf(err) != cellhold.Conflict {
			t.Errorf("%s: %v; want a conflict", when, err)
		}
		turn.Commit()
	}
}

func TestAWaitForTheTurnEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Ready)
		turn := acquire(t, m)
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() {
			_, err := m.Acquire(ctx)
			failed <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
		if m.TryAcquire() != nil {
			t.Error("a second holder has the turn")
		}
		turn.Release()
		if m.TryAcquire() == nil {
			t.Error("the turn is free, but TryAcquire returned nil")
		}
	})
}
