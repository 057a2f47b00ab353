package exchange

import (
	"context"
	"errors"
	"sync"
)

// ErrAway is the cause with which a context of Waiters ends when the server shuts down.
var ErrAway = errors.New("the server is shutting down")

// Waiters is the set of requests that wait for something. At shutdown, SendAway ends their waits. The zero
// value is ready for use.
type Waiters struct {
	mu    sync.Mutex
	next  int
	leave map[int]context.CancelCauseFunc
	away  bool // SendAway was called; later waits end at once
}

// Enter returns a context that also ends, with ErrAway, when SendAway is called. The caller must call the
// function when the wait is over.
func (w *Waiters) Enter(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away {
		cancel(ErrAway)
		return ctx, func() {}
	}
	if w.leave == nil {
		w.leave = map[int]context.CancelCauseFunc{}
	}
	id := w.next
	w.next++
	w.leave[id] = cancel
	return ctx, func() {
		w.mu.Lock()
		delete(w.leave, id)
		w.mu.Unlock()
		cancel(nil)
	}
}

// SendAway ends all present and later waits.
func (w *Waiters) SendAway() {
	w.mu.Lock()
	leave := w.leave
	w.leave, w.away = nil, true
	w.mu.Unlock()
	for _, cancel := range leave {
		cancel(ErrAway)
	}
}
