package kernel

import (
	"context"
	"sync"

	"cellhold/internal/guestapi"
)

// inboxBytes bounds the events that were read from the guest and wait for the journal. When the inbox is
// full, the link is not read. Then the agent's spool fills, and drops output.
const inboxBytes = 1 << 20

// largeEvent is the size of an event that put returns from only when it is recorded. Until then the link counts its memory.
const largeEvent = 256 << 10

// inbox passes events from the reader of the link to the recorder. take returns all events at once, so a burst
// costs one transaction, and a single event does not wait.
type inbox struct {
	mu    sync.Mutex
	evs   []guestapi.Event
	bytes int
	space chan struct{} // capacity 1: a token when take freed space
	ready chan struct{} // capacity 1: a token when put added an event
	busy  bool          // events that take returned are not recorded yet
	idle  chan struct{} // capacity 1: a token when all events are recorded
}

func newInbox() *inbox {
	return &inbox{space: make(chan struct{}, 1), ready: make(chan struct{}, 1), idle: make(chan struct{}, 1)}
}

// put waits while the inbox is full, and adds an event. After a large event, it waits until all events are recorded. Only
// one goroutine can call it.
func (b *inbox) put(ctx context.Context, ev guestapi.Event) error {
	for {
		b.mu.Lock()
		if len(b.evs) == 0 || b.bytes+len(ev.Content) <= inboxBytes {
			b.evs = append(b.evs, ev)
			b.bytes += len(ev.Content)
			b.mu.Unlock()
			signal(b.ready)
			if len(ev.Content) > largeEvent {
				return b.flushed(ctx)
			}
			return nil
		}
		b.mu.Unlock()
		select {
		case <-b.space:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// flushed waits until all events are recorded.
func (b *inbox) flushed(ctx context.Context) error {
	for {
		b.mu.Lock()
		done := len(b.evs) == 0 && !b.busy
		b.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-b.idle:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// recorded notes that the events of the last take are recorded.
func (b *inbox) recorded() {
	b.mu.Lock()
	b.busy = false
	b.mu.Unlock()
	signal(b.idle)
}

// take waits for the first event, and returns all events in the inbox. The caller must call recorded when the events are
// recorded. Only one goroutine can call it.
func (b *inbox) take(ctx context.Context) ([]guestapi.Event, error) {
	for {
		b.mu.Lock()
		evs := b.evs
		b.evs, b.bytes, b.busy = nil, 0, len(evs) > 0
		b.mu.Unlock()
		if len(evs) > 0 {
			signal(b.space)
			return evs, nil
		}
		select {
		case <-b.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// signal puts a token into a channel of capacity 1.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// empty reports whether the inbox has no events.
func (b *inbox) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.evs) == 0
}
