package kernelproxy

import (
	"cellhold/internal/server/jupyter/framing"
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// outboxBytes is the limit of the messages that wait for the server. One message of any size can wait.
	outboxBytes = 64 << 20
	// outboxMessages is the limit of their number.
	outboxMessages = 1000
)

// letter is a message of a program on its way to the server.
type letter struct {
	frame    framing.Frame
	id       string // its msg_id
	answered bool   // the kernel has sent a message about it
}

// outbox has the messages that the server has not confirmed, in order.
type outbox struct {
	mu      sync.Mutex
	letters []letter
	bytes   int
	written int           // the first letters, on the present connection
	tried   int           // written, and the one that is being written
	count   int           // of letters that were ever removed
	changed chan struct{} // closed and replaced at each change
}

// change wakes all that wait. The caller must hold mu.
func (o *outbox) change() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// until waits until ready returns true, which it calls with mu held. It returns with mu held. stop ends the wait.
func (o *outbox) until(ctx context.Context, stop <-chan time.Time, ready func() bool) {
	o.mu.Lock()
	for !ready() && ctx.Err() == nil {
		changed := o.changed
		o.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		case <-stop:
			o.mu.Lock()
			return
		}
		o.mu.Lock()
	}
}

// put adds a message, and waits while there is no space.
func (o *outbox) put(ctx context.Context, l letter) {
	size := l.frame.Size()
	o.until(ctx, nil, func() bool {
		return len(o.letters) == 0 || o.bytes+size <= outboxBytes && len(o.letters) < outboxMessages
	})
	defer o.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	o.letters = append(o.letters, l)
	o.bytes += size
	o.change()
}

// next returns the next message to write. It waits until there is one.
func (o *outbox) next(ctx context.Context) (framing.Frame, error) {
	o.until(ctx, nil, func() bool { return o.written < len(o.letters) })
	defer o.mu.Unlock()
	if ctx.Err() != nil {
		return framing.Frame{}, ctx.Err()
	}
	o.tried = o.written + 1
	return o.letters[o.written].frame, nil
}

// wrote notes that the message of next was written.
func (o *outbox) wrote() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.written++
	o.change()
}

// await waits until messages are written and not confirmed, or for d. It returns their last number for taken.
func (o *outbox) await(ctx context.Context, d time.Duration) (n int) {
	t := time.NewTimer(d)
	defer t.Stop()
	o.until(ctx, t.C, func() bool { return o.written > 0 })
	defer o.mu.Unlock()
	return o.count + o.written
}

// taken removes the messages up to number n, because the server has them.
func (o *outbox) taken(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.count < n && o.written > 0 {
		o.bytes -= o.letters[0].frame.Size()
		o.letters[0] = letter{}
		o.letters = o.letters[1:]
		o.written--
		o.tried--
		o.count++
	}
	o.change()
}

// answered notes that the kernel has sent a message about the message with an id.
func (o *outbox) answered(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.letters {
		if o.letters[i].id == id {
			o.letters[i].answered = true
		}
	}
}

// rewind makes all messages unwritten, because they need another connection. It reports whether the fate of some is unknown.
func (o *outbox) rewind() (doubtful bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	doubtful = o.tried > 0
	o.written, o.tried = 0, 0
	return doubtful
}

// forgetAnswered removes the messages that the server must have, because the kernel has answered them.
func (o *outbox) forgetAnswered() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.letters = slices.DeleteFunc(o.letters, func(l letter) bool {
		if l.answered {
			o.bytes -= l.frame.Size()
			o.count++
		}
		return l.answered
	})
	o.change()
}
