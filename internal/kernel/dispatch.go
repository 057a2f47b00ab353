package kernel

import (
	"context"
	"errors"
	"time"

	"cellhold"
)

// dispatch hands cells to the agent, one at a time, and watches that the agent ends them.
func (k *Kernel) dispatch(ctx context.Context) {
	for ctx.Err() == nil {
		if k.orphaned() {
			if err := k.cancelQueue(ctx, cellhold.StatusCancelled, "The kernel died before the cell could run."); err != nil {
				k.o.Logger.Error("cancelling cells of a dead kernel", "session", k.o.Session, "err", err)
				pause(ctx, retryMost)
			}
			continue
		}
		e := k.nextToSend()
		if e != nil {
			k.send(ctx, e)
			continue
		}
		k.waitForWork(ctx)
	}
}

// orphaned reports whether cells wait for a kernel that died and does not come back by itself. After
// a deadline the agent restarts the kernel, so waiting cells stay.
func (k *Kernel) orphaned() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state == cellhold.KernelDead && k.cause != cellhold.StatusTimeout && k.current == nil && len(k.queue) > 0
}

// nextToSend makes the first waiting cell the current one if the kernel is free, and returns the
// current one if the agent does not have it yet. From then on its events are folded, so that
// output that overtakes the answer to Execute is not missed.
func (k *Kernel) nextToSend() *entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state != cellhold.KernelIdle {
		return nil
	}
	if k.current == nil && len(k.queue) > 0 {
		k.current, k.queue = k.queue[0], k.queue[1:]
	}
	if k.current != nil && !k.current.sent {
		return k.current
	}
	return nil
}

// send gives a cell to the agent. Sending it again is harmless: the agent runs each cell once.
func (k *Kernel) send(ctx context.Context, e *entry) {
	err := k.o.Link.Execute(ctx, e.req)
	switch {
	case err == nil:
		k.markSent(e)
	case ctx.Err() != nil:
	case cellhold.KindOf(err) == cellhold.Invalid || cellhold.KindOf(err) == cellhold.NotFound:
		k.finish(ctx, e, cellhold.StatusCancelled, "The agent refused the cell: "+message(err))
	default:
		// Busy with a restart, dead but not yet told, or out of reach: what comes next on the
		// link or from the owner of the sandbox decides.
		k.o.Logger.Debug("sending a cell", "cell", e.req.Cell, "err", err)
		e.tries++
		pause(ctx, min(retryFirst<<min(e.tries, 10), retryMost))
	}
}

// markSent notes that the agent has the cell, unless the cell is done already.
func (k *Kernel) markSent(e *entry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current != e {
		return
	}
	e.sent = true
	if e.cell.Started.IsZero() {
		e.cell.Started = time.Now().UTC()
	}
}

// countAfter is how long a cell runs before the memory kills so far are counted, to tell those of this
// cell from earlier ones. Most cells are shorter and are spared the reading, which would take
// processor time from them; a kernel that is killed sooner is judged by the count known before.
const countAfter = 50 * time.Millisecond

// noteOOM remembers the count of memory kills before those of this cell.
func (k *Kernel) noteOOM(ctx context.Context, e *entry) {
	n, err := k.o.OOMKills(ctx)
	if err != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current == e {
		k.oom = n
	}
	e.counted = true
}

// message is the part of an error that is safe to show.
func message(err error) string {
	if e, ok := errors.AsType[*cellhold.Error](err); ok {
		return e.Message
	}
	return "internal error"
}

// waitForWork waits for a change, and for two moments in the life of the running cell: when the
// memory kills are to be counted, and when the agent should have ended it.
func (k *Kernel) waitForWork(ctx context.Context) {
	e, count, stuck := k.moments()
	if e == nil {
		select {
		case <-k.wake:
		case <-ctx.Done():
		}
		return
	}
	next := stuck
	if !e.counted {
		next = min(count, stuck)
	}
	t := time.NewTimer(next)
	defer t.Stop()
	select {
	case <-k.wake:
	case <-ctx.Done():
	case <-t.C:
		if next == stuck {
			k.reportStuck(ctx, e)
		} else {
			k.noteOOM(ctx, e)
		}
	}
}

// moments returns the running cell, nil when there is none, and how long it is until its moments.
func (k *Kernel) moments() (e *entry, count, stuck time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e = k.current; e == nil || !e.sent {
		return nil, 0, 0
	}
	ran := time.Since(e.cell.Started)
	return e, countAfter - ran, e.req.Timeout + stuckAfter - ran
}

// reportStuck says that the agent did not end a cell. The owner answers with Die, which ends it.
func (k *Kernel) reportStuck(ctx context.Context, e *entry) {
	k.o.Stuck("the agent did not end cell " + string(e.req.Cell) + " in time")
	select {
	case <-e.done:
	case <-ctx.Done():
	}
}

// cancelQueue ends all waiting cells.
func (k *Kernel) cancelQueue(ctx context.Context, s cellhold.CellStatus, cause string) error {
	k.submit.Lock() // no cell slips in between
	defer k.submit.Unlock()
	k.mu.Lock()
	waiting := k.queue
	k.mu.Unlock()
	return k.endCells(ctx, waiting, s, cause)
}

// finish ends one cell from here.
func (k *Kernel) finish(ctx context.Context, e *entry, s cellhold.CellStatus, cause string) {
	if err := k.endCells(ctx, []*entry{e}, s, cause); err != nil {
		k.o.Logger.Error("ending a cell", "cell", e.req.Cell, "err", err)
		pause(ctx, retryMost)
	}
}

// endCells writes the last event of cells that the agent will not end, and takes them away. Cells
// that are done meanwhile are left alone.
func (k *Kernel) endCells(ctx context.Context, es []*entry, s cellhold.CellStatus, cause string, more ...cellhold.Event) error {
	k.rec.Lock()
	defer k.rec.Unlock()
	content := cellhold.CellDoneContent{Status: s, Cause: cause}
	evs, cells, ended := more, []*cellhold.Cell(nil), []*entry(nil)
	now := time.Now().UTC()
	k.mu.Lock()
	for _, e := range es {
		if k.find(e.req.Cell) != e {
			continue
		}
		evs = append(evs, cellhold.NewEvent(cellhold.EventCellDone, k.o.ID, e.req.Cell, content))
		cells = append(cells, e.ended(content, now))
		ended = append(ended, e)
	}
	k.mu.Unlock()
	if len(evs) == 0 {
		return nil
	}
	if err := k.o.Log.Append(ctx, evs, cells...); err != nil {
		return err
	}
	k.mu.Lock()
	for i, e := range ended {
		e.cell = *cells[i]
		k.remove(e)
	}
	k.tell()
	k.mu.Unlock()
	k.announce(ended)
	return nil
}

// remove takes a cell that is done away. The caller holds mu.
func (k *Kernel) remove(e *entry) {
	if k.current == e {
		k.current = nil
	}
	var rest []*entry
	for _, q := range k.queue {
		if q != e {
			rest = append(rest, q)
		}
	}
	k.queue = rest
}

// drainWait bounds how long Die waits for the last events of a sandbox that is gone: they are in a
// pipe of this host, so it is only a matter of reading them.
const drainWait = 2 * time.Second

// Die ends the kernel and all its cells because its sandbox is gone: s is oom or lost, and detail
// one sentence. What the agent said before its end is recorded first.
func (k *Kernel) Die(ctx context.Context, s cellhold.CellStatus, detail string) error {
	drain, cancel := context.WithTimeout(ctx, drainWait)
	k.waitDown(drain)
	cancel()
	k.mu.Lock()
	all := append([]*entry(nil), k.queue...)
	if k.current != nil {
		all = append([]*entry{k.current}, all...)
	}
	k.mu.Unlock()
	state := cellhold.NewEvent(cellhold.EventKernelState, k.o.ID, "",
		cellhold.KernelStateContent{State: cellhold.KernelDead, Cause: s, Detail: detail})
	k.setState(cellhold.KernelDead, s, detail)
	if len(all) == 0 {
		return k.o.Log.Append(ctx, []cellhold.Event{state})
	}
	if err := k.endCells(ctx, all[:1], s, detail, state); err != nil {
		return err
	}
	return k.endCells(ctx, all[1:], cellhold.StatusCancelled, "The sandbox ended before the cell could run.")
}

// waitDown waits until the link is broken and what was read from it is recorded.
func (k *Kernel) waitDown(ctx context.Context) {
	for {
		k.mu.Lock()
		down, changed := k.down && k.inbox.empty(), k.changed
		k.mu.Unlock()
		if down {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
