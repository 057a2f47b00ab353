package kernels

import (
	"encoding/json"
	"strings"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

// ask reports that the running cell's code waits for input. If the cell does not allow input, the request is
// forged, because the kernel refuses such calls itself. The agent drops a forged request.
func (k *Kernel) ask(p *process, m jupyter.Message) {
	var q cellhold.InputRequestContent
	if json.Unmarshal(m.Content, &q) != nil {
		k.countStrange(m)
		return
	}
	k.mu.Lock()
	c := k.current(p, m)
	if c == nil || !c.stdin {
		k.mu.Unlock()
		k.countStrange(m)
		return
	}
	defer k.mu.Unlock()
	k.markStarted(c)
	q.Prompt = strings.ToValidUTF8(q.Prompt[:min(len(q.Prompt), guestapi.MaxPrompt)], "")
	c.asked = k.spool.Keep(string(c.id), cellhold.EventInputRequest, q)
}

// Input answers the open question. Each question is answered once.
func (k *Kernel) Input(r guestapi.InputReply) error {
	if len(r.Value) > guestapi.MaxAnswer {
		return cellhold.Errorf(cellhold.Exhausted, "The answer has %d bytes; the limit is %d bytes.", len(r.Value), guestapi.MaxAnswer)
	}
	k.mu.Lock()
	c := k.cell
	if c == nil || c.ending || c.id != r.Cell || c.asked == 0 || c.asked != r.Request {
		k.mu.Unlock()
		return cellhold.Errorf(cellhold.Conflict, "The cell is not waiting for this input.")
	}
	c.asked = 0
	k.mu.Unlock()
	// InputReply is called without the lock: a kernel that does not read would block everything else.
	if err := c.process.client.InputReply(r.Value); err != nil {
		// The kernel is ending; the end of the process ends the cell.
		k.log.Debug("input not sent", "cell", c.id, "error", err)
	}
	return nil
}
