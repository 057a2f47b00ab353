package jupyter

import (
	"context"
	"errors"
	"sync"

	"cellhold"
)

const (
	// maxOfKernel is the maximum number of connections to one kernel. A notebook has one connection.
	maxOfKernel = 16
	// maxOfCaller is the maximum number of connections of one caller.
	maxOfCaller = 256
)

// errDrain is the cause with which the contexts of all connections end.
var errDrain = errors.New("the server is shutting down")

// place says which caller and client have a connection, and to which kernel.
type place struct {
	caller, kernel, client string
}

// connections counts the open connections. The zero value is ready for use.
type connections struct {
	mu     sync.Mutex
	closed bool
	open   map[*connection]context.CancelCauseFunc
	wg     sync.WaitGroup
}

// connection is one open connection.
type connection struct{ place }

// of returns the number of connections to a kernel.
func (c *connections) of(kernel string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for x := range c.open {
		if x.kernel == kernel {
			n++
		}
	}
	return n
}

// enter counts a connection. The returned context does not end when ctx ends. At shutdown it ends with errDrain. The
// caller must call leave at the end.
func (c *connections) enter(ctx context.Context, at place) (_ context.Context, leave func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, cellhold.Errorf(cellhold.Unavailable, "The server is shutting down. Connect again in a moment.")
	}
	if c.full(at) {
		return nil, nil, cellhold.Errorf(cellhold.Exhausted, "Too many connections: the limits are %d for a kernel and %d for a caller. Close some.", maxOfKernel, maxOfCaller)
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	if c.open == nil {
		c.open = map[*connection]context.CancelCauseFunc{}
	}
	x := &connection{at}
	c.open[x] = cancel
	c.wg.Add(1)
	return ctx, func() {
		c.mu.Lock()
		delete(c.open, x)
		c.mu.Unlock()
		cancel(nil)
		c.wg.Done()
	}, nil
}

// full reports whether the limits allow no further connection. A client that connects again replaces its connection, so
// one connection of this client does not count. All other connections count until they have ended. The caller must hold
// mu.
func (c *connections) full(at place) bool {
	ofKernel, ofCaller, replaced := 0, 0, false
	for x := range c.open {
		if x.place == at && at.client != "" && !replaced {
			replaced = true
			continue
		}
		if x.kernel == at.kernel {
			ofKernel++
		}
		if x.caller == at.caller {
			ofCaller++
		}
	}
	return ofKernel >= maxOfKernel || ofCaller >= maxOfCaller
}

// close ends all connections with errDrain, and waits for them. Later connections are refused.
func (c *connections) close() {
	c.mu.Lock()
	c.closed = true
	for _, cancel := range c.open {
		cancel(errDrain)
	}
	c.mu.Unlock()
	c.wg.Wait()
}
