// Package history reads the history of a session: its cells, commands, events and notebooks, and the
// connection attempts of its code. It changes nothing, and needs no sandbox.
package history

import (
	"context"
	"iter"
	"log/slog"
	"slices"

	"cellhold"
	"cellhold/internal/command"
	"cellhold/internal/kernel"
	"cellhold/internal/outputs"
	"cellhold/internal/record"
	"cellhold/internal/transcript"
)

// Store reads the records of sessions.
type Store interface {
	// Read yields the events with numbers above after, in order, up to the newest one.
	Read(ctx context.Context, id cellhold.SessionID, after int64) iter.Seq2[record.Event, error]
	// ReadType yields the events of one type with numbers above after, in order, up to the newest one.
	ReadType(ctx context.Context, id cellhold.SessionID, t cellhold.EventType, after int64) iter.Seq2[record.Event, error]
	// Cell returns one cell. If there is none, the error is cellhold.NotFound. For a damaged record it returns the id of the
	// cell and an error.
	Cell(ctx context.Context, id cellhold.SessionID, c cellhold.CellID) (record.Cell, error)
	// UseCell passes one cell to use, or for a damaged record the id of the cell and an error. A large cell takes memory of
	// the server's budget until use returns. use must not read other records.
	UseCell(ctx context.Context, id cellhold.SessionID, c cellhold.CellID, use func(record.Cell, error)) error
	// StoredCells yields the cells in the order of their submission. For a damaged record it yields the id and an error, and
	// continues. For a cell for which elsewhere returns true it yields only the id, and other records can be read then.
	StoredCells(ctx context.Context, id cellhold.SessionID, elsewhere func(cellhold.CellID) bool) iter.Seq2[record.Cell, error]
	// Hold takes memory of the server's budget for size bytes, until release is called. The caller must not read records of
	// the store before.
	Hold(ctx context.Context, size int64) (release func(), err error)
	// Command and Commands are the same for commands, in the order of their start.
	Command(ctx context.Context, id cellhold.SessionID, c cellhold.CommandID) (record.Command, error)
	Commands(ctx context.Context, id cellhold.SessionID) iter.Seq2[record.Command, error]
}

// Followers has the kernels and commands that the server follows for a session.
type Followers interface {
	// Cell returns a cell that is not done. It returns false if the cell is done or unknown.
	Cell(id cellhold.CellID) (record.Cell, bool)
	// WaitCell waits until a cell is done. It returns false if no kernel knows the cell.
	WaitCell(ctx context.Context, id cellhold.CellID) (cellhold.Cell, bool, error)
	// LateCell returns a cell that is done and has output that is not recorded yet. It returns false if there
	// is none.
	LateCell(id cellhold.CellID) (record.Cell, bool)
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
	Logger    *slog.Logger
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

// Last returns the number of the newest event.
func (h *History) Last() int64 { return h.o.Log.Last() }

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

// Events yields at most limit recorded events with numbers above after.
func (h *History) Events(ctx context.Context, after int64, limit int) iter.Seq2[cellhold.Event, error] {
	return h.page(ctx, after, h.o.Log.Last(), limit, func(cellhold.Event) bool { return true })
}

// page yields at most limit wanted events with numbers above after, up to last.
func (h *History) page(ctx context.Context, after, last int64, limit int, wanted func(cellhold.Event) bool) iter.Seq2[cellhold.Event, error] {
	return func(yield func(cellhold.Event, error) bool) {
		if after >= last || limit <= 0 {
			return
		}
		n, size := 0, 0
		for ev, err := range h.o.Log.Watch(ctx, after) {
			if err != nil {
				yield(cellhold.Event{}, err)
				return
			}
			if wanted(ev.Event) {
				if !yield(ev.Event, nil) {
					return
				}
				n++
				size += len(ev.Content)
			}
			if ev.Seq >= last || n >= limit || size >= maxPage {
				return
			}
		}
	}
}

// Cell returns one cell with its outputs so far.
func (h *History) Cell(ctx context.Context, id cellhold.CellID) (cellhold.Cell, error) {
	if c, ok := h.o.Followers().Cell(id); ok {
		return c.Cell, nil
	}
	return h.recorded(ctx, id)
}

// UseCell passes one cell, with its outputs so far, to use. A large cell takes memory of the server's budget until use
// returns. use must not read other records.
func (h *History) UseCell(ctx context.Context, id cellhold.CellID, use func(cellhold.Cell)) error {
	if c, release, err := h.hold(ctx, id); err != nil {
		return err
	} else if release != nil {
		defer release()
		use(h.marked(c))
		return nil
	}
	return h.o.Store.UseCell(ctx, h.o.Session, id, func(c record.Cell, err error) {
		if err != nil {
			use(h.damagedCell(id, err))
			return
		}
		use(h.marked(c.Cell)) // without output that came later, because its memory is not counted
	})
}

// live returns a cell that a kernel has in memory: one that is not done, or has output that is not recorded yet.
func (h *History) live(id cellhold.CellID) (record.Cell, bool) {
	if c, ok := h.o.Followers().Cell(id); ok {
		return c, true
	}
	return h.o.Followers().LateCell(id)
}

// hold returns a live cell with memory of the server's budget, which the caller must release. Without it, many readers
// could each keep other outputs of one cell, which its kernel has replaced. If the cell is not live, release is nil.
func (h *History) hold(ctx context.Context, id cellhold.CellID) (c cellhold.Cell, release func(), err error) {
	for held := int64(-1); ; {
		r, live := h.live(id)
		c := r.Cell
		size := int64(len(c.Code)) + outputs.Size(c.Outputs)
		if live && size <= held {
			return c, release, nil
		}
		c = cellhold.Cell{} // not kept during the wait
		if release != nil {
			release()
		}
		if !live {
			return c, nil, nil
		}
		if held >= 0 { // the cell grew during the wait, and can grow again
			size *= 2
		}
		if release, err = h.o.Store.Hold(ctx, size); err != nil {
			return c, nil, err
		}
		held = size
	}
}

// AwaitCell waits until a cell is done. It returns false if no kernel knows the cell: then it is recorded as done, or
// does not exist. If ctx ends first, it returns the unfinished cell and ctx.Err().
func (h *History) AwaitCell(ctx context.Context, id cellhold.CellID) (cellhold.Cell, bool, error) {
	return h.o.Followers().WaitCell(ctx, id)
}

// WaitCell waits until a cell is done. If ctx ends first, it returns the unfinished cell and ctx.Err().
func (h *History) WaitCell(ctx context.Context, id cellhold.CellID) (cellhold.Cell, error) {
	if c, ok, err := h.o.Followers().WaitCell(ctx, id); ok {
		return c, err
	}
	return h.recorded(ctx, id)
}

// Cells yields the cells in the order of their submission. It leaves out cells whose clients asked for no trace. A large cell takes memory of the server's budget until the
// consumer continues. The consumer must not read other records in this time.
func (h *History) Cells(ctx context.Context) iter.Seq2[cellhold.Cell, error] {
	return func(yield func(cellhold.Cell, error) bool) {
		live, unlisted := false, false
		elsewhere := func(id cellhold.CellID) bool {
			var c record.Cell
			c, live = h.live(id)
			unlisted = c.Unlisted()
			return live
		}
		for r, err := range h.o.Store.StoredCells(ctx, h.o.Session, elsewhere) {
			more := false
			switch c := r.Cell; {
			case unlisted || err == nil && r.Unlisted():
				more = true
			case c.ID != "" && live:
				if err = h.UseCell(ctx, c.ID, func(c cellhold.Cell) { more = yield(c, nil) }); err != nil {
					yield(cellhold.Cell{}, err)
					return
				}
			case c.ID != "" && err != nil:
				more = yield(h.damagedCell(c.ID, err), nil)
			case c.State == cellhold.CellDone:
				more = yield(h.marked(c), err)
			default:
				more = yield(c, err)
			}
			if !more {
				return
			}
			live, unlisted = false, false
		}
	}
}

// recorded returns a recorded cell. It looks for late output before it reads the record: between the two reads, the
// output can move to the record.
func (h *History) recorded(ctx context.Context, id cellhold.CellID) (cellhold.Cell, error) {
	if c, ok := h.o.Followers().LateCell(id); ok {
		return h.marked(c.Cell), nil
	}
	c, err := h.o.Store.Cell(ctx, h.o.Session, id)
	if err != nil && c.ID != "" {
		return h.damagedCell(c.ID, err), nil
	}
	return h.complete(c.Cell), err
}

// complete adds late output to a recorded cell, and sets Undone if a rollback undid the cell.
func (h *History) complete(c cellhold.Cell) cellhold.Cell {
	if now, ok := h.o.Followers().LateCell(c.ID); ok {
		c = now.Cell
	}
	return h.marked(c)
}

// marked returns the cell with Undone set, if a rollback undid the cell.
func (h *History) marked(c cellhold.Cell) cellhold.Cell {
	c.Undone = slices.ContainsFunc(h.o.Record().Undone, func(u record.Undone) bool { return u.Has(c) })
	return c
}

// CellIsDone returns the error for a call on a cell that is done or unknown.
func (h *History) CellIsDone(ctx context.Context, id cellhold.CellID) error {
	c, err := h.recorded(ctx, id)
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
		var a cellhold.EgressAttempt
		switch {
		case err != nil && ev.Seq > 0:
			a = h.damagedAttempt(ev.Seq, err)
		case err != nil:
			return nil, 0, cellhold.Wrap(cellhold.Internal, err, "The recorded connection attempts cannot be read.")
		default:
			if err := ev.Decode(&a); err != nil {
				return nil, 0, cellhold.Wrap(cellhold.Internal, err, "A recorded connection attempt cannot be read.")
			}
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
