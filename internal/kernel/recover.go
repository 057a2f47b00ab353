package kernel

import (
	"context"

	"cellhold"
	"cellhold/internal/record"
)

// recover updates the kernel and its pending cells from the journal. The first pending cell becomes the
// current one, because the agent can be running it. The end of a cell and its record are stored in one
// step, so a pending cell has no end in the journal.
func (k *Kernel) recover(ctx context.Context) error {
	pending := map[cellhold.CellID]*entry{}
	for _, c := range k.o.Pending {
		e := newEntry(c)
		pending[c.ID] = e
		k.queue = append(k.queue, e)
	}
	if len(k.queue) > 0 {
		k.current, k.queue = k.queue[0], k.queue[1:]
	}
	done, kept, ends := map[cellhold.CellID]bool{}, map[cellhold.CellID]int64{}, map[cellhold.CellID]int64{}
	for ev, err := range k.o.Journal.Read(ctx, k.o.Session, 0) {
		if err != nil && ev.Seq > 0 {
			k.o.Logger.Error("read an event", "session", k.o.Session, "seq", ev.Seq, "err", err)
			continue
		}
		if err != nil {
			return err
		}
		if ev.Kernel != k.o.ID {
			continue
		}
		if ev.Type == cellhold.EventKernelState && ev.Boot == k.o.Boot {
			k.applyState(ev)
		} else if ev.Type == cellhold.EventKernelState && ev.Source == 0 {
			k.resetIfNew(ev)
		}
		if e := pending[ev.Cell]; e != nil {
			e.replay(ev)
		}
		cost := int64(len(ev.Content)) + eventCost
		switch d := k.done[ev.Cell]; {
		case ev.Type == cellhold.EventCellDone:
			done[ev.Cell] = true
			k.remember(ev.Cell, min(kept[ev.Cell], maxLateBytes/2), kept[ev.Cell])
			delete(kept, ev.Cell)
		case !isOutput(ev.Type):
		case !done[ev.Cell]:
			kept[ev.Cell] += cost
		default:
			ends[ev.Cell] = ev.Seq
			if d != nil {
				d.kept += cost
			}
		}
	}
	if k.missing(ctx, ends) {
		return k.o.Refold(ctx)
	}
	return nil
}

// follow takes over the state from the Kernel that recorded the agent's events before. The Run of that Kernel has
// returned, and its cells are done. If the boot differs, the agent reports the kernel's state itself.
func (k *Kernel) follow(before *Kernel) {
	before.mu.Lock()
	defer before.mu.Unlock()
	k.info = before.info
	k.inherit(before, before.o.Boot == k.o.Boot)
	if before.o.Boot == k.o.Boot {
		k.state, k.cause, k.detail = before.state, before.cause, before.detail
		k.cursor = max(k.cursor, before.cursor)
	}
}

// resetIfNew forgets an earlier kernel with the same id if the event has the state starting: the host records this
// state when it adds a kernel.
func (k *Kernel) resetIfNew(ev record.Event) {
	var c cellhold.KernelStateContent
	if ev.Decode(&c) == nil && c.State == cellhold.KernelStarting {
		k.state, k.cause, k.detail, k.info = cellhold.KernelStarting, "", "", nil
	}
}

// replay folds one recorded event.
func (e *entry) replay(ev record.Event) {
	if ev.Type == cellhold.EventCellStarted {
		e.cell.State, e.cell.Started = cellhold.CellRunning, ev.Time
		return
	}
	e.updateQuestion(ev)
	e.folded = max(e.folded, ev.Source)
	e.kept += int64(len(ev.Content)) + eventCost
	_ = e.folder.Add(ev.Event) // an event that could not be folded before is skipped again
}
