// Package history reads the history of a session: its cells, commands, events and notebooks, and the
// connection attempts of its code. It changes nothing, and needs no sandbox.
package history

import (
	"context"
	"iter"
	"slices"

	"cellhold"
	"cellhold/internal/command"
	"cellhold/internal/kernel"
	"cellhold/internal/record"
	"cellhold/internal/transcript"
)

// Store reads the records of sessions.
type Store interface {
	// Read yields the events with numbers above after, in order, up to the newest one.
	Read(ctx context.Context, id cellhold.SessionID, after int64) iter.Seq2[record.Event, error]
	// ReadType yields the events of one type with numbers above after, in order, up to the newest one.
	ReadType(ctx context.Context, id cellhold.SessionID, t cellhold.EventType, after int64) iter.Seq2[record.Event, error]
	// Cell returns one cell. If there is none, the error is cellhold.NotFound.
	Cell(ctx context.Context, id cellhold.SessionID, c cellhold.CellID) (record.Cell, error)
	// Cells yields the cells in the order of their submission.
	Cells(ctx context.Context, id cellhold.SessionID) iter.Seq2[record.Cell, error]
	// Command returns one command. If there is none, the error is cellhold.NotFound.
	Command(ctx context.Context, id cellhold.SessionID, c cellhold.CommandID) (record.Command, error)
	// Commands yields the commands in the order of their start.
	Commands(ctx context.Context, id cellhold.SessionID) iter.Seq2[record.Command, error]
}

// Followers has the kernels and commands that the server follows for a session.
type Followers interface {
	// Cell returns a cell that is not done. It returns false if the cell is done or unknown.
	Cell(id cellhold.CellID) (cellhold.Cell, bool)
	// WaitCell waits until a cell is done. It returns false if no kernel knows the cell.
	WaitCell(ctx context.Context, id cellhold.CellID) (cellhold.Cell, bool, error)
	// LateCell returns a cell that is done and has output that is not recorded yet. It returns false if there
	// is none.
	LateCell(id cellhold.CellID) (cellhold.Cell, bool)
	// KernelInfo returns the description that a kernel gave of itself, or nil.
	KernelInfo(id cellhold.KernelID) *cellhold.KernelInfo
	// Commands returns the runner of the commands, or nil if there is none.
	Commands() *command.Runner
}

// Options configures a history. All fields are required.
type Options struct {
	Session   cellhold.SessionID
	Store     Store
	Log       *kernel.Log
	Followers func() Followers
	Record    func() record.Session // returns the present record
}

// History is the history of one session. Its methods can be called from any goroutine.
type History struct{ o Options }

// New returns the history of a session.
func New(o Options) *History { return &History{o} }

// maxPage limits the content of one page of events in bytes. A larger single event is returned alone.
const maxPage = 4 << 20

// Watch yields the events with numbers above after, and new events as they happen, until the session ends.
func (h *History) Watch(ctx context.Context, after int64) iter.Seq2[cellhold.Event, error] {
	return visible(h.o.Log.Watch(ctx, after))
}

// visible yields the part of events that callers see.
func visible(evs iter.Seq2[record.Event, error]) iter.Seq2[cellhold.Event, error] {
	return func(yield func(cellhold.Event, error) bool) {
		for ev, err := range evs {
			if !yield(ev.Event, err) {
				return
			}
		}
	}
}

// Events returns at most limit recorded events with numbers above after.
func (h *History) Events(ctx context.Context, after int64, limit int) ([]cellhold.Event, error) {
	return h.page(ctx, after, h.o.Log.Last(), limit, func(cellhold.Event) bool { return true })
}

// page returns at most limit wanted events with numbers above after, up to last.
func (h *History) page(ctx context.Context, after, last int64, limit int, wanted func(cellhold.Event) bool) ([]cellhold.Event, error) {
	evs, size := []cellhold.Event{}, 0
	if after >= last || limit <= 0 {
		return evs, nil
	}
	for ev, err := range h.o.Log.Watch(ctx, after) {
		if err != nil {
			return evs, err
		}
		if wanted(ev.Event) {
			evs = append(evs, ev.Event)
			size += len(ev.Content)
		}
		if ev.Seq >= last || len(evs) >= limit || size >= maxPage {
			break
		}
	}
	return evs, nil
}

// Cell returns one cell with its outputs so far.
func (h *History) Cell(ctx context.Context, id cellhold.CellID) (cellhold.Cell, error) {
	if c, ok := h.o.Followers().Cell(id); ok {
		return c, nil
	}
	return h.recorded(ctx, id)
}

// WaitCell waits until a cell is done. If ctx ends first, it returns the unfinished cell and ctx.Err().
func (h *History) WaitCell(ctx context.Context, id cellhold.CellID) (cellhold.Cell, error) {
	if c, ok, err := h.o.Followers().WaitCell(ctx, id); ok {
		return c, err
	}
	return h.recorded(ctx, id)
}

// Cells yields the cells in the order of their submission.
func (h *History) Cells(ctx context.Context) iter.Seq2[cellhold.Cell, error] {
	return func(yield func(cellhold.Cell, error) bool) {
		for r, err := range h.o.Store.Cells(ctx, h.o.Session) {
			c := r.Cell
			if err == nil && c.State == cellhold.CellDone {
				c = h.complete(c)
			} else if err == nil {
				if now, ok := h.o.Followers().Cell(c.ID); ok { // otherwise the cell ended after its record was read
					c = now
				}
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// recorded returns a recorded cell. It looks for late output before it reads the record: between the two reads, the
// output can move to the record.
func (h *History) recorded(ctx context.Context, id cellhold.CellID) (cellhold.Cell, error) {
	if c, ok := h.o.Followers().LateCell(id); ok {
		return h.complete(c), nil
	}
	c, err := h.o.Store.Cell(ctx, h.o.Session, id)
	return h.complete(c.Cell), err
}

// complete adds late output to a recorded cell, and sets Undone if a rollback undid the cell.
func (h *History) complete(c cellhold.Cell) cellhold.Cell {
	if now, ok := h.o.Followers().LateCell(c.ID); ok {
		c = now
	}
	c.Undone = slices.ContainsFunc(h.o.Record().Undone, func(u record.Undone) bool { return u.Has(c) })
	return c
}

// CellIsDone returns the error for a call on a cell that is done or unknown.
func (h *History) CellIsDone(ctx context.Context, id cellhold.CellID) error {
	c, err := h.o.Store.Cell(ctx, h.o.Session, id)
	if err != nil {
		return err
	}
	return cellhold.Errorf(cellhold.Conflict, "Cell %s is done already, with status %s.", id, c.Status)
}

// Text opens the recorded text that a cell wrote to stdout or stderr. ctx limits the reads. The caller must
// close it.
func (h *History) Text(ctx context.Context, id cellhold.CellID, stream string) (*transcript.Text, error) {
	cell, err := h.Cell(ctx, id)
	if err != nil {
		return nil, err
	}
	source := func(after int64) iter.Seq2[cellhold.Event, error] {
		return visible(h.o.Store.Read(ctx, h.o.Session, after))
	}
	return transcript.Open(source, cell, stream, h.o.Log.Last())
}

// maxAttempts is the maximum number of attempts in one page.
const maxAttempts = 1000

// Attempts returns connection attempts of the session's code, oldest first. It reads the events with numbers
// above after, and returns next, the number for the next page. If a connection ended on a later page, its attempt
// appears there again, with the same id.
func (h *History) Attempts(ctx context.Context, after int64) (list []cellhold.EgressAttempt, next int64, err error) {
	list, next = []cellhold.EgressAttempt{}, after
	at := map[string]int{}
	for ev, err := range h.o.Store.ReadType(ctx, h.o.Session, cellhold.EventEgress, after) {
		if err != nil {
			return nil, 0, cellhold.Wrap(cellhold.Internal, err, "The recorded connection attempts cannot be read.")
		}
		var a cellhold.EgressAttempt
		if err := ev.Decode(&a); err != nil {
			return nil, 0, cellhold.Wrap(cellhold.Internal, err, "A recorded connection attempt cannot be read.")
		}
		next = ev.Seq
		if i, known := at[a.ID]; known {
			list[i] = a
			continue
		}
		at[a.ID] = len(list)
		list = append(list, a)
		if len(list) == maxAttempts {
			break
		}
	}
	return list, next, nil
}
