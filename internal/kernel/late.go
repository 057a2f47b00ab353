package kernel

import (
	"context"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/notebook"
	"cellhold/internal/record"
)

// Output can come after the end of its cell: from a thread, from a process that still runs, or when a display is
// updated later. Late output belongs to the cell's record like all other output. A record is always rewritten
// completely, so the kernel first gathers late output in memory. Until the record is written, readers get the output
// from memory. User code decides how many cells get late output and how large their records are, so memory, reads
// and writes have limits: maxLateBytes limits the memory, and a pause in proportion to its size follows each write.
// Output that has no space in memory stays in the journal until there is space.

const (
	// latePause is how long late output is gathered before records are rewritten. It is also the pause for each
	// MiB written.
	latePause = time.Second
	// maxLate is the number of cells of a kernel for which output can be gathered at once.
	maxLate = 16
	// maxLateBytes bounds the gathered output of all kernels of a session. One cell always has space.
	maxLateBytes = 64 << 20
	// readShare is the number of bytes that can be read for the cost of one written byte.
	readShare = 8
	// flushWithin bounds the last writes when the Kernel stops.
	flushWithin = 10 * time.Second
)

// late is a done cell with output that came later.
type late struct {
	done    *doneCell
	cell    record.Cell
	folder  *notebook.Folder
	held    int64           // bytes that the log counts for it
	first   int64           // number of the first event that the record lacks; 0 if it lacks none
	folded  int64           // the agent's number of the newest event in folder
	shown   map[string]bool // display ids that its late output shows or updates
	stopped bool            // memory had no space for all of its events that are in the journal
}

// foldLate folds one event of late output, if there is space in memory. A batch that could not be recorded is
// retried, so foldLate folds each event only once. The caller must hold rec.
func (k *Kernel) foldLate(ctx context.Context, d *doneCell, ev record.Event) {
	if d.behind { // modified with rec held
		return
	}
	l, err := k.gather(ctx, d)
	if err != nil {
		k.o.Logger.Warn("read the record of a cell with late output", "cell", d.id, "err", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if l != nil && ev.Source <= l.folded {
		return
	}
	if l == nil || !k.tryFold(l, ev) {
		d.behind = true
		return
	}
	l.folded = ev.Source
}

// tryFold folds an event. It returns false if there is no space. The caller must hold mu.
func (k *Kernel) tryFold(l *late, ev record.Event) bool {
	if !k.o.Log.reserveLate(l.held, l.held+int64(len(ev.Content))) {
		return false
	}
	l.held += int64(len(ev.Content))
	if err := l.folder.Add(ev.Event); err != nil {
		k.o.Logger.Warn("fold late output", "cell", l.cell.ID, "err", err)
	}
	var c cellhold.DisplayContent
	if (ev.Type == cellhold.EventDisplayData || ev.Type == cellhold.EventUpdateDisplayData) && ev.Decode(&c) == nil && c.Transient != nil {
		l.shown[c.Transient.DisplayID] = true
	}
	k.recount(l)
	return true
}

// recount corrects the counted size of a cell. The caller must hold mu.
func (k *Kernel) recount(l *late) {
	now := l.folder.Held()
	k.o.Log.addLate(now - l.held)
	l.held, l.done.size = now, now
}

// gather returns the gathered output of a cell. If nothing is gathered yet, it reads the record of the cell. If there
// is no space, it returns nil without a read. The caller must hold rec.
func (k *Kernel) gather(ctx context.Context, d *doneCell) (*late, error) {
	k.mu.Lock()
	l, full, size := k.late[d.id], len(k.late) >= maxLate, max(d.size, 1)
	k.mu.Unlock()
	if l != nil || full || !k.o.Log.reserveLate(0, size) {
		return l, nil
	}
	c, err := k.o.Record(ctx, d.id)
	if err == nil && (c.Kernel != k.o.ID || c.State != cellhold.CellDone) {
		err = cellhold.Errorf(cellhold.NotFound, "The record of cell %s does not belong to a done cell of this kernel.", d.id)
	}
	if err != nil {
		k.o.Log.addLate(-size)
		return nil, err
	}
	l = &late{done: d, cell: c, folder: notebook.Continue(c.Cell), held: size, shown: map[string]bool{}}
	l.cell.Outputs = nil // the folder has the outputs
	k.mu.Lock()
	defer k.mu.Unlock()
	d.size = l.folder.Held()
	if !k.o.Log.reserveLate(size, d.size) {
		k.o.Log.addLate(-size)
		return nil, nil
	}
	l.held = d.size
	if k.late == nil {
		k.late = map[cellhold.CellID]*late{}
	}
	k.late[d.id] = l
	return l, nil
}

// release drops the gathered output of a cell. The caller must hold mu.
func (k *Kernel) release(l *late) {
	k.o.Log.addLate(-l.held)
	delete(k.late, l.cell.ID)
}

// arrived notes that the journal has these events. The caller must hold mu.
func (k *Kernel) arrived(evs []record.Event) {
	for _, ev := range evs {
		d := k.done[ev.Cell]
		if d == nil || !isOutput(ev.Type) {
			continue
		}
		if l := k.late[ev.Cell]; l != nil && ev.Source <= l.folded {
			l.recorded(ev.Seq)
		} else if d.behind && d.since == 0 {
			d.since = ev.Seq
		}
		k.startLate()
	}
}

// recorded notes that the journal has a folded event, with the number seq.
func (l *late) recorded(seq int64) {
	l.cell.Last = seq
	if l.first == 0 {
		l.first = seq
	}
}

// startLate schedules the next write, if there is output to write. The caller must hold mu.
func (k *Kernel) startLate() {
	if k.lateSince.IsZero() && k.unwritten() {
		k.lateSince = time.Now()
	}
}

// unwritten reports whether a record lacks output. The caller must hold mu.
func (k *Kernel) unwritten() bool {
	if len(k.late) > 0 {
		return true
	}
	for _, d := range k.done {
		if d.since > 0 || d.lost.Bytes > 0 && k.canReport() {
			return true
		}
	}
	return false
}

// missing reports whether the record of a done cell lacks output. ends has the number of each cell's last
// output.
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

// Late returns a done cell with the late output that its record lacks. It returns false if the record has
// all output, or if late output is only in the journal.
func (k *Kernel) Late(id cellhold.CellID) (record.Cell, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.late[id]
	if l == nil {
		return record.Cell{}, false
	}
	return l.filled(), true
}

func (l *late) filled() record.Cell {
	c := l.cell
	c.Outputs, c.Bytes, c.Omitted = l.folder.Outputs(), l.folder.Bytes(), l.folder.Dropped()
	c.Truncated = c.Omitted > 0
	return c
}

// updateLate applies display updates of another cell to the cells whose records will be written. If the
// updates are late too, displays from a cell's own late output stay. The caller must hold rec.
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

// takeBatch returns the next events from the reader. While there are none, it writes late output.
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
