package kernel

import (
	"context"
	"sync"

	"cellhold/internal/guestapi"
)

// inboxBytes bounds the events that were read from the guest and wait for the journal. When the inbox is
// full, the link is not read. Then the agent's spool fills, and drops output.
const inboxBytes = 1 << 20

// inbox passes events from the reader of the link to the recorder. take returns all events at once, so a burst
// costs one transaction, and a single event does not wait.
type inbox struct {
	mu    sync.Mutex
	evs   []guestapi.Event
	bytes int
	space chan struct{} // capacity 1: a token when take freed space
	ready chan struct{} // capacity 1: a token when put added an event
}

func newInbox() *inbox {
	return &inbox{space: make(chan struct{}, 1), ready: make(chan struct{}, 1)}
}

// put waits while the inbox is full, and adds an event. Only one goroutine can call it.
func (b *inbox) put(ctx context.Context, ev guestapi.Event) error {
	for {
		b.mu.Lock()
		if len(b.evs) == 0 || b.bytes+len(ev.Content) <= inboxBytes {
			b.evs = append(b.evs, ev)
			b.bytes += len(ev.Content)
			b.mu.Unlock()
			signal(b.ready)
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

// take waits for the first event, and returns all events in the inbox. Only one goroutine can call it.
func (b *inbox) take(ctx context.Context) ([]guestapi.Event, error) {
	for {
		b.mu.Lock()
		evs := b.evs
		b.evs, b.bytes = nil, 0
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
