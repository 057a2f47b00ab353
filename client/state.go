package client

import (
	"context"
	"net/http"

	"cellhold"
)

// ServerStatus has numbers for the monitoring of a server.
type ServerStatus struct {
	Sessions   int   `json:"sessions"`   // sessions of the caller, including ended ones that can still be read
	Goroutines int   `json:"goroutines"` // a number that only grows is a leak
	Heap       int64 `json:"heap"`       // bytes in use
	Uptime     int64 `json:"uptime"`     // seconds since the server started
}

// Status returns numbers for the monitoring of the server. It needs a token.
func (c *Client) Status(ctx context.Context) (ServerStatus, error) {
	var s ServerStatus
	err := c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
	return s, err
}

// Health returns nil if the server's process answers, even if the server is not ready. It needs no token.
func (c *Client) Health(ctx context.Context) error {
	return c.call(ctx, http.MethodGet, "/v1/health", nil, nil)
}

// SetDeadline sets the deadline of a session to seconds from now, more than 0 and at most 86400. At the deadline, the
// session ends or hibernates, even if it is used. An empty action means the present action, or DeadlineEnd. The error is
// Invalid if the seconds are out of their limits.
func (c *Client) SetDeadline(ctx context.Context, id cellhold.SessionID, seconds float64, action cellhold.DeadlineAction) (cellhold.Session, error) {
	body := struct {
		Lifetime   float64                 `json:"lifetime"`
		AtDeadline cellhold.DeadlineAction `json:"at_deadline,omitempty"`
	}{seconds, action}
	var s cellhold.Session
	err := c.call(ctx, http.MethodPut, sessionPath(id, "deadline"), body, &s)
	return s, err
}
