package client

import (
	"context"
	"net/http"

	"cellhold"
)

// Hibernate saves a session to disk, which frees its memory. The next use resumes it.
func (c *Client) Hibernate(ctx context.Context, id cellhold.SessionID) (cellhold.Session, error) {
	var s cellhold.Session
	err := c.call(ctx, http.MethodPost, sessionPath(id, "hibernate"), nil, &s)
	return s, err
}

// Resume resumes a hibernated session. It is optional: the next use also resumes the session.
func (c *Client) Resume(ctx context.Context, id cellhold.SessionID) (cellhold.Session, error) {
	var s cellhold.Session
	err := c.call(ctx, http.MethodPost, sessionPath(id, "resume"), nil, &s)
	return s, err
}

// Checkpoint saves a session under a name. The session continues.
func (c *Client) Checkpoint(ctx context.Context, id cellhold.SessionID, name string) (cellhold.Checkpoint, error) {
	body := struct {
		Name string `json:"name"`
	}{name}
	var out cellhold.Checkpoint
	err := c.call(ctx, http.MethodPost, sessionPath(id, "checkpoints"), body, &out)
	return out, err
}

// Checkpoints returns a session's checkpoints, oldest first.
func (c *Client) Checkpoints(ctx context.Context, id cellhold.SessionID) ([]cellhold.Checkpoint, error) {
	var list struct {
		Checkpoints []cellhold.Checkpoint `json:"checkpoints"`
	}
	err := c.call(ctx, http.MethodGet, sessionPath(id, "checkpoints"), nil, &list)
	return list.Checkpoints, err
}

// DeleteCheckpoint deletes a checkpoint.
func (c *Client) DeleteCheckpoint(ctx context.Context, id cellhold.SessionID, name string) error {
	return c.call(ctx, http.MethodDelete, sessionPath(id, "checkpoints", name), nil, nil)
}

// Rollback restores a session to a checkpoint.
func (c *Client) Rollback(ctx context.Context, id cellhold.SessionID, checkpoint string) (cellhold.Session, error) {
	body := struct {
		Checkpoint string `json:"checkpoint"`
	}{checkpoint}
	var s cellhold.Session
	err := c.call(ctx, http.MethodPost, sessionPath(id, "rollback"), body, &s)
	return s, err
}

// Fork creates sessions that continue from this session's memory and files, as they are now or at a
// checkpoint. An empty checkpoint means now. If one fork fails, none is created.
func (c *Client) Fork(ctx context.Context, id cellhold.SessionID, count int, checkpoint string) ([]cellhold.Session, error) {
	body := struct {
		Count      int    `json:"count,omitempty"`
		Checkpoint string `json:"checkpoint,omitempty"`
	}{count, checkpoint}
	var list struct {
		Sessions []cellhold.Session `json:"sessions"`
	}
	err := c.call(ctx, http.MethodPost, sessionPath(id, "fork"), body, &list)
	return list.Sessions, err
}
