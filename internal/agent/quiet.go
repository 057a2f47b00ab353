package agent

import (
	"context"
	"fmt"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

// prepare has the kernel run code that belongs to no cell. What it puts out is nobody's.
func (k *kernel) prepare(ctx context.Context, r guestapi.Prepare) (guestapi.Prepared, error) {
	switch {
	case r.Timeout <= 0:
		return guestapi.Prepared{}, cellhold.Errorf(cellhold.Invalid, "The timeout of a preparation must be positive.")
	case len(r.Code) > guestapi.MaxCode:
		return guestapi.Prepared{}, cellhold.Errorf(cellhold.Exhausted, "The code has %d bytes; it may have %d.", len(r.Code), guestapi.MaxCode)
	}
	if k.agent.renewing.Load() {
		return guestapi.Prepared{}, errRenewing
	}
	keep := func() {
		if r.Startup {
			k.request.Startup = r.Code
		}
	}
	if r.Code == "" {
		k.mu.Lock()
		defer k.mu.Unlock()
		keep()
		return guestapi.Prepared{}, nil
	}
	c, err := k.hush(r.Timeout, keep)
	if err != nil {
		return guestapi.Prepared{}, err
	}
	d, err := k.quietly(ctx, c, r.Code)
	if err != nil {
		return guestapi.Prepared{}, err
	}
	return guestapi.Prepared{Error: sentence(d.Cause)}, nil
}

// hush makes a cell that nobody hears of the running one, so that no other can run beside it and all that
// bounds cells bounds it: its deadline, and the end of its process. It calls first under the lock when nothing
// is in the way.
func (k *kernel) hush(timeout time.Duration, first func()) (*cell, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.free(); err != nil {
		return nil, err
	}
	first()
	c := &cell{msgID: k.life.client.NewMsgID(), timeout: timeout, life: k.life, quiet: make(chan cellhold.CellDoneContent, 1)}
	k.cell = c
	k.recent.addQuiet(c.msgID)
	k.after(c, timeout, func() { k.expire(c) })
	return c, nil
}

// free says why the kernel cannot run anything now. The caller holds mu.
func (k *kernel) free() error {
	switch {
	case k.state != cellhold.KernelIdle:
		return cellhold.Errorf(cellhold.Conflict, "The kernel is %s.", k.state)
	case k.cell != nil && k.cell.quiet != nil:
		return cellhold.Errorf(cellhold.Conflict, "The kernel is being prepared.")
	case k.cell != nil:
		return cellhold.Errorf(cellhold.Conflict, "The kernel is busy with cell %s.", k.cell.id)
	}
	return nil
}

// quietly runs code as a cell that hush has made, and says how it ended: with a cause where it did not end
// well. The error says that there is no answer: the kernel is gone, or the context has ended. The code goes
// on then, until its deadline.
func (k *kernel) quietly(ctx context.Context, c *cell, code string) (cellhold.CellDoneContent, error) {
	if _, err := c.life.client.Execute(jupyter.ExecuteRequest{MsgID: c.msgID, Code: code, Silent: true}); err != nil {
		// The kernel is ending, and that ends the cell.
		k.log.Debug("silent code not sent", "error", err)
	}
	select {
	case d := <-c.quiet:
		if d.Status == cellhold.StatusOK || d.Status == cellhold.StatusError || c.reply != nil {
			return d, nil
		}
		return d, cellhold.Errorf(cellhold.Conflict, "The kernel was lost: %s", d.Cause)
	case <-ctx.Done():
		return cellhold.CellDoneContent{}, context.Cause(ctx)
	}
}

// exception is what the kernel's answer names, for code whose traceback nobody sees.
func (r *executeReply) exception() string {
	if r.Name == "" {
		return "The code failed."
	}
	return fmt.Sprintf("%s: %s", sentence(r.Name), sentence(r.Value))
}
