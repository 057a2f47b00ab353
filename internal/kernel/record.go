package kernel

import (
	"context"
	"slices"
	"syscall"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/notebook"
	"cellhold/internal/pause"
	"cellhold/internal/record"
)

// record records the events of the reader, batch by batch.
func (k *Kernel) record(ctx context.Context) {
	defer k.lastLate(ctx)
	for {
		batch, err := k.takeBatch(ctx)
		if err != nil {
			return
		}
		for wait := retryFirst; ; wait = min(2*wait, retryMost) {
			err := k.keep(ctx, batch)
			if err == nil {
				break
			}
			// No event is lost: the agent keeps the events until they are acknowledged.
			k.o.Logger.Error("record events", "session", k.o.Session, "kernel", k.o.ID, "err", err)
			if !pause.For(ctx, wait) {
				return
			}
		}
		batch = nil // the journal has the events
		k.inbox.recorded()
		k.ack(ctx)
	}
}

// keep records a batch and applies it.
func (k *Kernel) keep(ctx context.Context, batch []guestapi.Event) error {
	for len(batch) > 0 {
		n := lateFrom(batch)
		if err := k.keepPart(ctx, batch[:n]); err != nil {
			return err // the caller retries the whole batch; the events' numbers show which are recorded
		}
		batch = batch[n:]
	}
	return nil
}

// lateFrom returns the index of the first output whose cell has ended earlier in the batch, or the length of the
// batch. Such output is late, and must be recorded after the end of its cell.
func lateFrom(batch []guestapi.Event) int {
	end := slices.IndexFunc(batch, func(g guestapi.Event) bool { return g.Type == cellhold.EventCellDone })
	if end < 0 {
		return len(batch)
	}
	for i, g := range batch[end+1:] {
		if isOutput(g.Type) && slices.ContainsFunc(batch[:end+1+i], func(d guestapi.Event) bool {
			return d.Type == cellhold.EventCellDone && d.Cell == g.Cell
		}) {
			return end + 1 + i
		}
	}
	return len(batch)
}

// addition has the events and records that a batch of the agent's events adds to the journal.
type addition struct {
	events []record.Event
	cells  []*record.Cell // records of the cells that end
	cursor int64          // number of the newest event
	size   int64          // content of all events, dropped ones included
	kept   int64          // bytes of the journal that events takes
}

// add adds an event. An event without space is only counted.
func (r *addition) add(ev record.Event, space bool) {
	size := int64(len(ev.Content))
	r.size += size
	if space {
		r.events = append(r.events, ev)
		r.kept += size + eventCost
	}
}

// keepPart records events and applies them.
func (k *Kernel) keepPart(ctx context.Context, batch []guestapi.Event) error {
	if k.failureCancelsQueue() { // each new cell must be cancelled too, or be queued after the end of the running cell
		k.submit.Lock()
		defer k.submit.Unlock()
	}
	k.rec.Lock()
	defer k.rec.Unlock()
	r := k.collect(ctx, batch)
	r.events = append(r.events, k.dropped(reportDropped)...)
	if len(r.events) > 0 {
		if err := k.o.Log.Append(ctx, r.events, r.cells...); err != nil {
			return err
		}
	}
	k.apply(r)
	return nil
}

// collect returns the addition to the journal for a batch. It leaves out replays after a reconnect, and
// second ends of a cell. The caller must hold rec.
func (k *Kernel) collect(ctx context.Context, batch []guestapi.Event) *addition {
	r := &addition{cursor: k.cursor}
	for _, g := range batch {
		if g.Seq <= r.cursor {
			continue // a replay
		}
		r.cursor = g.Seq
		if g.Type == cellhold.EventCellDone && !k.isCurrent(g.Cell) {
			continue // the server ended this cell itself; a cell has one end
		}
		k.collectEvent(ctx, r, g)
	}
	return r
}

// collectEvent adds one event within the bounds of the journal, and folds it into the outputs of its cell.
func (k *Kernel) collectEvent(ctx context.Context, r *addition, g guestapi.Event) {
	d := k.lateCell(g.Type, g.Cell)
	space := k.hasSpace(g, d, r.kept)
	if g.Type == cellhold.EventCellDone {
		r.events = append(r.events, k.dropped(1)...)
	}
	ev := k.hostEvent(ctx, g)
	r.add(ev, space)
	switch {
	case d == nil:
		// An event without space is folded too: the end of a long output is worth more than its middle.
		if c := k.fold(ev); c != nil {
			k.collectEnd(ctx, r, c)
		}
	case space: // without space, a late event is not folded: it is not worth another write of the record
		k.foldLate(ctx, d, ev)
	}
}

// collectEnd adds the record of a cell that ends, and the cells that its end cancels.
func (k *Kernel) collectEnd(ctx context.Context, r *addition, c *record.Cell) {
	r.cells = append(r.cells, c)
	k.updateDisplays(ctx, *c)
	events, cells := k.queueEnds(c)
	r.events, r.cells = append(r.events, events...), append(r.cells, cells...)
}

// Bounds of output in the journal, because all sessions share the disk. Output beyond them is dropped,
// counted and reported. One cell can fill a quarter of its session's bound.
const (
	defaultCellOutput    = 256 << 20
	defaultSessionOutput = 1 << 30
	// eventCost is the size of an event in the journal without its content.
	eventCost = 256
	// reserve is space above the bounds for exceptions, questions and reports of dropped output. Other output cannot
	// use it. So a cell with too much output can still report its exception, and ask its question.
	reserve = 1 << 20
	// reportDropped is the number of dropped bytes after which the server reports them while the cell runs. A
	// server that is killed loses at most this part of the count.
	reportDropped = 16 << 20
)

// hasSpace reports whether an event can be recorded. It refuses only output and questions. pending is the
// size of the events that will be recorded before this event. If the journal fails, the event is retried and
// counts twice for its cell, which is rare and harmless. The caller must hold rec.
func (k *Kernel) hasSpace(g guestapi.Event, d *doneCell, pending int64) bool {
	switch g.Type {
	case cellhold.EventStream, cellhold.EventDisplayData, cellhold.EventExecuteResult, cellhold.EventError,
		cellhold.EventUpdateDisplayData, cellhold.EventClearOutput,
		cellhold.EventInputRequest: // code can forge any number of them
	default:
		return true
	}
	size := int64(len(g.Content)) + eventCost
	need := size
	if g.Type == cellhold.EventError || g.Type == cellhold.EventInputRequest {
		need -= reserve
	}
	kept := k.o.Log.Kept() + pending
	k.mu.Lock()
	defer k.mu.Unlock()
	var cell *int64
	var lost *cellhold.OutputDroppedContent
	if e := k.current; d != nil {
		cell, lost = &d.kept, &d.lost
	} else if e != nil && e.req.Cell == g.Cell {
		cell, lost = &e.kept, &e.lost
	}
	if kept+need > k.o.SessionOutput || cell != nil && *cell+need > k.o.CellOutput {
		if lost != nil {
			lost.Bytes += int64(len(g.Content))
			lost.Messages++
			if d != nil && k.canReport() {
				k.startLate()
			}
		}
		return false
	}
	if cell != nil {
		*cell += size
	}
	return true
}

// dropped returns the event that reports dropped output of the running cell, if at least atLeast bytes were
// dropped. The event is for readers: the output itself was folded.
func (k *Kernel) dropped(atLeast int64) []record.Event {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.current
	if e == nil || e.lost.Bytes < atLeast {
		return nil
	}
	ev := record.NewEvent(cellhold.EventOutputDropped, k.o.ID, e.req.Cell, e.lost)
	e.lost = cellhold.OutputDroppedContent{}
	return []record.Event{ev}
}

// isCurrent reports whether a cell is the running one.
func (k *Kernel) isCurrent(id cellhold.CellID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current != nil && k.current.req.Cell == id
}

// hostEvent converts an event of the agent to the recorded form, and adds the facts that only the host knows.
func (k *Kernel) hostEvent(ctx context.Context, g guestapi.Event) record.Event {
	ev := record.Event{Event: cellhold.Event{Time: g.Time, Kernel: k.o.ID, Cell: g.Cell, Type: g.Type, Content: g.Content},
		Boot: k.o.Boot, Source: g.Seq}
	switch g.Type {
	case cellhold.EventCellDone:
		var c cellhold.CellDoneContent
		if ev.Decode(&c) != nil {
			return ev
		}
		if c.FilesChanged {
			k.mirror(ctx)
		}
		if c.Status == cellhold.StatusSignal && k.killedForMemory {
			c.Status, c.Cause = cellhold.StatusOOM, "The kernel was killed because it exceeded the session's memory limit."
		}
		c.Usage = k.used(ctx, g.Cell, c.Usage, g.Time)
		ev.Content = record.NewEvent(ev.Type, "", "", c).Content
	case cellhold.EventKernelState:
		var c cellhold.KernelStateContent
		if ev.Decode(&c) != nil {
			return ev
		}
		if c.State == cellhold.KernelDead { // this event comes before the end of the cell
			k.killedForMemory = c.Signal == int(syscall.SIGKILL) && k.ranOutOfMemory(ctx)
		}
		if c.State == cellhold.KernelDead && k.killedForMemory {
			c.Cause, c.Detail = cellhold.StatusOOM, "The kernel was killed because it exceeded the session's memory limit."
			ev.Content = record.NewEvent(ev.Type, "", "", c).Content
		}
	}
	return ev
}

// used completes the agent's report of the running cell's usage. A batch that could not be recorded is retried, so
// used stores the result.
func (k *Kernel) used(ctx context.Context, id cellhold.CellID, u *cellhold.Usage, at time.Time) *cellhold.Usage {
	if u == nil {
		u = &cellhold.Usage{}
	}
	if k.o.Memory != nil {
		u.PeakMemory = k.o.Memory.End(ctx, id)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.current
	if e == nil || e.req.Cell != id {
		return u
	}
	if e.usage == nil {
		u.Wall = e.wall(at)
		e.usage = u
	}
	return e.usage
}

// wall returns the seconds that the cell ran, from Started to Ended in its record. These times come from
// the guest. So the result is at most the time since the server sent the cell.
func (e *entry) wall(end time.Time) float64 {
	d := time.Duration(0)
	if !e.cell.Started.IsZero() {
		d = end.Sub(e.cell.Started)
	}
	if !e.begun.IsZero() {
		d = min(d, time.Since(e.begun))
	}
	return max(d.Round(time.Microsecond), 0).Seconds()
}

// mirror copies the guest's output files. A failure is only logged, for the operator; the cell is done
// anyway.
func (k *Kernel) mirror(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, mirrorTimeout)
	defer cancel()
	if err := k.o.Mirror(ctx); err != nil {
		k.o.Logger.Warn("copy the output files", "session", k.o.Session, "err", err)
	}
}

// ranOutOfMemory reports whether the host has killed a process of the sandbox for lack of memory since the last
// count that noteOOM or applyState stored.
func (k *Kernel) ranOutOfMemory(ctx context.Context) bool {
	n, err := k.o.OOMKills(ctx)
	if err != nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.killed = n
	return n > k.oom
}

// fold adds an event to the outputs of its cell. If the event ends the cell, fold returns the cell's record. A batch
// that could not be recorded is retried, so fold adds each event only once.
func (k *Kernel) fold(ev record.Event) *record.Cell {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.current
	if e == nil || ev.Cell != e.req.Cell {
		return nil // late output, or the server ended the cell itself
	}
	switch ev.Type {
	case cellhold.EventCellStarted:
		e.cell.State, e.cell.Started = cellhold.CellRunning, ev.Time
	case cellhold.EventCellDone:
		var c cellhold.CellDoneContent
		if ev.Decode(&c) != nil {
			c.Status = cellhold.StatusLost
		}
		return e.ended(c, ev.Time)
	case cellhold.EventInputRequest: // applied later, when it has its number
	default:
		if ev.Source <= e.folded {
			break
		}
		e.folded = ev.Source
		k.foldOutput(e, ev)
	}
	return nil
}

// foldOutput adds an output to a running cell. If the outputs of the running cells have too much memory already, a display
// is left out of the cell. It stays in the events. The caller must hold mu.
func (k *Kernel) foldOutput(e *entry, ev record.Event) {
	size := int64(0)
	switch ev.Type {
	case cellhold.EventDisplayData, cellhold.EventExecuteResult, cellhold.EventUpdateDisplayData:
		size = int64(len(ev.Content))
	}
	if size == 0 || k.o.Log.reserveRunning(e.held, e.held+size) {
		e.held += size
		if err := e.folder.Add(ev.Event); err != nil {
			k.o.Logger.Warn("fold output", "cell", e.req.Cell, "err", err)
		}
	} else {
		e.folder.LeaveOut(size)
	}
	now := e.folder.Held()
	k.o.Log.countRunning(e.held, now)
	e.held = now
}

// updateDisplays passes on the displays that a cell updated in other cells.
func (k *Kernel) updateDisplays(ctx context.Context, c record.Cell) {
	k.mu.Lock()
	var updates []notebook.Update
	if k.current != nil {
		updates = k.current.folder.Updates()
	}
	k.mu.Unlock()
	if len(updates) > 0 && k.o.Updates != nil {
		k.updateLate(updates, nil)
		k.o.Updates(ctx, c, updates)
	}
}

// ended returns the record of the cell as done.
func (e *entry) ended(c cellhold.CellDoneContent, at time.Time) *record.Cell {
	cell := e.cell
	cell.State, cell.Status, cell.Cause = cellhold.CellDone, c.Status, c.Cause
	cell.ExecutionCount, cell.Ended = c.ExecutionCount, at
	cell.Usage, cell.Input = c.Usage, nil
	cell.Files, cell.MoreFiles = c.Files, c.MoreFiles
	e.fill(&cell)
	return &cell
}

// fill stores the output so far in the cell's record.
func (e *entry) fill(c *record.Cell) {
	c.Outputs, c.Bytes, c.Omitted = e.folder.Outputs(), e.folder.Bytes(), e.folder.Dropped()
	c.Truncated = c.Omitted > 0
}

// apply updates the kernel from the recorded events, and wakes all waiters.
func (k *Kernel) apply(r *addition) {
	k.mu.Lock()
	k.cursor = r.cursor
	k.unacked += r.size
	k.arrived(r.events)
	for _, ev := range r.events {
		if ev.Type == cellhold.EventKernelState {
			k.applyState(ev)
		}
		if ev.Type == cellhold.EventInputRequest && k.current != nil && k.current.req.Cell == ev.Cell {
			k.current.updateQuestion(ev)
		}
	}
	var done []*entry
	for _, c := range r.cells {
		if e := k.find(c.ID); e != nil {
			e.cell = *c
			done = append(done, e)
			k.remove(e)
		}
	}
	k.notify()
	k.mu.Unlock()
	k.announce(done)
}

// applyState applies a state event of the agent. The caller must hold mu.
func (k *Kernel) applyState(ev record.Event) {
	var c cellhold.KernelStateContent
	if ev.Decode(&c) != nil {
		return
	}
	if k.gone {
		return
	}
	if c.State == cellhold.KernelRestarting {
		k.restarts++
	}
	k.state, k.cause, k.detail = c.State, c.Cause, c.Detail
	if c.State != cellhold.KernelDead {
		k.oom = max(k.oom, k.killed) // earlier kills belong to the process before
	}
	if c.State == cellhold.KernelBusy {
		k.state = cellhold.KernelIdle // busy is derived from the cells
	}
	if c.Info != nil {
		k.info = c.Info
	}
}

// announce wakes the waiters for these cells.
func (k *Kernel) announce(done []*entry) {
	for _, e := range done {
		if k.o.Done != nil {
			k.o.Done(e.cell) // called first, so that waiters find the session up to date
		}
		close(e.done)
	}
}
