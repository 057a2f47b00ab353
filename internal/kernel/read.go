package kernel

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/pause"
)

// read passes the agent's events to the recorder, and reconnects when the link breaks. The pause before a reconnection
// grows until a connection lasts. Otherwise an agent that ends each connection after one event could keep the server busy.
// If the agent broke the protocol, a retry would get the same data, so read reports this and ends.
func (k *Kernel) read(ctx context.Context) {
	defer k.setDown(true)
	wait, warned := retryFirst, int64(-1)
	after := k.cursor // no other goroutine writes it before the first event is recorded
	for ctx.Err() == nil {
		begun := time.Now()
		for ev, err := range k.o.Link.Events(ctx, after) {
			if errors.Is(err, guestapi.ErrForm) {
				k.o.Logger.Error("read events", "kernel", k.o.ID, "after", after, "err", err)
				k.setDown(true) // the owner calls Die, which waits for it
				k.o.Stuck(guestapi.ErrForm.Error())
				return
			}
			if err != nil {
				level := slog.LevelDebug
				// Once for each event, because the agent must not fill the log. A lost connection is no such error.
				if e, ok := errors.AsType[*cellhold.Error](err); ok && e.Kind == cellhold.Internal && warned != after {
					level, warned = slog.LevelWarn, after
				}
				k.o.Logger.Log(ctx, level, "read events", "kernel", k.o.ID, "after", after, "err", err)
				break
			}
			if k.inbox.put(ctx, ev) != nil {
				return
			}
			after = ev.Seq
			k.setDown(false)
		}
		k.setDown(true)
		if time.Since(begun) > retryMost {
			wait = retryFirst
		}
		if !pause.For(ctx, wait) {
			return
		}
		wait = min(2*wait, retryMost)
	}
}

// setDown records whether the link is broken. Die waits for a broken link, because then no more events come.
func (k *Kernel) setDown(down bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.down != down {
		k.down = down
		k.notify()
	}
}

// ack lets the agent forget events, if there are enough of them. A failure is harmless: the next call acknowledges
// the same events.
func (k *Kernel) ack(ctx context.Context) {
	k.mu.Lock()
	due, cursor := k.unacked >= ackEvery, k.cursor
	if due {
		k.unacked = 0
	}
	k.mu.Unlock()
	if !due {
		return
	}
	if err := k.o.Link.Ack(ctx, cursor); err != nil {
		k.o.Logger.Debug("acknowledge events", "kernel", k.o.ID, "err", err)
	}
}
