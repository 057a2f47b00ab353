package client

import (
	"context"
	"net/http"
	"net/url"

	"cellhold"
)

// Cancel cancels a queued cell or interrupts a running one, and returns the cell. If the cell is done, Cancel
// returns a Conflict error.
func (c *Client) Cancel(ctx context.Context, id cellhold.SessionID, cell cellhold.CellID) (cellhold.Cell, error) {
	var out cellhold.Cell
	err := c.call(ctx, http.MethodPost, sessionPath(id, "cells", string(cell), "cancel"), nil, &out)
	return out, err
}

// InterruptCell interrupts a cell if the cell is running. It never interrupts another cell. If k is empty, the cell
// belongs to the first kernel.
func (c *Client) InterruptCell(ctx context.Context, id cellhold.SessionID, k cellhold.KernelID, cell cellhold.CellID) error {
	q := url.Values{"cell": {string(cell)}}
	if k != "" {
		q.Set("kernel", string(k))
	}
	return c.call(ctx, http.MethodPost, sessionPath(id, "interrupt")+"?"+q.Encode(), nil, nil)
}

// Answer answers a question of a cell. request is the number of the input_request event; 0 means the open
// question.
func (c *Client) Answer(ctx context.Context, id cellhold.SessionID, cell cellhold.CellID, request int64, value string) error {
	body := struct {
		Value   string `json:"value"`
		Request int64  `json:"request,omitempty"`
	}{value, request}
	return c.call(ctx, http.MethodPost, sessionPath(id, "cells", string(cell), "input"), body, nil)
}
