package wire

import (
	"context"
	"time"

	"cellhold"
	"cellhold/internal/jupyter"
	"cellhold/internal/record"
)

// Recover adds a cell that a client sent to an earlier server. The caller must add cells in their order, before the
// first client connects. The hub keeps the id and the header of the newest cells whose clients can still wait for an
// answer.
func (h *Hub) Recover(c record.Cell) {
	if c.Request == nil || c.Undone || c.State == cellhold.CellDone && time.Since(c.Ended) > keepFor {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.earlier = append(h.earlier, record.Cell{Cell: cellhold.Cell{ID: c.ID, Kernel: c.Kernel}, Request: &record.Request{Header: c.Request.Header}})
	h.earlier = h.earlier[max(len(h.earlier)-maxRequests, 0):]
}

// takeEarlier removes and returns the cells of a client of an earlier server.
func (h *Hub) takeEarlier(id cellhold.KernelID, name string) (taken []record.Cell) {
	if name == "" {
		return nil // a client without a name cannot return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var rest []record.Cell
	for _, c := range h.earlier {
		if head, _, err := jupyter.DecodeHeader(c.Request.Header); err == nil && c.Kernel == id && head.Session == name {
			taken = append(taken, c)
		} else {
			rest = append(rest, c)
		}
	}
	h.earlier = rest
	return taken
}

// adopt adds a client's requests that an earlier server passed on, and returns them. The caller must hold mu.
func (k *kernel) adopt(c *client, cells []record.Cell) (adopted []*request) {
	for _, cell := range cells {
		h, raw, err := jupyter.DecodeHeader(cell.Request.Header)
		if err != nil || h.Session != c.name || k.requests[h.MsgID] != nil {
			continue
		}
		r := &request{client: c, id: h.MsgID, header: raw, channel: Shell, kind: "execute", cell: cell.ID}
		k.add(r)
		adopted = append(adopted, r)
	}
	return adopted
}

// answerEnded answers the adopted requests whose cells have ended, from the records of the cells. No later event comes
// for these cells.
func (k *kernel) answerEnded(ctx context.Context, adopted []*request, queue Queue) {
	if len(adopted) == 0 {
		return
	}
	open := map[cellhold.CellID]bool{}
	for _, c := range queue.Requested() {
		open[c.ID] = true
	}
	for _, r := range adopted {
		if open[r.cell] {
			continue
		}
		cell, err := k.hub.s.Cell(ctx, r.cell)
		k.mu.Lock()
		switch {
		case err != nil:
			k.refuse(r, err)
		case r.timer == nil: // otherwise the event of its end has come
			k.complete(r, recordedReply(cell))
		}
		k.mu.Unlock()
	}
}

// recordedReply returns the reply for a cell that has ended.
func recordedReply(c record.Cell) map[string]any {
	if c.Status == cellhold.StatusCancelled {
		return map[string]any{"status": "aborted"}
	}
	reply := endReply(cellhold.CellDoneContent{Status: c.Status, Cause: c.Cause, ExecutionCount: c.ExecutionCount})
	for _, o := range c.Outputs {
		if o.Type == cellhold.EventError && o.ErrorValue != nil {
			reply = map[string]any{"status": "error", "ename": o.ErrorName, "evalue": *o.ErrorValue, "traceback": append([]string{}, o.Traceback...)}
		}
	}
	if reply["status"] == "error" && c.ExecutionCount > 0 {
		reply["execution_count"] = c.ExecutionCount
	}
	return reply
}
