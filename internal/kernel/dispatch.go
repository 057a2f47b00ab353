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
		if e := k.neglected(); e != nil {
			k.reportStuck(ctx, e, "the agent took no cell for "+takeWithin.String())
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
	return k.finallyDead() && k.current == nil && len(k.queue) > 0
}

// nextToSend makes the first waiting cell the current one if the kernel is free, and returns the
// current one if the agent does not have it yet. From then on its events are folded, so that
// output that overtakes the answer to Execute is not missed.
func (k *Kernel) nextToSend() *entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	idle := k.state == cellhold.KernelIdle
	if idle && k.current == nil && len(k.queue) > 0 && !k.queue[0].ending {
		k.current, k.queue = k.queue[0], k.queue[1:]
	}
	// To a dead kernel only a cell goes that an earlier server may have sent: the agent knows.
	if k.current != nil && !k.current.sent && (idle || k.finallyDead()) {
		return k.current
	}
	return nil
}

// finallyDead reports whether the kernel is dead and does not come back by itself, as it does after a
// cell that had to be killed at its deadline. The caller holds mu.
func (k *Kernel) finallyDead() bool {
	return k.state == cellhold.KernelDead && k.cause != cellhold.StatusTimeout
}

// send gives a cell to the agent. Sending it again is harmless: the agent runs each cell once.
func (k *Kernel) send(ctx context.Context, e *entry) {
	k.mu.Lock()
	e.begun = time.Now()
	k.mu.Unlock()
	err := k.o.Link.Execute(ctx, e.req)
	switch {
	case err == nil:
		if k.markSent(e) {
			if err := k.o.Link.Interrupt(ctx, e.req.Cell); err != nil {
				k.o.Logger.Warn("interrupting a cell", "cell", e.req.Cell, "err", err)
			}
		}
	case ctx.Err() != nil:
	case cellhold.KindOf(err) == cellhold.Invalid || cellhold.KindOf(err) == cellhold.NotFound:
		k.finish(ctx, e, cellhold.StatusCancelled, "The agent refused the cell: "+message(err))
	case cellhold.KindOf(err) == cellhold.Conflict && k.isFinallyDead():
		k.finish(ctx, e, cellhold.StatusCancelled, "The kernel died before the cell could run.")
	default:
		// Busy with a restart, dead but not yet told, or out of reach: what comes next on the
		// link or from the owner of the sandbox decides.
		k.o.Logger.Debug("sending a cell", "cell", e.req.Cell, "err", err)
		e.tries++
		pause(ctx, min(retryFirst<<min(e.tries, 10), retryMost))
	}
}

func (k *Kernel) isFinallyDead() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.finallyDead()
}

// neglected returns the cell that the agent should have taken long since, nil when there is none.
func (k *Kernel) neglected() *entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.current
	if e == nil && len(k.queue) > 0 {
		e = k.queue[0]
	}
	if e == nil || e.sent || k.finallyDead() {
		k.stalled = time.Time{}
		return nil
	}
	if k.stalled.IsZero() {
		k.stalled = time.Now()
	}
	if time.Since(k.stalled) < takeWithin {
		return nil
	}
	return e
}

// markSent notes that the agent has the cell, unless the cell is done already, and reports whether it is
// to be interrupted at once.
func (k *Kernel) markSent(e *entry) (unwanted bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current != e {
		return false
	}
	k.stalled = time.Time{}
	e.sent, e.sentAt = true, time.Now()
	if e.cell.Started.IsZero() {
		e.cell.Started = time.Now().UTC()
	}
	return e.unwanted
}

// countAfter is how long a cell runs before the memory kills so far are counted, to tell those of this
// cell from earlier ones. Most cells are shorter and are spared the reading, which would take
// processor time from them; a kernel that is killed sooner is judged by the count known before.
const countAfter = 50 * time.Millisecond

// noteOOM remembers the count of memory kills before those of this cell.
func (k *Kernel) noteOOM(ctx context.Context, e *entry) {
	e.counted = true
	if k.o.Memory != nil {
		k.o.Memory.Begin(ctx, e.req.Cell)
	}
	n, err := k.o.OOMKills(ctx)
	if err != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current == e {
		k.oom = n
	}
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
		k.waitForTaker(ctx)
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
			k.mu.Lock()
			e.overdue = true
			k.mu.Unlock()
			k.reportStuck(ctx, e, "the agent did not end cell "+string(e.req.Cell)+" at its deadline")
		} else {
			k.noteOOM(ctx, e)
		}
	}
}

// waitForTaker waits for a change, and for the moment when cells have waited too long.
func (k *Kernel) waitForTaker(ctx context.Context) {
	var late <-chan time.Time
	if !k.stalled.IsZero() {
		t := time.NewTimer(takeWithin - time.Since(k.stalled))
		defer t.Stop()
		late = t.C
	}
	select {
	case <-k.wake:
	case <-late:
	case <-ctx.Done():
	}
}

// moments returns the running cell, nil when there is none, and how long it is until its moments.
func (k *Kernel) moments() (e *entry, count, stuck time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e = k.current; e == nil || !e.sent {
		return nil, 0, 0
	}
	ran := time.Since(e.sentAt)
	return e, countAfter - ran, e.req.Timeout + stuckAfter - ran
}

// reportStuck says that the agent does not do its work. The owner answers with Die, which ends the cell.
func (k *Kernel) reportStuck(ctx context.Context, e *entry, why string) {
	k.o.Stuck(why)
	select {
	case <-e.done:
	case <-ctx.Done():
	}
}

// cancelQueue ends all waiting cells.
func (k *Kernel) cancelQueue(ctx context.Context, s cellhold.CellStatus, cause string) error {
	k.submit.Lock() // no cell slips in between
	defer k.submit.Unlock()
	return k.endCells(ctx, func() []end { return ends(k.queue, s, cause) })
}

// finish ends one cell from here.
func (k *Kernel) finish(ctx context.Context, e *entry, s cellhold.CellStatus, cause string) {
	err := k.endCells(ctx, func() []end { return ends([]*entry{e}, s, cause) })
	if err != nil {
		k.o.Logger.Error("ending a cell", "cell", e.req.Cell, "err", err)
		pause(ctx, retryMost)
	}
}

// end is how a cell is ended from here.
type end struct {
	e       *entry
	content cellhold.CellDoneContent
}

func ends(es []*entry, s cellhold.CellStatus, cause string) []end {
	list := make([]end, 0, len(es))
	for _, e := range es {
		list = append(list, end{e, cellhold.CellDoneContent{Status: s, Cause: cause}})
	}
	return list
}

// endCells writes the last event of cells that the agent will not end, after more events, and takes
// the cells away. pick is called with mu held and says which; those that are done are left alone.
func (k *Kernel) endCells(ctx context.Context, pick func() []end, more ...cellhold.Event) error {
	k.rec.Lock()
	defer k.rec.Unlock()
	evs, cells, ended := more, []*cellhold.Cell(nil), []*entry(nil)
	now := time.Now().UTC()
	k.mu.Lock()
	for _, x := range pick() {
		if k.find(x.e.req.Cell) != x.e {
			continue
		}
		x.e.ending = true
		if x.e == k.current {
			x.content.Usage = &cellhold.Usage{Wall: x.e.wall(now)}
		}
		evs = append(evs, cellhold.NewEvent(cellhold.EventCellDone, k.o.ID, x.e.req.Cell, x.content))
		cells = append(cells, x.e.ended(x.content, now))
		ended = append(ended, x.e)
	}
	k.mu.Unlock()
	if len(evs) == 0 {
		return nil
	}
	err := k.o.Log.Append(ctx, evs, cells...)
	k.mu.Lock()
	if err != nil {
		for _, e := range ended {
			e.ending = false
		}
		k.tell()
		k.mu.Unlock()
		return err
	}
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
		k.remember(e.req.Cell, e.folder.Held(), e.kept)
		return
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

// Retire lets the kernel take no more cells, and cancels those that wait: it is about to end.
func (k *Kernel) Retire(ctx context.Context) error {
	k.submit.Lock() // a cell is either refused or ended here
	k.mu.Lock()
	k.gone = true
	k.mu.Unlock()
	k.submit.Unlock()
	return k.cancelQueue(ctx, cellhold.StatusCancelled, "The kernel was shut down before the cell could run.")
}

// Die ends the kernel and all its cells because it or its sandbox is gone: s is the status of the
// running cell, and detail one sentence. What the agent said before its end is recorded first. It takes no cells afterwards.
// When it fails, it may be called again.
func (k *Kernel) Die(ctx context.Context, s cellhold.CellStatus, detail string) error {
	drain, cancel := context.WithTimeout(ctx, drainWait)
	k.waitDown(drain)
	cancel()
	k.submit.Lock() // a cell is either refused or ended here
	defer k.submit.Unlock()
	k.mu.Lock()
	k.gone = true
	k.mu.Unlock()
	k.setState(cellhold.KernelDead, s, detail)
	state := cellhold.NewEvent(cellhold.EventKernelState, k.o.ID, "",
		cellhold.KernelStateContent{State: cellhold.KernelDead, Cause: s, Detail: detail})
	return k.endCells(ctx, func() []end {
		list := ends(k.queue, cellhold.StatusCancelled, "It did not run. "+detail)
		if k.current != nil {
			if k.current.overdue {
				s, detail = cellhold.StatusTimeout, "It did not stop at its deadline, and neither did its kernel, so the sandbox was destroyed: the variables are lost."
			}
			list = append(ends([]*entry{k.current}, s, detail), list...)
		}
		return list
	}, state)
}

// Release lets go of whoever waits for cells whose end could not be recorded. Nothing else may be done
// with the kernel afterwards.
func (k *Kernel) Release() {
	k.mu.Lock()
	defer k.mu.Unlock()
	rest := k.queue
	if k.current != nil {
		rest = append([]*entry{k.current}, rest...)
	}
	k.current, k.queue = nil, nil
	for _, e := range rest {
		e.cell = *e.ended(cellhold.CellDoneContent{Status: cellhold.StatusLost, Cause: "The end of the cell could not be recorded."}, time.Now().UTC())
		close(e.done)
	}
	k.tell()
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
