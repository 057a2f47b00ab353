package agent

import (
	"encoding/json"
	"strings"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
)

// ask reports that the running cell's code waits for input. Code that was not allowed to ask gets no
// answer from us: the kernel has told it so, unless it forged the question.
func (k *kernel) ask(l *life, m jupyter.Message) {
	var q cellhold.InputRequestContent
	if json.Unmarshal(m.Content, &q) != nil {
		k.stranger(m)
		return
	}
	k.mu.Lock()
	c := k.current(l, m)
	if c == nil || !c.stdin {
		k.mu.Unlock()
		k.stranger(m)
		return
	}
	defer k.mu.Unlock()
	k.markStarted(c)
	q.Prompt = strings.ToValidUTF8(q.Prompt[:min(len(q.Prompt), guestapi.MaxPrompt)], "")
	c.asked = k.spool.Keep(string(c.id), cellhold.EventInputRequest, q)
}

// input answers the question that is open. A question is answered once.
func (k *kernel) input(r guestapi.InputReply) error {
	if len(r.Value) > guestapi.MaxAnswer {
		return cellhold.Errorf(cellhold.Exhausted, "The answer has %d bytes; %d are allowed.", len(r.Value), guestapi.MaxAnswer)
	}
	k.mu.Lock()
	c := k.cell
	if c == nil || c.ending || c.id != r.Cell || c.asked == 0 || c.asked != r.Request {
		k.mu.Unlock()
		return cellhold.Errorf(cellhold.Conflict, "The cell does not wait for this input.")
	}
	c.asked = 0
	k.mu.Unlock()
	// Sent without the lock: a kernel that does not read would stop everything else with it.
	if err := c.life.client.InputReply(r.Value); err != nil {
		// The kernel is ending; the end of the process ends the cell.
		k.log.Debug("input not sent", "cell", c.id, "error", err)
	}
	return nil
}
