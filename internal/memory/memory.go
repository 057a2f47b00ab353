// Package memory limits the bytes that large outputs take in the server, over all sessions and requests.
//
// A holder takes its whole share at once, before it allocates the memory. A holder never waits for another share of
// the same budget, so holders cannot block each other forever.
package memory

import (
	"context"
	"slices"
	"sync"
	"time"

	"cellhold"
)

// Budget is a number of bytes that all holders share. Its methods are safe for concurrent use.
type Budget struct {
	size int64

	mu      sync.Mutex
	free    int64
	waiting []*waiter // in the order of their calls
}

// waiter is a call of Take that waits.
type waiter struct {
	n     int64
	ready chan struct{} // closed when the waiter has its share
}

// New returns a budget of size bytes.
func New(size int64) *Budget { return &Budget{size: size, free: size} }

// Share is a part of a budget. One goroutine at a time can use it.
type Share struct {
	budget *Budget
	n      int64
}

// Take waits until n bytes are free, and returns them as a share. The shares are given in the order of the calls. A
// request for more than the whole budget gets the whole budget. The caller must release the share. It must not hold
// another share of the budget. If ctx ends, or the patience of ctx, Take returns an error.
func (b *Budget) Take(ctx context.Context, n int64) (*Share, error) {
	n = min(max(n, 0), b.size)
	b.mu.Lock()
	if len(b.waiting) == 0 && n <= b.free {
		b.free -= n
		b.mu.Unlock()
		return &Share{b, n}, nil
	}
	w := &waiter{n, make(chan struct{})}
	b.waiting = append(b.waiting, w)
	b.mu.Unlock()
	err := w.wait(ctx)
	if err != nil && b.leave(w) {
		return nil, err
	}
	return &Share{b, n}, nil
}

// wait waits for the share of a waiter.
func (w *waiter) wait(ctx context.Context) error {
	var late <-chan time.Time
	if d, ok := ctx.Value(patienceKey{}).(time.Duration); ok {
		t := time.NewTimer(d)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-late:
		return cellhold.Errorf(cellhold.Unavailable, "The server's memory for large outputs is in use by other requests. Retry in some seconds.")
	}
}

// leave removes a waiter. It returns false if the waiter has its share already.
func (b *Budget) leave(w *waiter) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := slices.Index(b.waiting, w)
	if i < 0 {
		return false
	}
	b.waiting = slices.Delete(b.waiting, i, i+1)
	b.serve()
	return true
}

// give returns n bytes to the budget.
func (b *Budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += n
	b.serve()
}

// serve gives shares to the first waiters, as far as there are free bytes. The caller must hold mu.
func (b *Budget) serve() {
	for len(b.waiting) > 0 && b.waiting[0].n <= b.free {
		w := b.waiting[0]
		b.free -= w.n
		b.waiting = slices.Delete(b.waiting, 0, 1)
		close(w.ready)
	}
}

// Empty returns a share of no bytes, for Resize.
func (b *Budget) Empty() *Share { return &Share{budget: b} }

// Resize changes a share to n bytes. It never waits: if the bytes are not free, it changes nothing and returns false.
func (s *Share) Resize(n int64) bool {
	n = max(n, 0)
	s.Shrink(n)
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	more := n - s.n
	if more > b.free {
		return false
	}
	b.free -= more
	s.n = n
	return true
}

// Shrink returns the bytes above n to the budget.
func (s *Share) Shrink(n int64) {
	if more := s.n - max(n, 0); more > 0 {
		s.n -= more
		s.budget.give(more)
	}
}

// Release returns the share to the budget. It can be called twice. A nil share has no bytes.
func (s *Share) Release() {
	if s != nil {
		s.Shrink(0)
	}
}

type patienceKey struct{}

// WithPatience returns a context with which Take waits at most d. Without it, Take waits until the context ends. Requests
// of clients have such a context.
func WithPatience(ctx context.Context, d time.Duration) context.Context {
	return context.WithValue(ctx, patienceKey{}, d)
}

// Detach returns a context for work that continues after its caller left. It does not end with ctx, and does not
// have its patience: the work must not fail because other callers use their memory.
func Detach(ctx context.Context) context.Context {
	return context.WithValue(context.WithoutCancel(ctx), patienceKey{}, nil)
}

// HasPatience reports whether the waits of a context are limited by WithPatience.
func HasPatience(ctx context.Context) bool { return ctx.Value(patienceKey{}) != nil }
