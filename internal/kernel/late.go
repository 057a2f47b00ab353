package kernel

import (
	"context"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/notebook"
)

// Output can come after the end of its cell: from a thread, a process that was left running, or a display that is
// updated later. It belongs to the cell's record as all other output does. A record is rewritten whole, so
// late output is gathered here first, and readers are served from here until it is written. Code decides how many
// cells get late output and how large their records are, so all of it is bounded: what is in memory by maxLateBytes,
// what is written and read by a rest in proportion. What finds no room here stays in the journal until there is some.

const (
	// lateRest is how long late output is gathered before records are rewritten, and how long writing rests for each
	// MiB that it has written.
	lateRest = time.Second
	// maxLate is how many cells of a kernel are gathered for at once.
	maxLate = 16
	// maxLateBytes bounds what is gathered for all kernels of a session. One cell has room in any case.
	maxLateBytes = 64 << 20
	// readShare is how much is read for what one byte written costs.
	readShare = 8
	// flushWithin bounds the last writes, when the kernel is not followed any more.
	flushWithin = 10 * time.Second
)

// late is a cell that is done, with output that came afterwards.
type late struct {
	done    *doneCell
	cell    cellhold.Cell
	folder  *notebook.Folder
	held    int64           // bytes that it is counted with in the log
	first   int64           // number of the first event that the record does not have; 0 when it has all
	folded  int64           // the agent's number of the newest event in folder
	shown   map[string]bool // ids of displays that late output shows or updates
	stopped bool            // there was no room for all that the journal has of it
}

// foldLate folds a late output that the journal gets, if there is room. A batch that could not be kept comes again, so
// each event is folded only once. The caller holds rec.
func (k *Kernel) foldLate(ctx context.Context, d *doneCell, ev cellhold.Event) {
	if d.behind { // written under rec
		return
	}
	l, err := k.gather(ctx, d)
	if err != nil {
		k.o.Logger.Warn("reading the record of a cell with late output", "cell", d.id, "err", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if l != nil && ev.Source <= l.folded {
		return
	}
	if l == nil || !k.takes(l, ev) {
		d.behind = true
		return
	}
	l.folded = ev.Source
}

// takes folds an event, false when there is no room for it. The caller holds mu.
func (k *Kernel) takes(l *late, ev cellhold.Event) bool {
	if !k.o.Log.hold(l.held, l.held+int64(len(ev.Content))) {
		return false
	}
	l.held += int64(len(ev.Content))
	if err := l.folder.Add(ev); err != nil {
		k.o.Logger.Warn("folding late output", "cell", l.cell.ID, "err", err)
	}
	var c cellhold.DisplayContent
	if (ev.Type == cellhold.EventDisplayData || ev.Type == cellhold.EventUpdateDisplayData) && ev.Decode(&c) == nil && c.Transient != nil {
		l.shown[c.Transient.DisplayID] = true
	}
	k.recount(l)
	return true
}

// recount counts a cell with what it really holds. The caller holds mu.
func (k *Kernel) recount(l *late) {
	now := l.folder.Held()
	k.o.Log.held(now - l.held)
	l.held, l.done.size = now, now
}

// gather returns the cell among those with late output, nil when there is no room for it. The record is not read
// then. The caller holds rec.
func (k *Kernel) gather(ctx context.Context, d *doneCell) (*late, error) {
	k.mu.Lock()
	l, full, size := k.late[d.id], len(k.late) >= maxLate, max(d.size, 1)
	k.mu.Unlock()
	if l != nil || full || !k.o.Log.hold(0, size) {
		return l, nil
	}
	c, err := k.o.Record(ctx, d.id)
	if err == nil && (c.Kernel != k.o.ID || c.State != cellhold.CellDone) {
		err = cellhold.Errorf(cellhold.NotFound, "The record of cell %s is not that of a cell of this kernel that is done.", d.id)
	}
	if err != nil {
		k.o.Log.held(-size)
		return nil, err
	}
	l = &late{done: d, cell: c, folder: notebook.Continue(c), held: size, shown: map[string]bool{}}
	l.cell.Outputs = nil // the folder has them
	k.mu.Lock()
	defer k.mu.Unlock()
	d.size = l.folder.Held()
	if !k.o.Log.hold(size, d.size) {
		k.o.Log.held(-size)
		return nil, nil
	}
	l.held = d.size
	if k.late == nil {
		k.late = map[cellhold.CellID]*late{}
	}
	k.late[d.id] = l
	return l, nil
}

// release takes a cell from those with late output. The caller holds mu.
func (k *Kernel) release(l *late) {
	k.o.Log.held(-l.held)
	delete(k.late, l.cell.ID)
}

// arrived notes that the journal has these events. The caller holds mu.
func (k *Kernel) arrived(evs []cellhold.Event) {
	for _, ev := range evs {
		d := k.done[ev.Cell]
		if d == nil || !isOutput(ev.Type) {
			continue
		}
		if l := k.late[ev.Cell]; l != nil && ev.Source <= l.folded {
			l.has(ev.Seq)
		} else if d.behind && d.since == 0 {
			d.since = ev.Seq
		}
		k.startLate()
	}
}

// has notes that the journal has an event that is folded.
func (l *late) has(seq int64) {
	l.cell.Last = seq
	if l.first == 0 {
		l.first = seq
	}
}

// startLate lets the time until the next writing begin, when there is something to write. The caller holds mu.
func (k *Kernel) startLate() {
	if k.lateSince.IsZero() && k.unwritten() {
		k.lateSince = time.Now()
	}
}

// unwritten reports whether a record lacks output. The caller holds mu.
func (k *Kernel) unwritten() bool {
	if len(k.late) > 0 {
		return true
	}
	for _, d := range k.done {
		if d.since > 0 || d.lost.Bytes > 0 && k.mayReport() {
			return true
		}
	}
	return false
}

// missing reports whether the record of one of these cells, which are done, lacks output of an event of that number.
func (k *Kernel) missing(ctx context.Context, ends map[cellhold.CellID]int64) bool {
	if k.o.Record == nil || k.o.Refold == nil {
		return false
	}
	for id, end := range ends {
		if c, err := k.o.Record(ctx, id); err == nil && c.State == cellhold.CellDone && c.Last < end {
			return true
		}
	}
	return false
}

// Late returns a cell that is done with the late output that its record does not have yet, false when it has all, or
// when that is only in the journal.
func (k *Kernel) Late(id cellhold.CellID) (cellhold.Cell, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.late[id]
	if l == nil {
		return cellhold.Cell{}, false
	}
	return l.filled(), true
}

func (l *late) filled() cellhold.Cell {
	c := l.cell
	c.Outputs, c.Bytes, c.Omitted = l.folder.Outputs(), l.folder.Bytes(), l.folder.Dropped()
	c.Truncated = c.Omitted > 0
	return c
}

// updateLate brings updates of another cell into the cells whose records are about to be written. What their own late
// output shows stays when those are late, too. The caller holds rec.
func (k *Kernel) updateLate(updates []notebook.Update, from *late) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range k.late {
		if l == from {
			continue
		}
		for _, u := range updates {
			if from == nil || !l.shown[u.DisplayID] {
				l.folder.Replace([]notebook.Update{u})
			}
		}
		k.recount(l)
	}
}

// takeBatch returns what the reader brings. Late output is written while nothing comes.
func (k *Kernel) takeBatch(ctx context.Context) (batch []guestapi.Event, err error) {
	for ctx.Err() == nil {
		due, waiting := k.lateDue()
		if !waiting {
			return k.inbox.take(ctx)
		}
		if due > 0 {
			short, cancel := context.WithTimeout(ctx, due)
			batch, err = k.inbox.take(short)
			cancel()
			if err == nil || ctx.Err() != nil {
				return batch, err
			}
		}
		k.writeLate(ctx)
	}
	return nil, ctx.Err()
}
