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

// renewVersion is the first version of the protocol with renewal and preparation.
const renewVersion = 3

// maxPrepared bounds the answer to a preparation: one sentence with every byte escaped.
const maxPrepared = 6*maxSentence + 100

// Renew gives the sandbox a new identity, because other sandboxes can continue from the same snapshot. It returns the new
// state of the agent. The error is Conflict if a cell or a command runs. It is Unavailable if a kernel
// could not be renewed, and Unsupported if the agent is too old. After Unavailable or Unsupported, the
// caller must not use the sandbox as a copy.
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

// Prepare runs code in the kernel, but not as a cell. It returns when the code has ended. An exception of
// the code, or its end at the deadline, is no error. The error is Conflict if a cell or other code runs, if
// the kernel is not ready, or if the kernel ended during the call.
func (k *Kernel) Prepare(ctx context.Context, r guestapi.Prepare) (guestapi.Prepared, error) {
	var p guestapi.Prepared
	if err := k.client.post(ctx, request{path: k.path + "/prepare", once: true}, r, r.Timeout, maxPrepared, &p); err != nil {
		return guestapi.Prepared{}, k.wrap("prepare", err)
	}
	p.Error = sentence(p.Error)
	return p, nil
}

// post sends a request. It waits for the answer longer than other calls do: callTimeout plus within.
func (c *Client) post(ctx context.Context, r request, body any, within time.Duration, limit int64, v any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r.method, r.body = http.MethodPost, bytes.NewReader(b)
	err = c.receiveWithin(ctx, within+callTimeout, r, limit, v)
	return c.outdated(ctx, err, renewVersion)
}

// outdated returns Unsupported if the agent is older than a version of the protocol, and answered NotFound because
// it does not know the path. Otherwise it returns err.
func (c *Client) outdated(ctx context.Context, err error, version int) error {
	if cellhold.KindOf(err) != cellhold.NotFound {
		return err
	}
	info, infoErr := c.Info(ctx)
	if infoErr == nil && info.Version < version || cellhold.KindOf(infoErr) == cellhold.Unsupported {
		return cellhold.Errorf(cellhold.Unsupported, "The agent in the sandbox is from an older server and does not support this.")
	}
	return err
}
