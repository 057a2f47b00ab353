// Package refold updates the records of cells from their events.
//
// The record of a cell can differ from the events if output came after the end of the cell:
//   - After a rollback, the record still has output that the rollback undid.
//   - A fork from a checkpoint copies the newest records, but only the events up to the checkpoint.
//   - A server that was killed had stored the events of such output, but had not updated the record yet.
//
// Records that match their events do not change.
package refold

import (
	"context"
	"iter"
	"slices"

	"cellhold"
	"cellhold/internal/notebook"
	"cellhold/internal/record"
)

// Limits of the cells that are folded together in memory: one record can have 33 MiB. A cell whose events exceed
// maxBytes is folded alone.
const (
	maxCells = 16
	maxBytes = 64 << 20 // bytes of their events
)

// Store reads events and cells, and records cells.
type Store interface {
	Read(ctx context.Context, id cellhold.SessionID, after int64) iter.Seq2[record.Event, error]
	Cells(ctx context.Context, id cellhold.SessionID) iter.Seq2[record.Cell, error]
	PutCell(ctx context.Context, c record.Cell) error
}

// staleCell is a cell without its outputs, whose record differs from the events.
type staleCell struct {
	record.Cell
	size int64 // bytes of its events
}

// Cells updates the records of a session's cells from the events up to number last, without those in undone.
func Cells(ctx context.Context, store Store, id cellhold.SessionID, last int64, undone []record.Undone) error {
	f := refolder{store, id, func(seq int64) bool {
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

// refolder folds the cells of one session from the valid events.
type refolder struct {
	store Store
	id    cellhold.SessionID
	valid func(seq int64) bool // reports whether an event is up to last and not undone
}

// stale returns the cells whose records differ from the valid events. Their Last is the number of their newest valid
// event.
func (f refolder) stale(ctx context.Context) (list []staleCell, err error) {
	ends, sizes := map[cellhold.CellID]int64{}, map[cellhold.CellID]int64{}
	for ev, err := range f.store.Read(ctx, f.id, 0) {
		if err != nil && ev.Seq == 0 {
			return nil, err
		}
		if err == nil && ev.Cell != "" && f.valid(ev.Seq) {
			ends[ev.Cell] = ev.Seq
			sizes[ev.Cell] += int64(len(ev.Content))
		}
	}
	for c, err := range f.store.Cells(ctx, f.id) {
		if err != nil && c.ID == "" {
			return nil, err
		}
		if end := ends[c.ID]; err == nil && c.State == cellhold.CellDone && end > 0 && end != c.Last && f.valid(c.First) {
			c.Last, c.Outputs = end, nil
			list = append(list, staleCell{c, sizes[c.ID]})
		}
	}
	return list, nil
}

// fold folds and writes the records of some cells.
func (f refolder) fold(ctx context.Context, group []staleCell) error {
	folders, first := map[cellhold.CellID]*notebook.Folder{}, group[0].First
	for _, c := range group {
		folders[c.ID], first = notebook.New(notebook.Bounds{}), min(first, c.First)
	}
	for ev, err := range f.store.Read(ctx, f.id, max(first-1, 0)) {
		if err != nil && ev.Seq == 0 {
			return err // keep the present record rather than one of half the events
		}
		if to := folders[ev.Cell]; err == nil && to != nil && f.valid(ev.Seq) {
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
