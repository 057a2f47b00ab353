package history

import (
	"context"
	"iter"

	"cellhold"
	"cellhold/internal/command"
)

// Command returns one command, with the beginning and the end of its output so far.
func (h *History) Command(ctx context.Context, id cellhold.CommandID) (cellhold.Command, error) {
	if r := h.runner(); r != nil {
		if c, ok := r.Get(id); ok {
			return c.Command, nil
		}
	}
	c, err := h.o.Store.Command(ctx, h.o.Session, id)
	return c.Command, err
}

// Commands yields the commands in the order of their start.
func (h *History) Commands(ctx context.Context) iter.Seq2[cellhold.Command, error] {
	return func(yield func(cellhold.Command, error) bool) {
		r := h.runner()
		for c, err := range h.o.Store.Commands(ctx, h.o.Session) {
			if r != nil && err == nil && c.State == cellhold.CommandRunning {
				if now, ok := r.Get(c.ID); ok {
					c = now
				}
			}
			if !yield(c.Command, err) {
				return
			}
		}
	}
}

// WaitCommand waits until a command is done. If ctx ends first, it returns the unfinished command and
// ctx.Err().
func (h *History) WaitCommand(ctx context.Context, id cellhold.CommandID) (cellhold.Command, error) {
	if r := h.runner(); r != nil {
		if c, ok, err := r.Wait(ctx, id); ok {
			return c.Command, err
		}
	}
	c, err := h.o.Store.Command(ctx, h.o.Session, id)
	return c.Command, err
}

// WatchCommand yields the events of one command with numbers above after, and then new events. It ends when the
// command is done. All events of the session share the numbers, so the numbers have gaps.
func (h *History) WatchCommand(ctx context.Context, id cellhold.CommandID, after int64) (iter.Seq2[cellhold.Event, error], error) {
	c, err := h.Command(ctx, id)
	if err != nil {
		return nil, err
	}
	return func(yield func(cellhold.Event, error) bool) {
		if c.Last > 0 && after >= c.Last {
			return
		}
		for ev, err := range visible(h.o.Log.Watch(ctx, max(after, c.First-1))) {
			if err == nil && ev.Command != id {
				continue
			}
			if !yield(ev, err) || ev.Type == cellhold.EventCommandDone {
				return
			}
		}
	}, nil
}

// CommandEvents returns at most limit recorded events of a command with numbers above after.
func (h *History) CommandEvents(ctx context.Context, id cellhold.CommandID, after int64, limit int) ([]cellhold.Event, error) {
	c, err := h.Command(ctx, id)
	if err != nil {
		return nil, err
	}
	last := h.o.Log.Last()
	if c.Last > 0 {
		last = c.Last
	}
	return h.page(ctx, max(after, c.First-1), last, limit, func(ev cellhold.Event) bool { return ev.Command == id })
}

func (h *History) runner() *command.Runner { return h.o.Followers().Commands() }
