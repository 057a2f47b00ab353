package wire

import (
	"cmp"
	"container/list"
	"context"
	"time"

	"cellhold"
)

// Bounds of the messages that wait for a client.
const (
	// queueBytes is the limit of one client. Above this limit, the client loses output.
	queueBytes = 16 << 20
	// reserveBytes is further space for replies, states and questions. A client that misses one of them can wait for
	// ever. If this space is full too, the client is disconnected.
	reserveBytes = 2 << 20
	// frameCost is the memory that one message takes in addition to its parts.
	frameCost = 512
)

var (
	errReplaced error = cellhold.Errorf(cellhold.Conflict, "Another connection of the same session_id has replaced this one.")
	errClosed   error = cellhold.Errorf(cellhold.Conflict, "The connection is closed.")
	errSlow     error = cellhold.Errorf(cellhold.Exhausted, "The client does not read its messages in time; at most %d MiB can wait for it. Connect again, and read faster.", (queueBytes+reserveBytes)>>20)
)

// client is one client of a kernel. kernel.mu guards it.
type client struct {
	k       *kernel
	name    string
	returns bool // the client chose its name, so it can return with this name

	wire   *Wire       // its connection; nil if it left
	left   time.Time   // when it left
	forget *time.Timer // removes it; nil while it is connected

	queue   []Frame // for the client
	reading *Wire   // the connection that got the first message of queue; nil if none did
	bytes   int64   // of the queue
	dropped int64   // bytes of the queue when the client was told that output is dropped; 0 if no output is dropped now
	waiting []task  // the client's messages that wait for its queued cells, or for a new process
	held    int64   // bytes of waiting
	counted int64   // bytes in the shared pool; the pool's lock guards it too
	failed  error

	asked list.List // of *request: the requests without a cell, oldest first
}

func newClient(k *kernel, name string) *client { return &client{k: k, name: name} }

// connect returns a new connection, which replaces the present one. The caller must hold mu.
func (c *client) connect() *Wire {
	if c.wire != nil {
		c.wire.signal() // its Receive returns
	}
	if c.forget != nil {
		c.forget.Stop()
		c.forget = nil
	}
	c.wire = &Wire{c: c, ready: make(chan struct{}, 1)}
	shared.back(c)
	c.shrink()
	return c.wire
}

// put queues a message for the client. keep marks a message that the client needs. If there is no space for such a
// message, put ends the client. It drops other messages without space, and tells the client once. The caller must hold
// mu.
func (c *client) put(f Frame, keep bool) {
	if c.failed != nil {
		return
	}
	size, limit, empty := f.size(), int64(queueBytes), len(c.queue) == 0
	if keep {
		limit += reserveBytes
	}
	switch {
	case (empty || c.bytes+size <= limit) && c.room(size, keep || empty):
		c.queue = append(c.queue, f)
		c.bytes += size
		if c.wire != nil {
			c.wire.signal()
		}
	case keep:
		c.fail(errSlow)
	case c.dropped == 0:
		c.put(c.k.make(IOPub, "stream", f.Parent, streamContent("Some output was dropped here, because the client did not read it in time.\n")), true)
		c.dropped = c.bytes
	}
}

// remove removes the first message. The caller must hold mu, and the queue must not be empty.
func (c *client) remove() {
	c.bytes -= c.queue[0].size()
	c.queue[0] = Frame{}
	if c.queue = c.queue[1:]; len(c.queue) == 0 {
		c.queue = nil
	}
	c.reading = nil
	c.shrink()
	if c.bytes <= c.dropped/2 {
		c.dropped = 0
	}
}

// fail ends the client. A connected client first gets the messages that wait, and then the error. A client that left is
// forgotten. The caller must hold mu.
func (c *client) fail(err error) {
	if c.failed == nil {
		c.failed = err
	}
	if c.wire == nil {
		c.k.drop(c)
		return
	}
	c.wire.signal()
}

// release drops the messages for the client. Messages from the client still reach the kernel.
func (c *client) release() {
	c.queue, c.reading, c.bytes = nil, nil, 0
	shared.back(c)
	c.shrink()
	if c.forget != nil {
		c.forget.Stop()
	}
	if c.failed == nil {
		c.failed = errClosed
	}
}

// Wire is a connection of one client to one kernel. Any goroutine can call Send. The kernel gets the messages in the
// order of the calls. One goroutine at a time can call Receive. The caller must call Detach or Close.
type Wire struct {
	c     *client
	ready chan struct{} // capacity 1: a token when the client has a message, or the connection ended
}

func (w *Wire) signal() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// Receive returns the next message for the client. It waits until there is a message. The client gets all messages of
// the kernel on iopub, and the answers to its requests. The message stays first in the queue until Written is called.
// So if the connection breaks, the client's next connection gets the message again. The error io.EOF means that the
// session or the kernel has ended.
func (w *Wire) Receive(ctx context.Context) (Frame, error) {
	for {
		f, ok, err := w.next()
		if ok || err != nil {
			return f, err
		}
		select {
		case <-w.ready:
		case <-ctx.Done():
			return Frame{}, ctx.Err()
		}
	}
}

func (w *Wire) next() (f Frame, ok bool, err error) {
	c := w.c
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	switch {
	case c.wire == nil:
		return f, false, cmp.Or(c.failed, errClosed)
	case c.wire != w:
		return f, false, errReplaced
	case len(c.queue) > 0:
		c.reading = w
		return c.queue[0], true, nil
	}
	return f, false, c.failed
}

// Written removes the message that the last Receive returned. The caller calls it when the client has the message. If
// another connection has received the message since then, Written does nothing.
func (w *Wire) Written() {
	c := w.c
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	if c.reading == w {
		c.remove()
	}
}

// Detach ends the connection. The messages wait for the next connection of the client, for 10 minutes. After Detach or
// Close, Detach does nothing.
func (w *Wire) Detach() {
	c := w.c
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	if c.wire != w {
		return
	}
	w.signal()
	if c.failed != nil || !c.returns {
		c.wire = nil
		c.k.drop(c)
		return
	}
	c.k.leave(c)
}

// Close ends the connection and drops the messages that wait for the client. After Detach or Close, Close does nothing.
func (w *Wire) Close() {
	c := w.c
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	if c.wire != w {
		return
	}
	w.signal()
	c.wire = nil
	c.k.drop(c)
}
