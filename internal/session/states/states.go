// Package states has the states of a session and all transitions between them in one table. Its lock allows
// one transition at a time.
//
// Each change is a Transition of the table below. Code outside this package cannot make other changes and
// cannot set a state. The package knows no sandboxes and no records: the caller does the work of a transition
// between Begin and Commit.
package states

import (
	"context"
	"slices"
	"sync"

	"cellhold"
)

// State is the state of a session. Callers of the API see its Visible form.
type State string

// The settled states, and the states of running transitions.
const (
	Starting   State = "starting"
	Ready      State = "ready"
	Hibernated State = "hibernated"
	Ended      State = "ended"

	Hibernating   State = "hibernating"
	Resuming      State = "resuming"
	Checkpointing State = "checkpointing"
	RollingBack   State = "rolling back"
	Forking       State = "forking"
	Restarting    State = "restarting"
	Ending        State = "ending"
)

// Transition is one change of state: from one of the settled states, through the state while it runs, to the
// next settled state. A failed transition returns to the state before.
type Transition struct {
	from   []State
	during State
	to     State // empty: the state before
}

// The table of all transitions.
var (
	Start      = Transition{[]State{Starting}, Starting, Ready}
	Hibernate  = Transition{[]State{Ready}, Hibernating, Hibernated}
	Resume     = Transition{[]State{Hibernated}, Resuming, Ready}
	Checkpoint = Transition{[]State{Ready}, Checkpointing, ""}
	Rollback   = Transition{[]State{Ready, Hibernated}, RollingBack, Ready}
	Fork       = Transition{[]State{Ready, Hibernated}, Forking, ""}
	Restart    = Transition{[]State{Ready, Hibernated}, Restarting, Ready} // a kernel, or the whole sandbox
	End        = Transition{[]State{Starting, Ready, Hibernated}, Ending, Ended}
)

// Visible returns the API's state for a settled state.
func Visible(s State) cellhold.SessionState { return cellhold.SessionState(s) }

// Machine is the state of one session. Its methods can be called from any goroutine.
type Machine struct {
	turn chan struct{} // capacity 1: held during a transition

	mu      sync.Mutex
	settled State // the state after the last transition
	doing   State // the state of the running transition; empty if there is none
	inside  int   // number of calls that use the sandbox
	closed  bool  // calls must wait: the sandbox is being saved or replaced
}

// New returns a machine in a settled state.
func New(settled State) *Machine { return &Machine{turn: make(chan struct{}, 1), settled: settled} }

// State returns the present state: that of the running transition, or the settled state.
func (m *Machine) State() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.doing != "" {
		return m.doing
	}
	return m.settled
}

// TryEnter lets a call use the sandbox of a ready session until Leave. It returns false if the call must
// first wait for a turn: the session is hibernated, or its sandbox is being saved. If the session is
// starting or has ended, the error is a Conflict.
func (m *Machine) TryEnter() (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.doing == Ending:
		return false, conflict(Ended)
	case m.settled == Ready && !m.closed:
		m.inside++
		return true, nil
	case m.settled == Ready, m.settled == Hibernated:
		return false, nil
	}
	return false, conflict(m.settled)
}

// Leave ends the use that TryEnter or Turn.Enter started.
func (m *Machine) Leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inside--
}

// Turn is the right to change the state. Only its holder can call its methods.
type Turn struct {
	m    *Machine
	open *Transition // begun and not committed
}

// Acquire waits for the turn, in the order of the calls. The caller must call Release.
func (m *Machine) Acquire(ctx context.Context) (*Turn, error) {
	select {
	case m.turn <- struct{}{}:
		return &Turn{m: m}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TryAcquire returns the turn, or nil if another caller holds it.
func (m *Machine) TryAcquire() *Turn {
	select {
	case m.turn <- struct{}{}:
		return &Turn{m: m}
	default:
		return nil
	}
}

// Settled returns the settled state. Only the holder of the turn can change it.
func (t *Turn) Settled() State {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	return t.m.settled
}

// Begin starts a transition. If the state is wrong for it, the error is a Conflict.
func (t *Turn) Begin(tr Transition) error {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	if !slices.Contains(tr.from, t.m.settled) {
		return conflict(t.m.settled)
	}
	t.open, t.m.doing = &tr, tr.during
	return nil
}

// Commit completes the transition: its target becomes the settled state, and calls can use the sandbox again.
func (t *Turn) Commit() {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	if t.open == nil {
		return
	}
	if t.open.to != "" {
		t.m.settled = t.open.to
	}
	t.open, t.m.doing, t.m.closed = nil, "", false
}

// Abort ends a failed transition. The session is again in its last settled state. After Commit, Abort does
// nothing.
func (t *Turn) Abort() {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.open, t.m.doing, t.m.closed = nil, "", false
}

// Release releases the turn. It aborts a transition that is not committed.
func (t *Turn) Release() {
	t.Abort()
	<-t.m.turn
}

// Enter lets a call use the sandbox, like TryEnter. The session must be ready.
func (t *Turn) Enter() {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.m.inside++
}

// Close makes new calls wait until the transition ends or Reopen is called. If a call uses the sandbox now,
// Close returns false and does nothing.
func (t *Turn) Close() bool {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	if t.m.inside > 0 {
		return false
	}
	t.m.closed = true
	return true
}

// Reopen undoes Close.
func (t *Turn) Reopen() {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.m.closed = false
}

func conflict(s State) error {
	return cellhold.Errorf(cellhold.Conflict, "The request is not possible: the session is %s.", s)
}
