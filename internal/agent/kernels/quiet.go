package kernels

import (
	"context"
	"fmt"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

// Prepare runs code that belongs to no cell in the kernel. Its output is dropped.
func (k *Kernel) Prepare(ctx context.Context, r guestapi.Prepare) (guestapi.Prepared, error) {
	switch {
	case r.Timeout <= 0:
		return guestapi.Prepared{}, cellhold.Errorf(cellhold.Invalid, "The timeout of the preparation is %s; it must be positive.", r.Timeout)
	case len(r.Code) > guestapi.MaxCode:
		return guestapi.Prepared{}, cellhold.Errorf(cellhold.Exhausted, "The code has %d bytes; the limit is %d bytes.", len(r.Code), guestapi.MaxCode)
	}
	if err := k.options.CheckStart(); err != nil {
		return guestapi.Prepared{}, err
	}
	keep := func() {
		if r.Startup {
			k.request.Startup = r.Code
		}
		if r.Dir != "" || len(r.Env) > 0 {
			k.request.Env, k.request.Dir = r.Env, r.Dir
		}
	}
	if r.Code == "" {
		k.mu.Lock()
		defer k.mu.Unlock()
		keep()
		return guestapi.Prepared{}, nil
	}
	c, err := k.admitQuiet(r.Timeout, keep)
	if err != nil {
		return guestapi.Prepared{}, err
	}
	d, err := k.runQuiet(ctx, c, r.Code)
	if err != nil {
		return guestapi.Prepared{}, err
	}
	return guestapi.Prepared{Error: Sentence(d.Cause)}, nil
}

// admitQuiet makes a cell for code of the agent the running one. So no other cell runs at the same time, and
// the bounds of cells hold for it: its deadline, and the end of its process. If the kernel is free,
// admitQuiet calls whenFree while it holds the lock.
func (k *Kernel) admitQuiet(timeout time.Duration, whenFree func()) (*cell, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.checkFree(); err != nil {
		return nil, err
	}
	whenFree()
	c := &cell{msgID: k.process.client.NewOwnID(), timeout: timeout, process: k.process, quiet: make(chan cellhold.CellDoneContent, 1)}
	k.cell = c
	k.recent.addQuiet(c.msgID)
	k.after(c, timeout, func() { k.expire(c) })
	return c, nil
}

// checkFree fails if the kernel cannot run a cell now. The caller must hold mu.
func (k *Kernel) checkFree() error {
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

// runQuiet runs code as a cell of admitQuiet, and returns how it ended, with a cause if it failed. The
// error says that there is no answer, because the kernel was lost or the context ended. After the end of
// the context the code continues until its deadline.
func (k *Kernel) runQuiet(ctx context.Context, c *cell, code string) (cellhold.CellDoneContent, error) {
	if _, err := c.process.client.Execute(jupyter.ExecuteRequest{MsgID: c.msgID, Code: code, Silent: true}); err != nil {
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

// sendQuiet sends code that runs without a cell of its own, right before or after the code of a cell. The caller must
// hold mu.
func (k *Kernel) sendQuiet(p *process, code string) error {
	if code == "" {
		return nil
	}
	id := p.client.NewOwnID()
	k.recent.addQuiet(id)
	_, err := p.client.Execute(jupyter.ExecuteRequest{MsgID: id, Code: code, Silent: true})
	return err
}

// exception returns the exception of an answer, for code whose traceback is not shown.
func (r *executeReply) exception() string {
	if r.Name == "" {
		return "The code failed."
	}
	return fmt.Sprintf("%s: %s", Sentence(r.Name), Sentence(r.Value))
}
