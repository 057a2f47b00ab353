package kernel

import (
	"slices"

	"cellhold"
)

// maxDone is the number of ended cells that can still get output in their records. The agent also knows its
// newest 256 ended cells. Late output of older cells is only in the journal.
const maxDone = 256

// doneCell is the state that is kept for an ended cell. Kernel.mu guards it.
type doneCell struct {
	id   cellhold.CellID
	size int64                         // size of its record in memory, approximately
	kept int64                         // bytes of its output in the journal
	lost cellhold.OutputDroppedContent // dropped late output that is not reported yet

	// behind is set if the journal has output that had no space in memory. Until that output is read from the
	// journal, later output is not gathered either, because output must be folded in order.
	behind bool
	since  int64 // number of the first event that is not gathered; 0 until there is one
}

// remember adds an ended cell. Above maxDone, it forgets the oldest cell, if possible one without late output. The
// caller must hold mu.
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

// forget forgets a cell whose record cannot be read. The caller must hold mu.
func (k *Kernel) forget(id cellhold.CellID) {
	delete(k.done, id)
	k.order = slices.DeleteFunc(k.order, func(o cellhold.CellID) bool { return o == id })
}

// inherit takes over the ended cells from the Kernel that recorded the agent's events before. If the boot differs,
// a rollback or a fork made this Kernel. Package session then rebuilds the records from the events, so no output is
// missing in them. The caller must hold before.mu, and k must not be shared yet.
func (k *Kernel) inherit(before *Kernel, sameBoot bool) {
	for _, id := range before.order {
		b := before.done[id]
		k.remember(id, b.size, b.kept)
		if d := k.done[id]; sameBoot && b.since > 0 {
			d.behind, d.since = true, b.since
		}
	}
	k.startLate()
}

// lateCell returns the ended cell that an output belongs to. It is nil if the output is not late, or if the
// cell is unknown: the guest can name any cell.
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
