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
	return h.recordedCommand(ctx, id)
}

// recordedCommand returns a recorded command.
func (h *History) recordedCommand(ctx context.Context, id cellhold.CommandID) (cellhold.Command, error) {
	c, err := h.o.Store.Command(ctx, h.o.Session, id)
	if err != nil && c.ID != "" {
		return h.damagedCommand(c.ID, err), nil
	}
	return c.Command, err
}

// Commands yields the commands in the order of their start.
func (h *History) Commands(ctx context.Context) iter.Seq2[cellhold.Command, error] {
	return func(yield func(cellhold.Command, error) bool) {
		r := h.runner()
		for c, err := range h.o.Store.Commands(ctx, h.o.Session) {
			if r != nil && c.ID != "" && (err != nil || c.State == cellhold.CommandRunning) {
				if now, ok := r.Get(c.ID); ok {
					c, err = now, nil
				}
			}
			if err != nil && c.ID != "" {
				c.Command, err = h.damagedCommand(c.ID, err), nil
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
	return h.recordedCommand(ctx, id)
}

// WatchCommand yields the events of one command with numbers above after, and then new events. It ends when the
// command is done. All events of the session share the numbers, so the numbers have gaps.
func (h *History) WatchCommand(ctx context.Context, id cellhold.CommandID, after int64) (iter.Seq2[cellhold.Event, error], error) {
	c, err := h.Command(ctx, id)
	if err != nil {
		return nil, err
	}
	last := h.lastOf(c)
	return func(yield func(cellhold.Event, error) bool) {
		if last > 0 && after >= last {
			return
		}
		for ev, err := range visible(h.o.Log.Watch(ctx, max(after, c.First-1))) {
			own := err != nil || ev.Command == id
			if own && !yield(ev, err) || own && ev.Type == cellhold.EventCommandDone {
				return
			}
			if last > 0 && ev.Seq >= last { // the last event of the command can be damaged
				return
			}
		}
	}, nil
}

// lastOf returns the number of the last event that a command can have, or 0 if the command can have more events.
func (h *History) lastOf(c cellhold.Command) int64 {
	if c.State == cellhold.CommandDone && c.Last == 0 { // its record is damaged
		return h.o.Log.Last()
	}
	return c.Last
}

// CommandEvents yields at most limit recorded events of a command with numbers above after.
func (h *History) CommandEvents(ctx context.Context, id cellhold.CommandID, after int64, limit int) iter.Seq2[cellhold.Event, error] {
	return func(yield func(cellhold.Event, error) bool) {
		c, err := h.Command(ctx, id)
		if err != nil {
			yield(cellhold.Event{}, err)
			return
		}
		last := h.lastOf(c)
		if last == 0 {
			last = h.o.Log.Last()
		}
		h.page(ctx, max(after, c.First-1), last, limit, func(ev cellhold.Event) bool { return ev.Command == id })(yield)
	}
}

// RunningCommands returns the commands that run, oldest first.
func (h *History) RunningCommands() []cellhold.Command {
	r := h.runner()
	if r == nil {
		return nil
	}
	return r.Running()
}

func (h *History) runner() *command.Runner { return h.o.Followers().Commands() }
