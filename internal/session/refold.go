package session

import (
	"context"
	"slices"

	"cellhold"
	"cellhold/internal/notebook"
)

// refold makes the records of cells what the events up to that number say. They can differ where output came after
// the end of its cell: a rollback takes such output back, a fork from a checkpoint has it not yet, and a server that
// was killed had not written it. Records that agree with their events are left alone.
func (s *Session) refold(ctx context.Context, last int64, undone []cellhold.Undone) error {
	counts := func(seq int64) bool {
		return seq <= last && !slices.ContainsFunc(undone, func(u cellhold.Undone) bool { return seq > u.After && seq <= u.Last })
	}
	ends := map[cellhold.CellID]int64{}
	for ev, err := range s.m.o.Store.Read(ctx, s.id, 0) {
		if err != nil && ev.Seq == 0 {
			return err
		}
		if err == nil && ev.Cell != "" && counts(ev.Seq) {
			ends[ev.Cell] = ev.Seq
		}
	}
	stale := map[cellhold.CellID]cellhold.Cell{}
	for c, err := range s.m.o.Store.Cells(ctx, s.id) {
		if err != nil && c.ID == "" {
			return err
		}
		if end := ends[c.ID]; err == nil && c.State == cellhold.CellDone && end > 0 && end != c.Last && counts(c.First) {
			c.Last = end
			stale[c.ID] = c
		}
	}
	if len(stale) == 0 {
		return nil
	}
	folders := map[cellhold.CellID]*notebook.Folder{}
	for ev, err := range s.m.o.Store.Read(ctx, s.id, 0) {
		if _, ok := stale[ev.Cell]; err != nil || !ok || !counts(ev.Seq) {
			continue
		}
		if folders[ev.Cell] == nil {
			folders[ev.Cell] = notebook.New(notebook.Bounds{})
		}
		_ = folders[ev.Cell].Add(ev) // what could not be folded then cannot be now
	}
	for id, f := range folders {
		c := stale[id]
		c.Outputs, c.Bytes, c.Omitted = f.Outputs(), f.Bytes(), f.Dropped()
		c.Truncated = c.Omitted > 0
		if err := s.m.o.Store.PutCell(ctx, c); err != nil {
			return err
		}
	}
	return nil
}
