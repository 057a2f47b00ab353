package kernels

import (
	"encoding/json"
	"errors"

	"cellhold"
	"cellhold/internal/agent/spool"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

// ask reports that the running cell's code waits for input. It waits for space in the spool like output does, because
// code can ask without end. A new question takes the place of the open one. If the cell does not allow input, the
// request is forged, because the kernel refuses such calls itself. The agent drops a forged request.
func (k *Kernel) ask(p *process, m jupyter.Message) {
	var q cellhold.InputRequestContent
	err := json.Unmarshal(m.Content, &q)
	events := k.asking(p, m)
	if err != nil || events == nil {
		k.countStrange(m)
		return
	}
	q.Prompt = spool.Cut(q.Prompt, guestapi.MaxPrompt)
	content := marshal(q)
	p.await(func(patience spool.Patience) { events.Wait(len(content), patience) })
	k.mu.Lock()
	defer k.mu.Unlock()
	if c := k.current(p, m); c != nil { // it can have ended during the wait
		k.markStarted(c)
		c.asked = k.spool.Try(string(c.id), cellhold.EventInputRequest, content)
	}
}

// asking returns the spool if the running cell can ask for input with this message, and nil otherwise.
func (k *Kernel) asking(p *process, m jupyter.Message) *spool.Spool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c := k.current(p, m); c != nil && c.stdin {
		return k.spool
	}
	return nil
}

// Input answers the open question. Each question is answered once. If the kernel cannot get the answer now, the
// question stays open.
func (k *Kernel) Input(r guestapi.InputReply) error {
	if len(r.Value) > guestapi.MaxAnswer {
		return cellhold.Errorf(cellhold.Exhausted, "The answer has %d bytes; the limit is %d bytes.", len(r.Value), guestapi.MaxAnswer)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.cell
	if c == nil || c.ending || c.id != r.Cell || c.asked == 0 || c.asked != r.Request {
		return cellhold.Errorf(cellhold.Conflict, "The cell is not waiting for this input.")
	}
	err := c.process.client.InputReply(r.Value)
	if errors.Is(err, jupyter.ErrFull) {
		return fullError(err)
	}
	c.asked = 0
	if err != nil {
		// The kernel is ending; the end of the process ends the cell.
		k.log.Debug("input not sent", "cell", c.id, "error", err)
	}
	return nil
}

// fullError returns the error for a message that was not sent because of jupyter.ErrFull.
func fullError(err error) error {
	return cellhold.Wrap(cellhold.Conflict, err, "The kernel does not read its messages. Interrupt it, or restart it.")
}
