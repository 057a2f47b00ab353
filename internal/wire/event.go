package wire

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"cellhold"
	"cellhold/internal/record"
)

// maxDeaths is the number of times that a kernel which dies is restarted for its clients, without a cell that ends well
// in between.
const maxDeaths = 5

// event passes an event of the session on.
func (k *kernel) event(ctx context.Context, ev record.Event) {
	switch ev.Type {
	case cellhold.EventCellDone:
		var c cellhold.CellDoneContent
		if ev.Decode(&c) == nil {
			k.cellDone(ev.Cell, c)
		}
	case cellhold.EventKernelState:
		var c cellhold.KernelStateContent
		if ev.Decode(&c) != nil {
			return
		}
		if c.State == cellhold.KernelDead && k.wanted() {
			k.probe(ctx) // waits for the last messages of the process: the agent refuses the probe after them
		}
		k.stateChanged(c)
	}
}

// cellDone completes the request of a cell. A cell that was cancelled in the queue has no messages of the kernel. For
// all other cells the kernel's own answers are preferred.
func (k *kernel) cellDone(id cellhold.CellID, c cellhold.CellDoneContent) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.Status == cellhold.StatusOK {
		k.deaths = 0
	}
	r := k.cells[id]
	switch {
	case r == nil:
	case r.replied && r.idle:
		k.remove(r)
	case c.Status == cellhold.StatusCancelled:
		k.complete(r, map[string]any{"status": "aborted"})
	default:
		r.timer = time.AfterFunc(grace, func() {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.complete(r, endReply(c))
		})
	}
}

// endReply is the reply for a cell without a reply of the kernel.
func endReply(c cellhold.CellDoneContent) map[string]any {
	if c.Status == cellhold.StatusOK {
		return map[string]any{"status": "ok", "execution_count": c.ExecutionCount, "user_expressions": struct{}{}, "payload": []any{}}
	}
	text := c.Cause
	if text == "" {
		text = "The kernel did not answer."
	}
	return errorReply(string(c.Status), text)
}

// stateChanged reports a change of the kernel's process to the clients.
func (k *kernel) stateChanged(c cellhold.KernelStateContent) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch c.State {
	case cellhold.KernelRestarting:
		if !k.replacing { // a caller asked for it
			k.deaths = 0
			k.renew()
		}
	case cellhold.KernelIdle:
		if k.renewed {
			k.state("idle")
		}
		k.replacing, k.renewed, k.dead = false, false, false
		k.notify()
		k.learnAgain()
		select {
		case k.retry <- struct{}{}:
		default:
		}
	case cellhold.KernelDead:
		if !k.dead && !k.restarting { // a new sandbox reports again that the kernel of the old sandbox died
			k.died(c)
		}
	}
}

// replace tells the clients that a process which died is being replaced. Front ends then forget their requests, and tell
// their users that the kernel died. The caller must hold mu.
func (k *kernel) replace() {
	k.state("restarting")
	k.forgetProcess()
}

// renew tells the clients that a caller has asked for another process. As in a Jupyter server they see only that a process
// starts, because front ends take the state restarting for a death. So requests without a cell get an answer here. The
// caller must hold mu.
func (k *kernel) renew() {
	k.state("starting")
	k.replacing, k.renewed = true, true
	for _, r := range k.requests {
		if r.cell == "" {
			k.complete(r, errorReply("Restarted", "The kernel was restarted before it answered."))
		}
	}
	k.forgetProcess()
}

// state sends a state of the kernel to all clients. The caller must hold mu.
func (k *kernel) state(state string) {
	k.dead, k.replacing, k.renewed = state == "dead", state == "restarting", false
	k.notify()
	k.publish(k.make(IOPub, "status", nil, map[string]any{"execution_state": state}), "status")
}

// died reports the death of the process, with its cause, and replaces the process. The caller must hold mu.
func (k *kernel) died(c cellhold.KernelStateContent) {
	removed := c.Cause == "" || c.Cause == cellhold.StatusInterrupted // a caller removed the kernel
	if removed || k.hub.s.Ended() {
		k.state("dead")
		if removed {
			k.hub.remove(k)
			k.finish(io.EOF)
		}
		return
	}
	k.deaths++
	again := k.deaths <= maxDeaths && len(k.clients) > 0
	text := c.Detail
	if again {
		text += " The kernel is restarted; its variables are lost."
	}
	k.publish(k.make(IOPub, "stream", k.running(), streamContent(text+"\n")), "error") // as an error, so that full queues do not drop the cause
	if !again {
		k.state("dead")
		return
	}
	k.replace()
	if c.Cause == cellhold.StatusTimeout {
		return // the agent restarts it
	}
	k.restarting = k.hub.goRun(k.restart)
}

// startTime limits the wait for another process of a kernel.
const startTime = 2 * time.Minute

// awaitProcess waits while the process of the kernel is being replaced. Otherwise a client that continues at once would get
// an error.
func (k *kernel) awaitProcess(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		k.mu.Lock()
		waits, changed := k.replacing && k.ended == nil, k.changed
		k.mu.Unlock()
		if !waits {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// running returns the header of the running cell, so that front ends show a message with it. The caller must hold mu.
func (k *kernel) running() json.RawMessage {
	for _, r := range k.cells {
		if r.busy && !r.idle {
			return r.header
		}
	}
	return nil
}

// restart replaces the process of a dead kernel.
func (k *kernel) restart(ctx context.Context) {
	err := k.hub.s.Restart(ctx, k.id)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.restarting = false
	if err == nil || ctx.Err() != nil {
		return
	}
	k.hub.out.Warn("restart a kernel for its clients", "kernel", k.id, "err", err)
	k.state("dead")
}
