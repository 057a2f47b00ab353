package server

import (
	"context"
	"errors"
	"sync"
)

// errAway is the cause of the end of a watch when the server shuts down.
var errAway = errors.New("the server is shutting down")

// waiters are the requests that wait for something to happen, and can be sent away. The zero
// value is ready for use.
type waiters struct {
	mu    sync.Mutex
	next  int
	leave map[int]context.CancelCauseFunc
	away  bool // all have been sent away, and so is who comes later
}

// enter returns a context that also ends, with errAway, when waiters are sent away. The caller
// calls the function when it waits no longer.
func (w *waiters) enter(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away {
		cancel(errAway)
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

// sendAway ends all waiting, now and later.
func (w *waiters) sendAway() {
	w.mu.Lock()
	leave := w.leave
	w.leave, w.away = nil, true
	w.mu.Unlock()
	for _, cancel := range leave {
		cancel(errAway)
	}
}
