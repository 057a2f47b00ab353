package client

import (
	"context"
	"net/http"
	"net/url"

	"cellhold"
)

// Cancel ends a cell: one that waits never runs, one that runs is interrupted. It returns the cell as it
// is then. A cell that is done is a conflict.
func (c *Client) Cancel(ctx context.Context, id cellhold.SessionID, cell cellhold.CellID) (cellhold.Cell, error) {
	var out cellhold.Cell
	err := c.call(ctx, http.MethodPost, sessionPath(id, "cells", string(cell), "cancel"), nil, &out)
	return out, err
}

// InterruptCell interrupts a cell if it runs, and never another one; an empty kernel is the first.
func (c *Client) InterruptCell(ctx context.Context, id cellhold.SessionID, k cellhold.KernelID, cell cellhold.CellID) error {
	q := url.Values{"cell": {string(cell)}}
	if k != "" {
		q.Set("kernel", string(k))
	}
	return c.call(ctx, http.MethodPost, sessionPath(id, "interrupt")+"?"+q.Encode(), nil, nil)
}

// Answer gives a cell what it asks for. The request is the number of the input_request event; 0 answers
// whatever is asked now.
func (c *Client) Answer(ctx context.Context, id cellhold.SessionID, cell cellhold.CellID, request int64, value string) error {
	body := struct {
		Value   string `json:"value"`
		Request int64  `json:"request,omitempty"`
	}{value, request}
	return c.call(ctx, http.MethodPost, sessionPath(id, "cells", string(cell), "input"), body, nil)
}
