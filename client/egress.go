package client

import (
	"context"
	"net/http"
	"strconv"

	"cellhold"
)

// Attempts returns the connection attempts of the session's code, oldest first.
func (c *Client) Attempts(ctx context.Context, id cellhold.SessionID) ([]cellhold.EgressAttempt, error) {
	var all []cellhold.EgressAttempt
	at := map[string]int{}
	for after := int64(0); ; {
		var page struct {
			Attempts []cellhold.EgressAttempt `json:"attempts"`
			Next     int64                    `json:"next"`
		}
		path := sessionPath(id, "egress") + "?after=" + strconv.FormatInt(after, 10)
		if err := c.call(ctx, http.MethodGet, path, nil, &page); err != nil || len(page.Attempts) == 0 {
			return all, err
		}
		for _, a := range page.Attempts {
			if i, known := at[a.ID]; known {
				all[i] = a
				continue
			}
			at[a.ID] = len(all)
			all = append(all, a)
		}
		after = page.Next
	}
}
