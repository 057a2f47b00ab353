package kernel

import (
	"context"
	"maps"
	"slices"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/notebook"
)

// Output can come after the end of its cell: from a thread, a process that was left running, or a display that is
// updated later. It belongs to the cell's record as all other output does. A record is rewritten whole, so
// late output is gathered here first, and readers are served from here until it is written.

const (
	// lateRest is how long late output is gathered before the record is rewritten, for each MiB of the record.
	lateRest = time.Second
	// maxLate is how many cells are gathered for before they are written earlier.
	maxLate = 16
	// flushWithin bounds the last write, when the kernel is not followed any more.
	flushWithin = 10 * time.Second
)

// late is a cell that is done, with output that came afterwards.
type late struct {
	cell   cellhold.Cell
	folder *notebook.Folder
	folded int64                         // the agent's number of the newest event in folder
	kept   int64                         // bytes of the cell's output in the journal, or more
	lost   cellhold.OutputDroppedContent // late output that found no room there
	shown  map[string]bool               // ids of displays that late output shows or updates
}

// lateCell returns the cell that a late output belongs to, nil when the output is not late or is nobody's. The
// caller holds rec.
func (k *Kernel) lateCell(ctx context.Context, ev cellhold.EventType, id cellhold.CellID) *late {
	if id == "" || !isOutput(ev) || k.o.Record == nil {
		return nil
	}
	k.mu.Lock()
	own, l := k.find(id) != nil, k.late[id]
	k.mu.Unlock()
	if own || l != nil {
		return l
	}
	c, err := k.o.Record(ctx, id)
	if err != nil || c.Kernel != k.o.ID || c.State != cellhold.CellDone {
		return nil // the guest can name any cell
	}
	return k.addLate(c, notebook.Continue(c))
}

// addLate puts a cell among those with late output.
func (k *Kernel) addLate(c cellhold.Cell, f *notebook.Folder) *late {
	l := &late{cell: c, folder: f, kept: f.Bytes(), shown: map[string]bool{}}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.late == nil {
		k.late = map[cellhold.CellID]*late{}
	}
	k.late[c.ID] = l
	return l
}

func isOutput(t cellhold.EventType) bool {
	switch t {
	case cellhold.EventStream, cellhold.EventDisplayData, cellhold.EventExecuteResult, cellhold.EventError,
		cellhold.EventUpdateDisplayData, cellhold.EventClearOutput, cellhold.EventOutputDropped:
		return true
	}
	return false
}

// foldLate folds a late output. A batch that could not be kept comes again, so each event is folded only once.
func (k *Kernel) foldLate(l *late, ev cellhold.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ev.Source <= l.folded {
		return
	}
	l.folded = ev.Source
	if err := l.folder.Add(ev); err != nil {
		k.o.Logger.Warn("folding late output", "cell", l.cell.ID, "err", err)
	}
	var c cellhold.DisplayContent
	if (ev.Type == cellhold.EventDisplayData || ev.Type == cellhold.EventUpdateDisplayData) && ev.Decode(&c) == nil && c.Transient != nil {
		l.shown[c.Transient.DisplayID] = true
	}
}

// arrived notes that the journal has these events. The caller holds mu.
func (k *Kernel) arrived(evs []cellhold.Event) {
	for _, ev := range evs {
		if l := k.late[ev.Cell]; l != nil && isOutput(ev.Type) {
			l.cell.Last = ev.Seq
		}
	}
	if len(k.late) > 0 && k.lateSince.IsZero() {
		k.lateSince = time.Now()
	}
}

// crowded reports whether so many cells have late output that it has to be written first.
func (k *Kernel) crowded() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.late) >= maxLate
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

// Late returns a cell that is done with the late output that its record does not have yet, false when it has all.
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

// lateDue returns how long late output may still be gathered; false when there is none.
func (k *Kernel) lateDue() (time.Duration, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lateSince.IsZero() {
		return 0, false
	}
	size := int64(0)
	for _, l := range k.late {
		size += l.folder.Bytes() - l.folder.Dropped()
	}
	rest := lateRest * time.Duration(1+min(size>>20, 30))
	return max(rest-time.Since(k.lateSince), 0), true
}

// flushLate writes the records of cells with late output.
func (k *Kernel) flushLate(ctx context.Context) {
	k.rec.Lock()
	defer k.rec.Unlock()
	k.writeLate(ctx)
}

// writeLate is flushLate for a caller that holds rec. What cannot be written stays, and is tried again.
func (k *Kernel) writeLate(ctx context.Context) {
	k.mu.Lock()
	list := slices.Collect(maps.Values(k.late))
	k.lateSince = time.Time{}
	k.mu.Unlock()
	for _, l := range list {
		if err := k.writeOne(ctx, l); err != nil && cellhold.KindOf(err) != cellhold.NotFound {
			k.o.Logger.Error("recording late output", "cell", l.cell.ID, "err", err)
			k.mu.Lock()
			k.lateSince = time.Now()
			k.mu.Unlock()
			continue
		}
		k.mu.Lock()
		delete(k.late, l.cell.ID)
		k.mu.Unlock()
	}
}

func (k *Kernel) writeOne(ctx context.Context, l *late) error {
	k.mu.Lock()
	c := l.filled()
	updates := l.folder.Updates()
	k.mu.Unlock()
	var evs []cellhold.Event
	if l.lost.Bytes > 0 {
		evs = append(evs, cellhold.NewEvent(cellhold.EventOutputDropped, k.o.ID, c.ID, l.lost))
	}
	if err := k.o.Log.Append(ctx, evs, &c); err != nil {
		return err
	}
	l.lost = cellhold.OutputDroppedContent{}
	updates = slices.DeleteFunc(updates, func(u notebook.Update) bool { return !l.shown[u.DisplayID] })
	if len(updates) > 0 && k.o.Updates != nil {
		k.o.Updates(ctx, c, updates)
	}
	if k.o.Changed != nil {
		k.o.Changed()
	}
	return nil
}

// updateLate brings updates of a cell that ends into the cells whose records are about to be written.
func (k *Kernel) updateLate(updates []notebook.Update) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range k.late {
		l.folder.Replace(updates)
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
		k.flushLate(ctx)
	}
	return nil, ctx.Err()
}

// lastLate writes what is left when the kernel is not followed any more.
func (k *Kernel) lastLate(ctx context.Context) {
	if _, waiting := k.lateDue(); !waiting {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushWithin)
	defer cancel()
	k.flushLate(ctx)
}
