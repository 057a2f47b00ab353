package wire

import (
	"context"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/session/terms"
)

const (
	// endTime limits the wait for the end of a cell that has failed. The agent ends a cell some seconds after its reply.
	endTime = 10 * time.Second
	// maxWaiting is the limit of a client's messages that wait for its queued cells.
	maxWaiting = 1000
)

// task is a message on shell, or a queued cell that the messages after it wait for.
type task struct {
	frame     Frame       // unless it is a cell
	size      int64       // its memory
	request   *request    // nil if the message has no reply
	cell      *terms.Cell // nil if the message is not a cell
	submitted bool        // the cell is queued; only its acceptance is awaited
}

// onShell passes on a message after the client's earlier messages. If the message must wait, onShell puts it into a
// list and returns. The call itself must not wait, because messages on control and stdin follow on the same connection.
func (c *client) onShell(ctx context.Context, t task) error {
	c.k.mu.Lock()
	if c.mustWait(t) {
		defer c.k.mu.Unlock()
		return c.hold(t)
	}
	c.k.mu.Unlock()
	if t.cell == nil {
		return c.k.forward(ctx, t.frame)
	}
	if err := c.k.submit(ctx, *t.cell); err != nil {
		return err
	}
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	_ = c.wait(task{cell: t.cell, submitted: true}) // fails only at the end of the session
	return nil
}

// mustWait reports whether a message must wait. Cells do not wait for the acceptance of earlier cells, because the kernel's
// queue keeps their order. The caller must hold mu.
func (c *client) mustWait(t task) bool {
	if c.k.replacing {
		return true // a client that sends a message at once would get an error
	}
	if t.cell == nil {
		return len(c.waiting) > 0
	}
	for _, earlier := range c.waiting {
		if !earlier.submitted {
			return true
		}
	}
	return len(c.failures()) > 0
}

// hold makes a message wait, within the bounds. The caller must hold mu.
func (c *client) hold(t task) error {
	if len(c.waiting) >= maxWaiting || c.held+t.size > guestapi.MaxWireMessage+frameCost || !c.room(t.size, false) {
		return cellhold.Errorf(cellhold.Exhausted, "%d messages of %d bytes wait for queued cells; the limits are %d messages and %d bytes. Send the message when the cells are done.", len(c.waiting), c.held, maxWaiting, guestapi.MaxWireMessage)
	}
	c.held += t.size
	return c.wait(t)
}

// wait adds a task, and starts the goroutine that processes the tasks. The caller must hold mu.
func (c *client) wait(t task) error {
	c.waiting = append(c.waiting, t)
	if len(c.waiting) == 1 && !c.k.hub.goRun(c.sendWaiting) {
		c.forgetWaiting()
		return errNoLink
	}
	return nil
}

// forgetWaiting drops the tasks. The caller must hold mu.
func (c *client) forgetWaiting() {
	c.waiting, c.held = nil, 0
	c.shrink()
}

// sendWaiting processes the tasks of the client in order.
func (c *client) sendWaiting(ctx context.Context) {
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	for len(c.waiting) > 0 {
		t := c.waiting[0]
		c.k.mu.Unlock()
		err := c.do(ctx, t)
		c.k.mu.Lock()
		if ctx.Err() != nil {
			c.forgetWaiting()
			return
		}
		if err != nil && t.request != nil {
			c.k.refuse(t.request, err)
		} else if err != nil {
			c.k.hub.out.Debug("send a message that waited", "kernel", c.k.id, "err", err)
		}
		c.waiting[0] = task{}
		c.waiting = c.waiting[1:]
		c.held -= t.size
		c.shrink()
	}
	c.waiting = nil
}

// do passes on one message that waited. After a cell it waits until the agent has accepted the cell.
func (c *client) do(ctx context.Context, t task) error {
	if !t.submitted {
		c.k.awaitProcess(ctx)
		if t.cell == nil {
			return c.k.forward(ctx, t.frame)
		}
		c.awaitFailures(ctx)
		if err := c.k.submit(ctx, *t.cell); err != nil {
			return err
		}
	}
	_, queue, err := c.k.hub.s.Kernel(c.k.id)
	if err == nil {
		_ = queue.WaitAccepted(ctx, t.cell.ID) // fails only if ctx ends
	}
	return nil
}

// failures returns the cells whose end is not recorded, but whose failure the client knows from the reply. The caller
// must hold mu.
func (c *client) failures() (list []cellhold.CellID) {
	for id, r := range c.k.cells {
		if r.client == c && r.failed {
			list = append(list, id)
		}
	}
	return list
}

// awaitFailures waits for the recorded ends of the cells that failures returns. The end of such a cell cancels the
// queue. The client knows of the failure, so its next cell must run.
func (c *client) awaitFailures(ctx context.Context) {
	c.k.mu.Lock()
	failed := c.failures()
	c.k.mu.Unlock()
	_, queue, err := c.k.hub.s.Kernel(c.k.id)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	for _, id := range failed {
		_, _, _ = queue.Wait(ctx, id) // after endTime, the cell can be cancelled
	}
}

// submit queues a cell. It opens the link first, so that the client sees all messages of the cell.
func (k *kernel) submit(ctx context.Context, cell terms.Cell) error {
	if err := k.reach(ctx, func(Link) error { return nil }); err != nil && err != errUnwanted {
		return err
	}
	return k.hub.s.Submit(ctx, cell)
}
