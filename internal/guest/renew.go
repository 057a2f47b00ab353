package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
)

// renewVersion is the first version of the link that knows renewal and preparation.
const renewVersion = 3

// maxPrepared bounds the answer to a preparation: one sentence, every byte of which may be escaped.
const maxPrepared = 6*maxSentence + 100

// Renew makes the sandbox differ from all others that continue from the same snapshot. It returns what the
// agent is from then on. The error is Conflict when something runs in it, Unavailable when a kernel could not
// be renewed, and Unsupported when its agent is too old to know how; the sandbox is then of no use as a
// copy.
func (c *Client) Renew(ctx context.Context, r guestapi.Renew) (guestapi.Info, error) {
	var info guestapi.Info
	err := c.post(ctx, request{path: "/v1/renew"}, r, r.Timeout, maxInfo, &info)
	if err == nil {
		err = checkInfo(info)
	}
	if err != nil {
		return guestapi.Info{}, fmt.Errorf("renew the sandbox: %w", err)
	}
	return info, nil
}

// Prepare has the kernel run code that belongs to no cell, and returns when it has. That the code raised, or
// was stopped at its deadline, is no error. The error is Conflict when something runs, when the kernel is not
// ready, or was lost over it.
func (k *Kernel) Prepare(ctx context.Context, r guestapi.Prepare) (guestapi.Prepared, error) {
	var p guestapi.Prepared
	if err := k.client.post(ctx, request{path: k.path + "/prepare", once: true}, r, r.Timeout, maxPrepared, &p); err != nil {
		return guestapi.Prepared{}, k.wrap("prepare", err)
	}
	p.Error = sentence(p.Error)
	return p, nil
}

// post sends a request that takes the agent up to that long, beside what any call takes.
func (c *Client) post(ctx context.Context, r request, body any, within time.Duration, limit int64, v any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r.method, r.body = http.MethodPost, bytes.NewReader(b)
	err = c.receiveWithin(ctx, within+callTimeout, r, limit, v)
	if cellhold.KindOf(err) != cellhold.NotFound {
		return err
	}
	// An older agent does not know the path, and has no other words for that.
	if info, infoErr := c.Info(ctx); infoErr == nil && info.Version < renewVersion {
		return cellhold.Errorf(cellhold.Unsupported, "The agent in the sandbox is of an older server and cannot do this.")
	}
	return err
}
