package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"time"

	"cellhold"
)

// Batch describes a batch of runs.
type Batch struct {
	Runs     []cellhold.RunRequest
	Parallel int    // maximum number of runs at the same time; 0 means the server's default
	Key      string // name of the batch, with which Runs continues it after a broken connection; empty means none
}

// Run runs code in a sandbox that is used once, and returns the result. If ctx ends first, the run ends. Failing code is a
// result and not an error. With an error of kind Unavailable, the code can have run; use Runs with a key to prevent a
// second run.
func (c *Client) Run(ctx context.Context, r cellhold.RunRequest) (cellhold.RunResult, error) {
	return c.RunWithKey(ctx, "", r)
}

// RunWithKey is like Run. A second request with the same key returns the same result, and runs no code. The error is
// Conflict if the requests differ.
func (c *Client) RunWithKey(ctx context.Context, key string, r cellhold.RunRequest) (cellhold.RunResult, error) {
	var result cellhold.RunResult
	err := c.callWith(ctx, http.MethodPost, "/v1/run", r, &result, keyHeader(key))
	return result, err
}

// Runs yields the result of each run of a batch once, in the order in which they end. RunResult.Index says which run it
// is. An error is the last element. If the loop or ctx ends first, a batch without a key ends. A batch with a key continues:
// after a broken connection or a restart of the server, Runs reads its other results, and no code runs twice.
func (c *Client) Runs(ctx context.Context, b Batch) iter.Seq2[cellhold.RunResult, error] {
	return func(yield func(cellhold.RunResult, error) bool) {
		body, err := json.Marshal(struct {
			Runs     []cellhold.RunRequest `json:"runs"`
			Parallel int                   `json:"parallel,omitempty"`
		}{b.Runs, b.Parallel})
		if err != nil {
			yield(cellhold.RunResult{}, fmt.Errorf("encode the request: %w", err))
			return
		}
		r := &results{client: c, body: body, key: b.Key, seen: make([]bool, len(b.Runs)), left: len(b.Runs), yield: yield}
		if b.Key == "" {
			err = r.read(ctx, func() {})
		} else {
			err = c.retry(ctx, func(alive func()) error { return r.read(ctx, alive) })
		}
		if err != nil && !r.stopped {
			yield(cellhold.RunResult{}, err)
		}
	}
}

// results is the state of one reading of a batch.
type results struct {
	client  *Client
	body    []byte
	key     string
	seen    []bool // by index
	left    int    // number of results that are not seen
	yield   func(cellhold.RunResult, error) bool
	stopped bool // the caller's loop ended
}

// read sends the batch, and reads its results until there are all of them or the connection ends.
func (r *results) read(ctx context.Context, alive func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	quiet := time.AfterFunc(silence, cancel) // ends a dead connection; the server sends an empty line every 15 s
	defer quiet.Stop()
	header := http.Header{"Content-Type": {"application/json"}}
	if r.key != "" {
		header.Set("Idempotency-Key", r.key)
	}
	res, err := r.client.send(ctx, http.MethodPost, "/v1/runs", bytes.NewReader(r.body), header)
	if err != nil {
		return broken(ctx, err)
	}
	defer res.Body.Close()
	lines := bufio.NewReaderSize(res.Body, 64<<10)
	for r.left > 0 && !r.stopped {
		line, err := readLine(lines)
		if err != nil {
			return broken(ctx, err)
		}
		quiet.Reset(silence)
		alive()
		if len(line) > 0 {
			if err := r.take(line); err != nil {
				return err
			}
		}
	}
	return nil
}

// take passes a result to the caller's loop, unless the loop has it.
func (r *results) take(line []byte) error {
	var result cellhold.RunResult
	if err := json.Unmarshal(line, &result); err != nil || result.Index < 0 || result.Index >= len(r.seen) {
		return cellhold.Wrap(cellhold.Internal, err, "The server sent a result that is not valid.")
	}
	if r.seen[result.Index] {
		return nil
	}
	r.seen[result.Index] = true
	r.left--
	r.stopped = !r.yield(result, nil)
	return nil
}
