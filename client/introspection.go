package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"cellhold"
)

// question is the body of a question to a kernel.
type question struct {
	Code   string            `json:"code"`
	Cursor *int              `json:"cursor,omitempty"`
	Detail int               `json:"detail,omitempty"`
	Kernel cellhold.KernelID `json:"kernel,omitempty"`
}

// Complete returns the texts that can stand at the cursor, a position of the code in Unicode characters. An empty kernel
// means the first one. If the kernel is busy or the session hibernated, the error is Conflict. The texts come from the
// kernel, which is not trusted.
func (c *Client) Complete(ctx context.Context, id cellhold.SessionID, k cellhold.KernelID, code string, cursor int) (cellhold.Completion, error) {
	var out cellhold.Completion
	err := c.call(ctx, http.MethodPost, sessionPath(id, "complete"), question{Code: code, Cursor: &cursor, Kernel: k}, &out)
	return out, err
}

// Inspect returns the description of the object at the cursor, a position of the code in Unicode characters. detail is 0,
// or 1 to add the source code. The errors are those of Complete.
func (c *Client) Inspect(ctx context.Context, id cellhold.SessionID, k cellhold.KernelID, code string, cursor, detail int) (cellhold.Inspection, error) {
	var out cellhold.Inspection
	err := c.call(ctx, http.MethodPost, sessionPath(id, "inspect"), question{Code: code, Cursor: &cursor, Detail: detail, Kernel: k}, &out)
	return out, err
}

// IsComplete returns whether code can run, or needs more lines. The code does not run. The errors are those of Complete.
func (c *Client) IsComplete(ctx context.Context, id cellhold.SessionID, k cellhold.KernelID, code string) (cellhold.Completeness, error) {
	var out cellhold.Completeness
	err := c.call(ctx, http.MethodPost, sessionPath(id, "is-complete"), question{Code: code, Kernel: k}, &out)
	return out, err
}

// History returns the code of the newest cells, the oldest of them first. An empty kernel means all kernels. limit is at
// most 1000; 0 means 100.
func (c *Client) History(ctx context.Context, id cellhold.SessionID, k cellhold.KernelID, limit int) ([]cellhold.HistoryEntry, error) {
	query := url.Values{}
	if k != "" {
		query.Set("kernel", string(k))
	}
	if limit != 0 {
		query.Set("limit", fmt.Sprint(limit))
	}
	var list struct {
		History []cellhold.HistoryEntry `json:"history"`
	}
	err := c.call(ctx, http.MethodGet, sessionPath(id, "history")+"?"+query.Encode(), nil, &list)
	return list.History, err
}
