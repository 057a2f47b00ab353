package kernel

import (
	"context"

	"cellhold"
	"cellhold/internal/record"
)

// WaitAccepted waits until the agent has accepted a cell, or the cell is done. Then messages that the agent gets later
// reach the kernel after the cell. An unknown cell is done.
func (k *Kernel) WaitAccepted(ctx context.Context, id cellhold.CellID) error {
	k.mu.Lock()
	e := k.find(id)
	k.mu.Unlock()
	if e == nil {
		return nil
	}
	select {
	case <-e.accepted:
	case <-e.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Requested returns the cells of Jupyter clients that are not done, in order.
func (k *Kernel) Requested() (list []record.Cell) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range append([]*entry{k.current}, k.queue...) {
		if e != nil && e.cell.Request != nil {
			list = append(list, e.cell)
		}
	}
	return list
}

// Question returns the number of the open question of the running cell, or 0.
func (k *Kernel) Question() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current == nil || k.current.cell.Input == nil {
		return 0
	}
	return k.current.cell.Input.Request
}

// Answered records that a Jupyter client has answered a question, unless it is closed. A question that was not recorded when
// the client answered it stays open for other callers until the cell asks again or ends. The agent refuses their answers.
func (k *Kernel) Answered(ctx context.Context, question int64) {
	k.mu.Lock()
	e := k.current
	if e == nil || e.cell.Input == nil || e.cell.Input.Request != question {
		k.mu.Unlock()
		return
	}
	q := e.cell.Input
	e.cell.Input, e.asked = nil, 0
	k.mu.Unlock()
	k.recordAnswer(ctx, e.req.Cell, q)
}
