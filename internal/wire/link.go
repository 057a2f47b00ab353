package wire

import (
	"context"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
)

// retryFirst and retryMost bound the wait between attempts to open a link.
const (
	retryFirst = 20 * time.Millisecond
	retryMost  = time.Second
)

var (
	errNoLink   error = cellhold.Errorf(cellhold.Unavailable, "The messages of the kernel cannot be reached now. Retry.")
	errUnwanted error = cellhold.Errorf(cellhold.Conflict, "The client has closed its connection.")
)

// open returns the link of the kernel in a sandbox, and opens it if necessary. One goroutine reads from it.
func (k *kernel) open(ctx context.Context, b Sandbox) (Link, error) {
	for tries := 0; ; {
		link, changed, err := k.current(b)
		switch {
		case link != nil:
			return link, nil
		case err == nil:
			if err := k.serve(b); err != nil {
				return nil, cellhold.Wrap(cellhold.Unavailable, err, "The sandbox of the session has ended.")
			}
			continue
		}
		if err == errUnwanted || err == k.over() {
			return nil, err
		}
		if tries++; tries > 1 && (cellhold.KindOf(err) == cellhold.Unsupported || cellhold.KindOf(err) == cellhold.NotFound) {
			return nil, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// over returns the reason why there are no more messages, or nil.
func (k *kernel) over() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ended
}

// current returns the link of a sandbox. Without a link, it returns the reason, and a channel that is closed when this
// changes. Both are nil if no goroutine opens one.
func (k *kernel) current(b Sandbox) (Link, <-chan struct{}, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.ended != nil:
		return nil, k.changed, k.ended
	case len(k.clients) == 0:
		return nil, k.changed, errUnwanted
	case k.sandbox != b:
		return nil, k.changed, nil
	}
	return k.link, k.changed, k.linkErr
}

// serve starts the goroutine that reads the messages of the kernel in a sandbox, unless it runs already. It refuses a sandbox
// that was replaced. Otherwise the present one would get a second goroutine, and the clients each message twice.
func (k *kernel) serve(b Sandbox) error {
	k.mu.Lock()
	if k.sandbox == b {
		k.mu.Unlock()
		return nil
	}
	if k.hub.s.Present() != b {
		k.mu.Unlock()
		return errNoLink
	}
	k.sandbox, k.link, k.linkErr = b, nil, errNoLink
	k.known = false // the kernel of another sandbox can have another session
	k.mu.Unlock()
	err := b.Run(func(ctx context.Context) { k.read(ctx, b) })
	if err != nil {
		k.unserve(b)
	}
	return err
}

// unserve notes that no goroutine reads from a sandbox.
func (k *kernel) unserve(b Sandbox) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sandbox == b {
		k.sandbox, k.link, k.linkErr = nil, nil, nil
		k.notify()
	}
}

// read opens the link, and reads from it, until the sandbox is detached or the kernel has no clients.
func (k *kernel) read(ctx context.Context, b Sandbox) {
	defer k.unserve(b)
	for wait := retryFirst; ctx.Err() == nil; wait = min(2*wait, retryMost) {
		link, err := b.OpenLink(ctx, k.id)
		if err == nil {
			wait = retryFirst
			err = k.receive(ctx, b, link)
		}
		if !k.setLink(b, nil, err) {
			return
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-k.retry:
		case <-t.C:
		}
		t.Stop()
	}
}

// receive passes the messages of a link to the clients until the link ends. It closes the link.
func (k *kernel) receive(ctx context.Context, b Sandbox, link Link) error {
	defer link.Close()
	defer context.AfterFunc(ctx, func() { _ = link.Close() })()
	if !k.setLink(b, link, nil) {
		return nil
	}
	for {
		m, err := link.Receive()
		if err != nil {
			k.hub.out.Debug("read raw messages", "kernel", k.id, "err", err)
			return err
		}
		k.deliver(m)
	}
}

// setLink sets the link of a sandbox, or the reason why there is none. It returns false if no client needs it.
func (k *kernel) setLink(b Sandbox, link Link, err error) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sandbox != b || len(k.clients) == 0 || k.ended != nil {
		if k.sandbox == b { // set here, so that the next client finds no goroutine that ends
			k.sandbox, k.link, k.linkErr = nil, nil, nil
			k.notify()
		}
		return false
	}
	if k.link, k.linkErr = link, err; link == nil && err == nil {
		k.linkErr = errNoLink
	}
	k.idle = false // without a link, states of the kernel were missed
	k.notify()
	return true
}

// notify wakes the callers that wait for a link. The caller must hold mu.
func (k *kernel) notify() {
	close(k.changed)
	k.changed = make(chan struct{})
}

// forward sends a message to the kernel. It resumes the session.
func (k *kernel) forward(ctx context.Context, f Frame) error {
	return k.reach(ctx, func(link Link) error {
		return link.Send(guestapi.WireMessage{Channel: f.Channel, Header: f.Header, Parent: f.Parent, Metadata: f.Metadata, Content: f.Content, Buffers: f.Buffers})
	})
}

// reach resumes the session, opens the link of the kernel and calls f.
func (k *kernel) reach(ctx context.Context, f func(Link) error) error {
	b, leave, err := k.hub.s.Enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	opening, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	link, err := k.open(opening, b)
	if err != nil {
		return err
	}
	return f(link)
}
