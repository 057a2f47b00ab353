package kernel

import (
	"context"
	"errors"
	"time"

	"cellhold"
	"cellhold/internal/pause"
	"cellhold/internal/record"
)

// dispatch sends cells to the agent, one at a time, and checks that the agent ends them in time.
func (k *Kernel) dispatch(ctx context.Context) {
	for ctx.Err() == nil {
		if k.orphaned() {
			if err := k.cancelQueue(ctx, cellhold.StatusCancelled, "The kernel died before the cell could run."); err != nil {
				k.o.Logger.Error("cancel the cells of a dead kernel", "session", k.o.Session, "err", err)
				pause.For(ctx, retryMost)
			}
			continue
		}
		if e := k.unaccepted(); e != nil {
			k.reportStuck(ctx, e, "the agent accepted no cell for "+acceptWithin.String())
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

// orphaned reports whether cells are queued for a kernel that died and will not restart by itself. After a timeout
// the agent restarts the kernel, and the queued cells stay.
func (k *Kernel) orphaned() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.finallyDead() && k.current == nil && len(k.queue) > 0
}

// nextToSend makes the first queued cell the current one if the kernel is free. It returns the current cell
// if the agent does not have it yet. The cell becomes the current one before it is sent, because its output can
// arrive before the answer to Execute.
func (k *Kernel) nextToSend() *entry {
	k.mu.Lock()
	defer k.mu.Unlock()
	idle := k.state == cellhold.KernelIdle
	if idle && k.current == nil && len(k.queue) > 0 && !k.queue[0].ending {
		k.current, k.queue = k.queue[0], k.queue[1:]
	}
	// A dead kernel gets only a cell that an earlier server can have sent: then the agent knows the cell.
	if k.current != nil && !k.current.sent && (idle || k.finallyDead()) {
		return k.current
	}
	return nil
}

// finallyDead reports whether the kernel is dead and will not restart by itself. A kernel that died of a timeout
// restarts by itself. The caller must hold mu.
func (k *Kernel) finallyDead() bool {
	return k.state == cellhold.KernelDead && k.cause != cellhold.StatusTimeout
}

// send sends a cell to the agent. A second send is harmless: the agent runs each cell once.
func (k *Kernel) send(ctx context.Context, e *entry) {
	k.mu.Lock()
	e.begun = time.Now()
	k.mu.Unlock()
	err := k.o.Link.Execute(ctx, e.req)
	switch {
	case err == nil:
		if k.markSent(e) {
			if err := k.o.Link.Interrupt(ctx, e.req.Cell); err != nil {
				k.o.Logger.Warn("interrupt a cell", "cell", e.req.Cell, "err", err)
			}
		}
	case ctx.Err() != nil:
	case cellhold.KindOf(err) == cellhold.Invalid || cellhold.KindOf(err) == cellhold.NotFound:
		k.finish(ctx, e, cellhold.StatusCancelled, "The agent refused the cell: "+message(err))
	case cellhold.KindOf(err) == cellhold.Conflict && k.isFinallyDead():
		k.finish(ctx, e, cellhold.StatusCancelled, "The kernel died before the cell could run.")
	default:
		// The kernel is restarting, died without a report yet, or cannot be reached. The next event, or the owner
		// of the sandbox, decides.
		k.o.Logger.Debug("send a cell", "cell", e.req.Cell, "err", err)
		e.tries++
		pause.For(ctx, min(retryFirst<<min(e.tries, 10), retryMost))
	}
}

func (k *Kernel) isFinallyDead() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.finallyDead()
}

// unaccepted returns the next cell if the agent has accepted no cell for the time acceptWithin. Otherwise it
// returns nil.
func (k *Kernel) unaccepted() *entry {
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
	if time.Since(k.stalled) < acceptWithin {
		return nil
	}
	return e
}

// markSent records that the agent has the cell, unless the cell is done. It reports whether the cell must be
// interrupted at once.
func (k *Kernel) markSent(e *entry) (unwanted bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current != e {
		return false
	}
	k.stalled = time.Time{}
	if !e.sent {
		close(e.accepted)
	}
	e.sent, e.sentAt = true, time.Now()
	if e.cell.Started.IsZero() {
		e.cell.Started = time.Now().UTC()
	}
	return e.unwanted
}

// countAfter is how long a cell runs before the server counts the earlier memory kills. The count distinguishes them
// from kills of this cell. A count takes processor time from the cell, and most cells are shorter: for them the server
// counts nothing. If the kernel is killed sooner, the last count decides.
const countAfter = 50 * time.Millisecond

// noteOOM stores the number of memory kills before this cell, and starts the measurement of its memory.
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

// message returns the part of an error that is safe to show.
func message(err error) string {
	if e, ok := errors.AsType[*cellhold.Error](err); ok {
		return e.Message
	}
	return "internal error"
}

// waitForWork waits for a change, or for the next check of the running cell: the count of memory kills, or the time
// at which the agent must have ended the cell.
func (k *Kernel) waitForWork(ctx context.Context) {
	e, count, stuck := k.checkTimes()
	if e == nil {
		k.waitForChange(ctx)
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

// waitForChange waits for a change, or until the agent must have accepted a cell.
func (k *Kernel) waitForChange(ctx context.Context) {
	var late <-chan time.Time
	if !k.stalled.IsZero() {
		t := time.NewTimer(acceptWithin - time.Since(k.stalled))
		defer t.Stop()
		late = t.C
	}
	select {
	case <-k.wake:
	case <-late:
	case <-ctx.Done():
	}
}

// checkTimes returns the running cell and the time until each of its checks. It returns nil if no cell runs.
func (k *Kernel) checkTimes() (e *entry, count, stuck time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e = k.current; e == nil || !e.sent {
		return nil, 0, 0
	}
	ran := time.Since(e.sentAt)
	return e, countAfter - ran, e.req.Timeout + stuckAfter - ran
}

// reportStuck reports that the agent does not work, and waits. The owner of the sandbox calls Die, which ends the
// cell.
func (k *Kernel) reportStuck(ctx context.Context, e *entry, why string) {
	k.o.Stuck(why)
	select {
	case <-e.done:
	case <-ctx.Done():
	}
}

// cancelQueue ends all queued cells.
func (k *Kernel) cancelQueue(ctx context.Context, s cellhold.CellStatus, cause string) error {
	k.submit.Lock() // no new cell is queued while the queued cells end
	defer k.submit.Unlock()
	return k.endCells(ctx, func() []end { return ends(k.queue, s, cause) })
}

// finish ends one cell on the server's side.
func (k *Kernel) finish(ctx context.Context, e *entry, s cellhold.CellStatus, cause string) {
	err := k.endCells(ctx, func() []end { return ends([]*entry{e}, s, cause) })
	if err != nil {
		k.o.Logger.Error("end a cell", "cell", e.req.Cell, "err", err)
		pause.For(ctx, retryMost)
	}
}

// end describes the end of a cell on the server's side.
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

// endCells records the events of the parameter more, and then the ends of cells that the agent will not end. Then it
// removes the cells. pick returns the ends; endCells calls pick with mu held. endCells skips cells that are done.
func (k *Kernel) endCells(ctx context.Context, pick func() []end, more ...record.Event) error {
	k.rec.Lock()
	defer k.rec.Unlock()
	evs, cells, ended := more, []*record.Cell(nil), []*entry(nil)
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
		evs = append(evs, record.NewEvent(cellhold.EventCellDone, k.o.ID, x.e.req.Cell, x.content))
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
		k.notify()
		k.mu.Unlock()
		return err
	}
	for i, e := range ended {
		e.cell = *cells[i]
		k.remove(e)
	}
	k.notify()
	k.mu.Unlock()
	k.announce(ended)
	return nil
}

// remove removes a cell that is done. The caller must hold mu.
func (k *Kernel) remove(e *entry) {
	k.o.Log.countRunning(e.held, 0)
	e.held = 0
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

// drainWait limits how long Die waits for the last events of a sandbox that is gone. The events are in a pipe on
// this host, so the wait is short.
const drainWait = 2 * time.Second

// Retire makes the kernel refuse new cells, and cancels the queued ones, before the kernel is shut down.
func (k *Kernel) Retire(ctx context.Context) error {
	k.submit.Lock() // each cell is either refused, or cancelled below
	k.mu.Lock()
	k.gone = true
	k.mu.Unlock()
	k.submit.Unlock()
	return k.cancelQueue(ctx, cellhold.StatusCancelled, "The kernel was shut down before the cell could run.")
}

// Die ends the kernel and all its cells because the kernel or its sandbox is gone. s is the status of the
// running cell, and detail is one sentence. The agent's last events are recorded first. The kernel accepts
// no cells afterwards. If Die fails, it can be called again.
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
	state := record.NewEvent(cellhold.EventKernelState, k.o.ID, "",
		cellhold.KernelStateContent{State: cellhold.KernelDead, Cause: s, Detail: detail})
	return k.endCells(ctx, func() []end {
		list := ends(k.queue, cellhold.StatusCancelled, "The cell was not run. "+detail)
		if k.current != nil {
			if k.current.overdue {
				s, detail = cellhold.StatusTimeout, "The cell and its kernel did not stop at the deadline, so the sandbox was destroyed: the variables are lost."
			}
			list = append(ends([]*entry{k.current}, s, detail), list...)
		}
		return list
	}, state)
}

// Release ends the waits for cells whose end could not be recorded. The kernel must not be used afterwards.
func (k *Kernel) Release() {
	k.mu.Lock()
	defer k.mu.Unlock()
	rest := k.queue
	if k.current != nil {
		rest = append([]*entry{k.current}, rest...)
	}
	k.current, k.queue = nil, nil
	for _, e := range rest {
		k.o.Log.countRunning(e.held, 0)
		e.held = 0
		e.cell = *e.ended(cellhold.CellDoneContent{Status: cellhold.StatusLost, Cause: "The end of the cell could not be recorded."}, time.Now().UTC())
		close(e.done)
	}
	k.notify()
}

// waitDown waits until the link is broken and the events that were read from it are recorded.
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
