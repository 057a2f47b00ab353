// Package refold makes the records of cells agree with their events.
//
// They can differ where output came after the end of its cell: a rollback undoes such output, a fork from a
// checkpoint does not have it yet, and a server that was killed had not written it. Records that agree with
// their events are left alone.
package refold

import (
	"context"
	"iter"
	"slices"

	"cellhold"
	"cellhold/internal/notebook"
	"cellhold/internal/record"
)

// Bounds of the records that are folded at once: one can have 33 MiB. One record is folded in any case.
const (
	maxCells = 16
	maxBytes = 64 << 20 // of their events
)

// Store reads events and cells, and records cells.
type Store interface {
	Read(ctx context.Context, id cellhold.SessionID, after int64) iter.Seq2[record.Event, error]
	Cells(ctx context.Context, id cellhold.SessionID) iter.Seq2[record.Cell, error]
	PutCell(ctx context.Context, c record.Cell) error
}

// staleCell is a cell whose record disagrees with its events, without its outputs.
type staleCell struct {
	record.Cell
	size int64 // bytes of its events
}

// Cells records the cells of a session as the events up to number last say, those in undone left out.
func Cells(ctx context.Context, store Store, id cellhold.SessionID, last int64, undone []record.Undone) error {
	f := folder{store, id, func(seq int64) bool {
		return seq <= last && !slices.ContainsFunc(undone, func(u record.Undone) bool { return seq > u.After && seq <= u.Last })
	}}
	stale, err := f.stale(ctx)
	for err == nil && len(stale) > 0 {
		n, size := 1, stale[0].size
		for n < min(len(stale), maxCells) && size+stale[n].size <= maxBytes {
			size += stale[n].size
			n++
		}
		err = f.fold(ctx, stale[:n])
		stale = stale[n:]
	}
	return err
}

// folder folds the cells of one session from the events that count.
type folder struct {
	store  Store
	id     cellhold.SessionID
	counts func(seq int64) bool
}

// stale returns the cells whose records disagree with the events that count. Last is the number of the
// newest of those events.
func (f folder) stale(ctx context.Context) (list []staleCell, err error) {
	ends, sizes := map[cellhold.CellID]int64{}, map[cellhold.CellID]int64{}
	for ev, err := range f.store.Read(ctx, f.id, 0) {
		if err != nil && ev.Seq == 0 {
			return nil, err
		}
		if err == nil && ev.Cell != "" && f.counts(ev.Seq) {
			ends[ev.Cell] = ev.Seq
			sizes[ev.Cell] += int64(len(ev.Content))
		}
	}
	for c, err := range f.store.Cells(ctx, f.id) {
		if err != nil && c.ID == "" {
			return nil, err
		}
		if end := ends[c.ID]; err == nil && c.State == cellhold.CellDone && end > 0 && end != c.Last && f.counts(c.First) {
			c.Last, c.Outputs = end, nil
			list = append(list, staleCell{c, sizes[c.ID]})
		}
	}
	return list, nil
}

// fold folds the records of some cells and writes them.
func (f folder) fold(ctx context.Context, group []staleCell) error {
	folders, first := map[cellhold.CellID]*notebook.Folder{}, group[0].First
	for _, c := range group {
		folders[c.ID], first = notebook.New(notebook.Bounds{}), min(first, c.First)
	}
	for ev, err := range f.store.Read(ctx, f.id, max(first-1, 0)) {
		if err != nil && ev.Seq == 0 {
			return err // a record of half the events would be worse than the present one
		}
		if to := folders[ev.Cell]; err == nil && to != nil && f.counts(ev.Seq) {
			_ = to.Add(ev.Event) // an event that could not be folded before cannot be folded now
		}
	}
	for _, c := range group {
		to := folders[c.ID]
		c.Outputs, c.Bytes, c.Omitted = to.Outputs(), to.Bytes(), to.Dropped()
		c.Truncated = c.Omitted > 0
		if err := f.store.PutCell(ctx, c.Cell); err != nil {
			return err
		}
		delete(folders, c.ID)
	}
	return nil
}
