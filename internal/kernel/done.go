package kernel

import (
	"slices"

	"cellhold"
)

// maxDone is how many cells that are done can still get output: the agent knows the newest 256, too. What comes for
// others is in the journal only.
const maxDone = 256

// doneCell is what is remembered of a cell of this kernel that is done. Kernel.mu guards it.
type doneCell struct {
	id   cellhold.CellID
	size int64                         // bytes of its record in memory, about
	kept int64                         // bytes of its output in the journal
	lost cellhold.OutputDroppedContent // late output that found no room there, and is not reported yet

	// behind says that the journal has output that is not gathered, because there was no room for it. What comes later
	// is not gathered either, until that is read from the journal: it has to be folded in order.
	behind bool
	since  int64 // number of the first event that is not gathered, 0 until it has one
}

// remember notes that a cell has ended, and forgets the oldest. The caller holds mu.
func (k *Kernel) remember(id cellhold.CellID, size, kept int64) {
	if k.done == nil {
		k.done = map[cellhold.CellID]*doneCell{}
	}
	if k.done[id] != nil {
		return
	}
	k.done[id] = &doneCell{id: id, size: size, kept: kept}
	k.order = append(k.order, id)
	if len(k.order) <= maxDone {
		return
	}
	i := max(slices.IndexFunc(k.order, func(id cellhold.CellID) bool {
		return !k.done[id].behind && k.late[id] == nil
	}), 0)
	delete(k.done, k.order[i])
	k.order = slices.Delete(k.order, i, i+1)
}

// forget is for a cell whose record cannot be read. The caller holds mu.
func (k *Kernel) forget(id cellhold.CellID) {
	delete(k.done, id)
	k.order = slices.DeleteFunc(k.order, func(o cellhold.CellID) bool { return o == id })
}

// inherit takes over the cells that are done from the one who followed the kernel before. In another life of the
// agent the records have been folded from the events already. The caller holds mu of both.
func (k *Kernel) inherit(before *Kernel, sameLife bool) {
	for _, id := range before.order {
		b := before.done[id]
		k.remember(id, b.size, b.kept)
		if d := k.done[id]; sameLife && b.since > 0 {
			d.behind, d.since = true, b.since
		}
	}
	k.startLate()
}

// lateCell returns the cell that is done and that an output belongs to; nil when the output is not late or is
// nobody's: the guest can name any cell.
func (k *Kernel) lateCell(t cellhold.EventType, id cellhold.CellID) *doneCell {
	if id == "" || !isOutput(t) || k.o.Record == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.find(id) != nil {
		return nil
	}
	return k.done[id]
}

func isOutput(t cellhold.EventType) bool {
	switch t {
	case cellhold.EventStream, cellhold.EventDisplayData, cellhold.EventExecuteResult, cellhold.EventError,
		cellhold.EventUpdateDisplayData, cellhold.EventClearOutput, cellhold.EventOutputDropped:
		return true
	}
	return false
}
