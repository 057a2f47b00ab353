package kernel

import (
	"context"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
)

// Interrupt stops what the kernel is running, or only that cell if one is named: it never hits another
// one. That nothing runs is no error.
func (k *Kernel) Interrupt(ctx context.Context, only cellhold.CellID) error {
	k.mu.Lock()
	if k.state == cellhold.KernelDead {
		defer k.mu.Unlock()
		return k.deadError()
	}
	e := k.next()
	onItsWay := e != nil && !e.sent && (only == "" || only == e.req.Cell)
	if onItsWay {
		e.unwanted = true // the dispatcher interrupts it once the agent has it
	}
	k.mu.Unlock()
	if onItsWay {
		return nil
	}
	return k.o.Link.Interrupt(ctx, only)
}

// next is the running cell, or the one that an idle kernel runs next: to who submitted it, it is
// running. It is nil when there is none. The caller holds mu.
func (k *Kernel) next() *entry {
	if k.current == nil && len(k.queue) > 0 && k.state == cellhold.KernelIdle {
		return k.queue[0]
	}
	return k.current
}

// Cancel ends a cell: one that waits never runs, one that runs is interrupted. It returns the cell as it
// is then, false when there is no such cell that is not done.
func (k *Kernel) Cancel(ctx context.Context, id cellhold.CellID) (cellhold.Cell, bool, error) {
	var waiting *entry
	err := k.endCells(ctx, func() []end {
		for _, e := range k.queue {
			if e.req.Cell == id {
				waiting = e
				return ends([]*entry{e}, cellhold.StatusCancelled, "It was cancelled while it waited.")
			}
		}
		return nil
	})
	if err != nil {
		return cellhold.Cell{}, true, cellhold.Wrap(cellhold.Unavailable, err, "The end of the cell could not be recorded. Is the server's disk full?")
	}
	if waiting != nil {
		<-waiting.done
		return waiting.cell, true, nil
	}
	k.mu.Lock()
	e := k.find(id)
	unsent := e != nil && !e.sent
	if unsent {
		e.unwanted = true // the dispatcher interrupts it once the agent has it
	}
	k.mu.Unlock()
	if e == nil {
		return cellhold.Cell{}, false, nil
	}
	if !unsent {
		err = k.Interrupt(ctx, id)
	}
	c, ok := k.Cell(id)
	if !ok { // done at the same moment
		<-e.done
		c = e.cell
	}
	return c, true, err
}

// Input answers what a cell asks for. A request of 0 answers whatever is asked now. It is false when
// there is no such cell that is not done.
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
		return true, cellhold.Errorf(cellhold.Conflict, "The cell may not ask for input: it was submitted without allow_stdin.")
	case q == nil:
		return true, cellhold.Errorf(cellhold.Conflict, "The cell does not ask for input now.")
	case request != 0 && request != q.Request:
		return true, cellhold.Errorf(cellhold.Conflict, "That question is closed; the cell asks another one now, as event %d says.", q.Request)
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
		return true, cellhold.Errorf(cellhold.Conflict, "The question was answered already.")
	}
	ev := cellhold.NewEvent(cellhold.EventInputReply, k.o.ID, id, cellhold.InputReplyContent{Request: q.Request})
	if err := k.o.Log.Append(context.WithoutCancel(ctx), []cellhold.Event{ev}); err != nil {
		// The kernel has the answer. After a crash the question would seem open, and the agent knows better.
		k.o.Logger.Error("recording that input was given", "cell", id, "err", err)
	}
	return true, nil
}

// asks notes what a recorded event says of the input that a cell waits for.
func (e *entry) asks(ev cellhold.Event) {
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

// cancelsRest reports whether the running cell takes those that wait with it when it ends badly.
func (k *Kernel) cancelsRest() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current != nil && k.current.cell.OnError == cellhold.OnErrorCancel
}

// cancelRest returns the ends of the cells that wait behind one that ended badly, when its caller asked
// for that. They are recorded together with its own end, so no reader sees one without the other.
func (k *Kernel) cancelRest(c *cellhold.Cell) (evs []cellhold.Event, cells []*cellhold.Cell) {
	if c.OnError != cellhold.OnErrorCancel || c.Status == cellhold.StatusOK {
		return nil, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, x := range ends(k.queue, cellhold.StatusCancelled, "A cell before it ended with "+string(c.Status)+" and asked for this.") {
		x.e.ending = true
		ev := cellhold.NewEvent(cellhold.EventCellDone, k.o.ID, x.e.req.Cell, x.content)
		evs = append(evs, ev)
		cells = append(cells, x.e.ended(x.content, time.Now().UTC()))
	}
	return evs, cells
}
