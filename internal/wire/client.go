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
	// queueBytes is the limit of one client. Above it, output is dropped.
	queueBytes = 16 << 20
	// reserveBytes is more space for messages without which a client waits for ever: replies, states and questions. A
	// client that lets them fill this space too is disconnected.
	reserveBytes = 2 << 20
	// frameCost is the memory for one message in addition to its parts.
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
	returns bool // it has chosen the name, and can return with it

	wire   *Wire       // its connection; nil if it left
	left   time.Time   // when it left
	forget *time.Timer // removes it; nil while it is connected

	queue   []Frame // for the client
	reading *Wire   // the connection that got the first message of queue; nil if none did
	bytes   int64   // of the queue
	dropped int64   // bytes of the queue when output was dropped and the client was told; 0 if none is dropped now
	waiting []task  // of the client: they wait for its queued cells, or for a new process
	held    int64   // bytes of waiting
	counted int64   // bytes in the shared pool; changed under its lock too
	failed  error

	asked list.List // of *request: those without a cell, oldest first
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

// put queues a message for the client. If there is no space, it drops output. keep says that the client cannot do without
// the message. The caller must hold mu.
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

// fail ends the client with an error, after the messages that wait. A client that left is forgotten. The caller must hold
// mu.
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

// release drops the messages for the client. The messages of the client still reach the kernel.
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

// Wire is a connection of one client to one kernel. Send can be called from any goroutine; the order of messages is that
// of the calls. One goroutine at a time can call Receive. The caller must call Detach or Close.
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

// Receive returns the next message for the client: all messages of the kernel on iopub, and the answers to the client's
// requests. It waits until there is one. The message stays first in the queue until Written is called: after a broken
// connection, the next one gets it again. The error io.EOF means that the session or the kernel has ended.
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

// Written removes the message that the last Receive returned, because the client has it. If another connection has
// received the message since then, Written does nothing.
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

// Close ends the connection and drops what waits. After Detach or Close, Close does nothing.
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
