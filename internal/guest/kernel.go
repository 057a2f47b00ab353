package guest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/lazy"
)

// Kernel has the calls to the agent about one kernel.
type Kernel struct {
	client *Client
	id     cellhold.KernelID
	path   string

	mu     sync.Mutex
	talk   *talk           // the connection of the events; nil if there is none, or if it accepts no cells
	offers map[*offer]bool // the cells that wait for an answer on the connection
}

// offer is a cell that waits for an answer on the connection of the events.
type offer struct {
	withdraw context.CancelCauseFunc
}

// Kernel returns the calls about one kernel. The kernel can be missing in the agent.
func (c *Client) Kernel(id cellhold.KernelID) *Kernel {
	return &Kernel{client: c, id: id, path: "/v1/kernels/" + url.PathEscape(string(id)), offers: map[*offer]bool{}}
}

// Specs returns the kernelspecs of the sandbox, sorted by name.
func (c *Client) Specs(ctx context.Context) ([]cellhold.KernelSpec, error) {
	var specs []cellhold.KernelSpec
	if err := c.get(ctx, "/v1/kernelspecs", maxSpecs, &specs); err != nil {
		return nil, fmt.Errorf("ask the agent for its kernelspecs: %w", err)
	}
	if len(specs) > guestapi.MaxKernelSpecs {
		return nil, invalidData("too many kernelspecs")
	}
	for i := range specs {
		s := &specs[i]
		if !specPattern().MatchString(s.Name) {
			return nil, invalidData("the name of a kernelspec")
		}
		s.DisplayName = firstRunes(sentence(s.DisplayName), guestapi.MaxInfoText)
		s.Language = firstRunes(sentence(s.Language), guestapi.MaxInfoText)
	}
	return specs, nil
}

// specPattern matches names of kernelspecs. A name that matches is the name of a folder, and cannot be a path.
var specPattern = lazy.Regexp(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$`)

// maxSpecs bounds the list of kernelspecs: three sentences each, with every byte escaped.
const maxSpecs = guestapi.MaxKernelSpecs * 3 * 6 * maxSentence

// Start starts the kernel. It returns before the kernel is ready. If the kernel exists, Start returns no
// error.
func (k *Kernel) Start(ctx context.Context, r guestapi.StartKernel) error {
	return k.wrap("start", k.client.send(ctx, request{method: http.MethodPut, path: k.path}, r))
}

// Execute submits a cell. It returns when the agent has accepted the cell. If the same cell was submitted before,
// Execute returns no error, and the cell is not run again. The error is Conflict when the kernel is busy, dead or
// not ready.
func (k *Kernel) Execute(ctx context.Context, r guestapi.Execute) error {
	err := k.offer(ctx, r)
	if errors.Is(err, errUnread) {
		err = k.client.send(ctx, request{method: http.MethodPost, path: k.path + "/execute"}, r)
	}
	return k.wrap("execute on", err)
}

// errUnread says that no goroutine reads the connection of the events, so that no answer can arrive on it.
var errUnread = errors.New("the connection of the events is not read")

// offer submits a cell on the connection of the events. The error is errUnread if there is no connection, or if its reader
// begins to read a large event before the answer. The agent can have the cell then.
func (k *Kernel) offer(ctx context.Context, r guestapi.Execute) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	o := &offer{cancel}
	k.mu.Lock()
	k.offers[o] = true
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.offers, o)
	}()
	t := k.talking() // after the offer is in the map: from now on withdraw finds it
	if t == nil {
		return errUnread
	}
	return t.execute(ctx, r)
}

// withdraw ends the waits for answers on a connection whose reader begins to read a large event: the event can wait for
// other sandboxes, and can arrive slowly.
func (k *Kernel) withdraw(t *talk) {
	t.read.Store(false)
	k.mu.Lock()
	defer k.mu.Unlock()
	for o := range k.offers {
		o.withdraw(errUnread)
	}
}

// Interrupt interrupts the running cell, if cell is its id or empty. If no such cell runs, Interrupt
// returns no error.
func (k *Kernel) Interrupt(ctx context.Context, cell cellhold.CellID) error {
	r := request{method: http.MethodPost, path: k.path + "/interrupt"}
	if cell != "" {
		r.query = url.Values{"cell": {string(cell)}}
	}
	return k.wrap("interrupt", k.client.call(ctx, r))
}

// Input answers a question of the running cell. The error is Conflict if the cell is not waiting for this
// answer, for example because it has an answer already.
func (k *Kernel) Input(ctx context.Context, r guestapi.InputReply) error {
	return k.wrap("answer", k.client.send(ctx, request{method: http.MethodPost, path: k.path + "/input", once: true}, r))
}

// Restart replaces the kernel's process, also a dead one. It returns before the new process is ready.
func (k *Kernel) Restart(ctx context.Context) error {
	return k.wrap("restart", k.client.call(ctx, request{method: http.MethodPost, path: k.path + "/restart", once: true}))
}

// Delete shuts the kernel down, also a busy one, and returns when it has ended.
func (k *Kernel) Delete(ctx context.Context) error {
	return k.wrap("delete", k.client.call(ctx, request{method: http.MethodDelete, path: k.path}))
}

// Ack lets the agent forget the events up to seq.
func (k *Kernel) Ack(ctx context.Context, seq int64) error {
	return k.wrap("acknowledge events of", k.client.call(ctx, request{
		method: http.MethodPost, path: k.path + "/ack", query: number("seq", seq),
	}))
}

// Events yields the kernel's events after a number as they happen, checked and in order. A note replaces an event that
// the host refuses. It ends with the error of the context, or with an error when the link breaks or the kernel is
// deleted. If the agent sends data that cannot be skipped, the error is guestapi.ErrForm. It reads an event only when
// the caller asks for one. A large event takes memory of the budget of all sandboxes until the caller asks for the next
// one. Until then, no other kernel of the sandbox can send a large event.
func (k *Kernel) Events(ctx context.Context, after int64) iter.Seq2[guestapi.Event, error] {
	return func(yield func(guestapi.Event, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // closes the connection
		if err := k.read(ctx, after, func(e guestapi.Event) bool { return yield(e, nil) }); err != nil {
			yield(guestapi.Event{}, k.wrap("read events of", err))
		}
	}
}

// read passes events to yield, until yield returns false. Then it returns nil.
func (k *Kernel) read(ctx context.Context, after int64, yield func(guestapi.Event) bool) error {
	conn, body, err := k.listen(ctx, after)
	if err != nil {
		return err
	}
	defer conn.end()
	lines := &eventReader{
		client: k.client, conn: conn.conn, large: func() { k.withdraw(conn) },
		lines: bufio.NewReaderSize(body, 64<<10), // the amount that the agent writes at once
	}
	for {
		conn.read.Store(true)
		line, err := lines.next(ctx)
		conn.read.Store(false)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		if bytes.HasPrefix(line.text, []byte(guestapi.TalkPrefix)) {
			conn.hear(line.text)
			line.release()
			continue
		}
		e, err := line.parse(ctx, after)
		if err == nil {
			after = e.Seq
		}
		if err == nil && e.Type == "" {
			k.client.log.Debug("skipped an event of the guest", "kernel", k.id, "event", e.Seq)
			line.release()
			continue
		}
		more := err == nil && yield(e)
		line.release()
		if !more {
			return err
		}
	}
}

func (k *Kernel) wrap(operation string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s kernel %s: %w", operation, k.id, err)
}

func number(name string, n int64) url.Values {
	return url.Values{name: {strconv.FormatInt(n, 10)}}
}
