// Package states has the states of a session and every change of them in one table, with the lock that
// makes changes take turns.
//
// A change is a Transition of the table below. Code outside this package cannot make another one, and
// cannot set a state. The package knows nothing of sandboxes and records: its user does the work of a
// transition between Begin and Commit.
package states

import (
	"context"
	"slices"
	"sync"

	"cellhold"
)

// State is what a session is or does. Callers of the API see Visible of it.
type State string

// The settled states, and those of transitions under way.
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

// Transition is one change of state: from one of the settled states, through the state that it has while
// it is under way, to the settled state after it. One that fails leads back.
type Transition struct {
	from   []State
	during State
	to     State // empty: the state before
}

// The table: all transitions that there are.
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

// Visible returns the state of the API for a settled state.
func Visible(s State) cellhold.SessionState { return cellhold.SessionState(s) }

// Machine is the state of one session. All methods may be called from any goroutine.
type Machine struct {
	turn chan struct{} // capacity 1: held for the whole of a transition

	mu      sync.Mutex
	settled State // after the newest transition that has ended
	doing   State // the state of the transition under way; empty when there is none
	inside  int   // calls that use the sandbox
	closed  bool  // calls wait: the sandbox is being saved or replaced
}

// New returns a machine in a settled state.
func New(settled State) *Machine { return &Machine{turn: make(chan struct{}, 1), settled: settled} }

// State returns the state now: that of the transition under way, or the settled one.
func (m *Machine) State() State {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.doing != "" {
		return m.doing
	}
	return m.settled
}

// TryEnter lets a call use the sandbox of a ready session until Leave. It returns false when the call must
// wait for a turn first: the session hibernates, or its sandbox is being saved. A session that is starting
// or has ended is a Conflict.
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

// Leave ends what TryEnter or Turn.Enter began.
func (m *Machine) Leave() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inside--
}

// Turn is the right to change the state. Its methods may be called by its holder only.
type Turn struct {
	m    *Machine
	open *Transition // begun and not committed
}

// Acquire waits for the turn, in the order of the calls. The caller must release it.
func (m *Machine) Acquire(ctx context.Context) (*Turn, error) {
	select {
	case m.turn <- struct{}{}:
		return &Turn{m: m}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TryAcquire returns the turn, or nil when somebody has it.
func (m *Machine) TryAcquire() *Turn {
	select {
	case m.turn <- struct{}{}:
		return &Turn{m: m}
	default:
		return nil
	}
}

// Settled returns the settled state, which nobody else can change now.
func (t *Turn) Settled() State {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	return t.m.settled
}

// Begin begins a transition. A state that it does not start from is a Conflict.
func (t *Turn) Begin(tr Transition) error {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	if !slices.Contains(tr.from, t.m.settled) {
		return conflict(t.m.settled)
	}
	t.open, t.m.doing = &tr, tr.during
	return nil
}

// Commit ends the transition: its state after is the settled one, and calls may use the sandbox again.
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

// Abort ends a transition that failed: the state is the one before it. It does nothing after Commit.
func (t *Turn) Abort() {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.open, t.m.doing, t.m.closed = nil, "", false
}

// Release gives the turn back. A transition that is not committed is aborted.
func (t *Turn) Release() {
	t.Abort()
	<-t.m.turn
}

// Enter lets a call use the sandbox as TryEnter does. The session must be ready.
func (t *Turn) Enter() {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.m.inside++
}

// Close makes new calls wait until the transition ends or Reopen is called. It returns false, and does
// nothing, when a call uses the sandbox now.
func (t *Turn) Close() bool {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	if t.m.inside > 0 {
		return false
	}
	t.m.closed = true
	return true
}

// Reopen ends what Close began.
func (t *Turn) Reopen() {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.m.closed = false
}

func conflict(s State) error {
	return cellhold.Errorf(cellhold.Conflict, "The session is %s.", s)
}
