package kernel

import (
	"context"
	"sync"

	"cellhold/internal/guestapi"
)

// inboxBytes bounds the events that have been read from the guest and wait for the journal. With
// it full the link is not read: the agent's spool fills instead, and sheds there.
const inboxBytes = 1 << 20

// inbox passes events from the reader of the link to the recorder, all that are there at once, so
// that a burst costs one transaction and a single event waits for nothing.
type inbox struct {
	mu    sync.Mutex
	evs   []guestapi.Event
	bytes int
	space chan struct{} // capacity 1: a token when take made room
	ready chan struct{} // capacity 1: a token when put added something
}

func newInbox() *inbox {
	return &inbox{space: make(chan struct{}, 1), ready: make(chan struct{}, 1)}
}

// put adds an event and waits while the inbox is full. One putter only.
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

// take returns all events that are there, after waiting for the first. One taker only.
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

// signal leaves a token in a channel of capacity 1.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// empty reports whether nothing waits.
func (b *inbox) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.evs) == 0
}
