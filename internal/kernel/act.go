package kernel

import (
	"context"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/record"
)

// Interrupt interrupts the running cell. If only is not empty, Interrupt interrupts only that cell, and returns nil
// if the cell does not run.
func (k *Kernel) Interrupt(ctx context.Context, only cellhold.CellID) error {
	k.mu.Lock()
	if k.state == cellhold.KernelDead {
		defer k.mu.Unlock()
		return k.deadError()
	}
	e := k.next()
	unsent := e != nil && !e.sent && (only == "" || only == e.req.Cell)
	if unsent {
		e.unwanted = true // the dispatcher interrupts it when the agent has accepted it
	}
	k.mu.Unlock()
	if unsent {
		return nil
	}
	return k.o.Link.Interrupt(ctx, only)
}

// next returns the running cell. If the kernel is idle, it returns the first queued cell, because callers see
// that cell as running. It returns nil if there is no cell. The caller must hold mu.
func (k *Kernel) next() *entry {
	if k.current == nil && len(k.queue) > 0 && k.state == cellhold.KernelIdle {
		return k.queue[0]
	}
	return k.current
}

// Cancel ends a cell: a queued cell never runs, and a running cell is interrupted. It returns the cell as it is
// after the call. If the cell is unknown or done, it returns false.
func (k *Kernel) Cancel(ctx context.Context, id cellhold.CellID) (record.Cell, bool, error) {
	var queued *entry
	err := k.endCells(ctx, func() []end {
		for _, e := range k.queue {
			if e.req.Cell == id {
				queued = e
				return ends([]*entry{e}, cellhold.StatusCancelled, "The cell was cancelled while it was queued.")
			}
		}
		return nil
	})
	if err != nil {
		return record.Cell{}, true, cellhold.Wrap(cellhold.Unavailable, err, "The end of the cell could not be recorded. Check the free space on the server's disk.")
	}
	if queued != nil {
		<-queued.done
		return queued.cell, true, nil
	}
	k.mu.Lock()
	e := k.find(id)
	unsent := e != nil && !e.sent
	if unsent {
		e.unwanted = true // the dispatcher interrupts it when the agent has accepted it
	}
	k.mu.Unlock()
	if e == nil {
		return record.Cell{}, false, nil
	}
	if !unsent {
		err = k.Interrupt(ctx, id)
	}
	c, ok := k.Cell(id)
	if !ok { // ended at the same moment
		<-e.done
		c = e.cell
	}
	return c, true, err
}

// Input answers the question of a cell. Request 0 means the open question. If the cell is unknown or done, Input
// returns false.
func (k *Kernel) Input(ctx context.Context, id cellhold.CellID, request int64, value string) (bool, error) {
	k.mu.Lock()
	e := k.find(id)
	if e == nil {
		k.mu.Unlock()
		return false, nil
	}
	q, source := e.cell.Input, e.asked
	stdin := e.req.AllowStdin
	k.mu.Unlock()
	switch {
	case !stdin:
		return true, cellhold.Errorf(cellhold.Conflict, "The cell cannot ask for input: it was submitted without allow_stdin. Submit the code again with allow_stdin.")
	case q == nil:
		return true, cellhold.Errorf(cellhold.Conflict, "The cell is not asking for input now.")
	case request != 0 && request != q.Request:
		return true, cellhold.Errorf(cellhold.Conflict, "Question %d is closed. Answer the open question: event %d.", request, q.Request)
	}
	err := k.o.Link.Input(ctx, guestapi.InputReply{Cell: id, Request: source, Value: value})
	if err != nil && cellhold.KindOf(err) != cellhold.Conflict {
		return true, err
	}
	k.mu.Lock()
	if e.asked == source {
		e.cell.Input, e.asked = nil, 0
	}
	k.mu.Unlock()
	if err != nil {
		return true, cellhold.Errorf(cellhold.Conflict, "The question is answered already.")
	}
	k.recordAnswer(ctx, id, q)
	return true, nil
}

// recordAnswer records that a question is answered.
func (k *Kernel) recordAnswer(ctx context.Context, id cellhold.CellID, q *cellhold.InputRequest) {
	ev := record.NewEvent(cellhold.EventInputReply, k.o.ID, id, cellhold.InputReplyContent{Request: q.Request})
	if err := k.o.Log.Append(context.WithoutCancel(ctx), []record.Event{ev}); err != nil {
		// The kernel has the answer. After a crash the question would look open, but the agent refuses a
		// second answer.
		k.o.Logger.Error("record an answered question", "cell", id, "err", err)
	}
}

// updateQuestion updates the open question of a cell from a recorded event.
func (e *entry) updateQuestion(ev record.Event) {
	switch ev.Type {
	case cellhold.EventInputRequest:
		var c cellhold.InputRequestContent
		if ev.Decode(&c) == nil {
			e.cell.Input, e.asked = &cellhold.InputRequest{Request: ev.Seq, Prompt: c.Prompt, Password: c.Password}, ev.Source
		}
	case cellhold.EventInputReply:
		var c cellhold.InputReplyContent
		if ev.Decode(&c) == nil && e.cell.Input != nil && e.cell.Input.Request == c.Request {
			e.cell.Input, e.asked = nil, 0
		}
	}
}

// failureCancelsQueue reports whether a failure of the running cell cancels the queued cells.
func (k *Kernel) failureCancelsQueue() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current != nil && k.current.cell.OnError == cellhold.OnErrorCancel
}

// queueEnds returns the ends of the queued cells if c failed and has on_error=cancel. The caller must record them in
// one step with the end of c, so that a reader sees all ends or none.
func (k *Kernel) queueEnds(c *record.Cell) (evs []record.Event, cells []*record.Cell) {
	if c.OnError != cellhold.OnErrorCancel || c.Status == cellhold.StatusOK {
		return nil, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, x := range ends(k.queue, cellhold.StatusCancelled, "An earlier cell with on_error=cancel ended with "+string(c.Status)+".") {
		x.e.ending = true
		ev := record.NewEvent(cellhold.EventCellDone, k.o.ID, x.e.req.Cell, x.content)
		evs = append(evs, ev)
		cells = append(cells, x.e.ended(x.content, time.Now().UTC()))
	}
	return evs, cells
}
