package client

import (
	"context"
	"net/http"

	"cellhold"
)

// Ports returns how programs reach the ports of the session.
func (c *Client) Ports(ctx context.Context, id cellhold.SessionID) (cellhold.PortAccess, error) {
	var p cellhold.PortAccess
	err := c.call(ctx, http.MethodGet, sessionPath(id, "ports"), nil, &p)
	return p, err
}
