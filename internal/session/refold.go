package session

import (
	"context"
	"slices"

	"cellhold"
	"cellhold/internal/notebook"
)

// Bounds of what is folded at once: a record can have 33 MiB. One record is folded in any case.
const (
	refoldAtOnce = 16
	refoldBytes  = 64 << 20 // of their events
)

// staleCell is a cell whose record is not what its events say, without its outputs.
type staleCell struct {
	cellhold.Cell
	size int64 // bytes of its events
}

// refold makes the records of cells what the events up to that number say. They can differ where output came after
// the end of its cell: a rollback takes such output back, a fork from a checkpoint has it not yet, and a server that
// was killed had not written it. Records that agree with their events are left alone.
func (s *Session) refold(ctx context.Context, last int64, undone []cellhold.Undone) error {
	counts := func(seq int64) bool {
		return seq <= last && !slices.ContainsFunc(undone, func(u cellhold.Undone) bool { return seq > u.After && seq <= u.Last })
	}
	stale, err := s.stale(ctx, counts)
	if err != nil {
		return err
	}
	for len(stale) > 0 {
		n, size := 1, stale[0].size
		for n < min(len(stale), refoldAtOnce) && size+stale[n].size <= refoldBytes {
			size += stale[n].size
			n++
		}
		if err := s.refoldGroup(ctx, stale[:n], counts); err != nil {
			return err
		}
		stale = stale[n:]
	}
	return nil
}

// stale returns the cells whose records are not what the events say that count. Last is the number of the newest of
// those.
func (s *Session) stale(ctx context.Context, counts func(seq int64) bool) (list []staleCell, err error) {
	ends, sizes := map[cellhold.CellID]int64{}, map[cellhold.CellID]int64{}
	for ev, err := range s.m.o.Store.Read(ctx, s.id, 0) {
		if err != nil && ev.Seq == 0 {
			return nil, err
		}
		if err == nil && ev.Cell != "" && counts(ev.Seq) {
			ends[ev.Cell] = ev.Seq
			sizes[ev.Cell] += int64(len(ev.Content))
		}
	}
	for c, err := range s.m.o.Store.Cells(ctx, s.id) {
		if err != nil && c.ID == "" {
			return nil, err
		}
		if end := ends[c.ID]; err == nil && c.State == cellhold.CellDone && end > 0 && end != c.Last && counts(c.First) {
			c.Last, c.Outputs = end, nil
			list = append(list, staleCell{c, sizes[c.ID]})
		}
	}
	return list, nil
}

// refoldGroup folds the records of some cells and writes them.
func (s *Session) refoldGroup(ctx context.Context, group []staleCell, counts func(seq int64) bool) error {
	folders, first := map[cellhold.CellID]*notebook.Folder{}, group[0].First
	for _, c := range group {
		folders[c.ID], first = notebook.New(notebook.Bounds{}), min(first, c.First)
	}
	for ev, err := range s.m.o.Store.Read(ctx, s.id, max(first-1, 0)) {
		if err != nil && ev.Seq == 0 {
			return err // a record of half the events would be worse than the one that there is
		}
		if f := folders[ev.Cell]; err == nil && f != nil && counts(ev.Seq) {
			_ = f.Add(ev) // what could not be folded then cannot be now
		}
	}
	for _, c := range group {
		f := folders[c.ID]
		c.Outputs, c.Bytes, c.Omitted = f.Outputs(), f.Bytes(), f.Dropped()
		c.Truncated = c.Omitted > 0
		if err := s.m.o.Store.PutCell(ctx, c.Cell); err != nil {
			return err
		}
		delete(folders, c.ID)
	}
	return nil
}
