// Package jupyter speaks the Jupyter messaging protocol to one kernel process.
//
// It writes the connection file, connects over unix sockets, knows when the kernel is ready, sends
// requests, and hands over every message the kernel sends, in order per channel. It finds kernels
// by their kernelspecs. It does not start or signal processes, does not queue requests, and does
// not decide when a cell is done.
//
// Nothing a kernel says is believed further than its form. The code that runs in a kernel knows
// the signing key, so it can forge any message, a reply or an idle status included: who must know
// whether the kernel lives asks the process. Messages that break the form are dropped and logged;
// parts that are too large or too deep are left out and counted.
//
// A kernel may be given another key and session while it runs: see Client.Expect.
//
// There is one lock, Client.mu; it is never held while a message is sent or handed over.
package jupyter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"cellhold/internal/jupyter/zmtp"
)

// ErrDead is the end of whatever was waiting for a kernel that is gone.
var ErrDead = errors.New("the kernel process is dead")

const (
	// connectRetry is the pause between two tries to connect to a kernel that is starting. A
	// try costs microseconds and a start takes a third of a second or more. Watching the
	// directory would not do away with it: a socket file appears at bind, and connections
	// are refused until listen, which makes no event.
	connectRetry = 5 * time.Millisecond
	// infoRetry is how long to wait for a kernel_info_reply before asking again: a kernel may
	// have lost the first request, or its status messages, while it was starting.
	infoRetry = time.Second
	// lastWords is how long the other channels are read on when one has ended. A kernel that
	// dies leaves in each socket what it said last, and then its end: that takes moments.
	lastWords = time.Second
	// holdFor is how long the first output of a request may wait, so that what a short cell says is
	// read at once, when the kernel has answered: five messages with one wake-up of this process
	// instead of five, while it shares its processors with the kernel. Nobody sees the difference.
	holdFor = 20 * time.Millisecond
)

// Options says how to see a kernel.
type Options struct {
	// OnMessage gets every message of the kernel, replies to our own requests included, from
	// one goroutine per channel: in order on each channel, with no order between channels,
	// and from before Dial returns. It must be quick and must not wait for the kernel,
	// because ZeroMQ drops what is not read. Nil means that nobody listens.
	OnMessage func(Message)
	// Dead is closed when the kernel process has ended. Dial stops waiting then. May be nil.
	Dead <-chan struct{}
	// MaxMessage is how many bytes of one message are kept; zero means 64 MiB.
	MaxMessage int64
	// Log gets what was dropped, at debug level, since user code can cause it. May be nil.
	Log *slog.Logger
}

// Client is one kernel process, seen over its connection. All methods may be called from any
// goroutine.
type Client struct {
	conn    Connection
	options Options
	keys    atomic.Pointer[keys]
	session atomic.Pointer[string]
	counter atomic.Uint64
	sockets map[Channel]*zmtp.Conn // fixed after Dial
	readers sync.WaitGroup
	heard   chan struct{} // closed at the first message on iopub
	once    sync.Once     // closes heard
	done    chan struct{}
	info    KernelInfo // fixed after Dial

	mu      sync.Mutex
	holding *time.Timer             // lets iopub be read again; nil when it is
	waiting map[string]chan Message // by id of the request
	reading int                     // channels that have not ended
	ending  bool
	err     error // why it ends
}

// Dial connects to a kernel that may still be starting and returns when it is ready: it has
// answered a request and the subscription to its output is live. The context bounds the waiting,
// not the Client. The caller must Close the Client.
func Dial(ctx context.Context, conn Connection, o Options) (*Client, error) {
	if o.OnMessage == nil {
		o.OnMessage = func(Message) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		conn: conn, options: o,
		sockets: make(map[Channel]*zmtp.Conn),
		heard:   make(chan struct{}),
		done:    make(chan struct{}),
		waiting: make(map[string]chan Message),
	}
	c.keys.Store(&keys{sign: conn.Key})
	c.Rename()
	ctx, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-o.Dead:
			cancel(ErrDead)
		case <-ctx.Done():
		}
	})
	defer watch.Wait()
	defer cancel(nil)

	err := c.connect(ctx)
	if err == nil {
		err = c.ready(ctx)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("connect to kernel at %s: %w", conn.Prefix, err)
	}
	return c, nil
}

// Info is what the kernel said of itself when it became ready.
func (c *Client) Info() KernelInfo { return c.info }

// Done is closed when the connection has ended, by Close or because the kernel ended it, and
// everything the kernel said before has been handed over.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why the connection ended: nil after Close, and as long as it lives.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection and waits until OnMessage will not be called again, so it must not be
// called from there. The kernel goes on. It may be called twice.
func (c *Client) Close() error {
	c.mu.Lock()
	c.ending = true
	c.mu.Unlock()
	for _, s := range c.sockets {
		s.Close()
	}
	c.readers.Wait()
	return nil
}

// connect opens the subscription first, so that nothing is said before we listen. Shell and stdin
// share an identity, by which the kernel finds who may be asked for input.
func (c *Client) connect(ctx context.Context) error {
	identity := []byte(*c.session.Load())
	for _, ch := range []Channel{IOPub, Shell, Control, Stdin} {
		o := zmtp.Options{Type: zmtp.Dealer, Identity: identity, MaxMessage: c.options.MaxMessage}
		if ch == IOPub {
			o.Type, o.Identity, o.Quiet = zmtp.Sub, nil, true
		}
		s, err := dialRetry(ctx, o, c.conn.Path(ch), c.conn.otherPath(ch))
		if err != nil {
			return fmt.Errorf("%s: %w", ch, err)
		}
		c.sockets[ch] = s
		if ch == IOPub {
			err = s.Subscribe("")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", ch, err)
		}
	}
	c.reading = len(c.sockets)
	for ch, s := range c.sockets {
		c.readers.Go(func() { c.read(ch, s) })
	}
	return nil
}

// ready asks until the kernel has answered and something has come over iopub. That may be the
// welcome of newer kernels or the status messages of the request itself: without waiting for it,
// the first output of the first cell could be lost.
func (c *Client) ready(ctx context.Context) error {
	for answered := false; ; {
		try, cancel := context.WithTimeout(ctx, infoRetry)
		err := c.askInfo(try)
		if answered = answered || err == nil; answered {
			select {
			case <-c.heard:
			case <-c.done:
			case <-try.Done():
			}
		}
		cancel()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case answered && closed(c.heard):
			return nil
		case err != nil && !errors.Is(err, context.DeadlineExceeded):
			return err
		}
	}
}

func (c *Client) askInfo(ctx context.Context) error {
	m, err := c.Request(ctx, Shell, "kernel_info_request", struct{}{})
	if err != nil {
		return err
	}
	var info KernelInfo
	// A field of another type than the protocol's is left empty; a kernel that wrote one is
	// still a kernel.
	err = json.Unmarshal(m.Content, &info)
	if _, odd := errors.AsType[*json.UnmarshalTypeError](err); err != nil && !odd {
		return fmt.Errorf("read kernel_info_reply: %w", err)
	}
	c.info = info
	return nil
}

// read hands over what comes on one channel until the connection ends.
func (c *Client) read(ch Channel, s *zmtp.Conn) {
	for {
		raw, err := s.Recv()
		if err != nil {
			c.ended(fmt.Errorf("%s: %w", ch, err))
			return
		}
		m, err := c.decode(ch, raw.Frames, raw.Dropped)
		if err != nil {
			c.options.Log.Debug("message dropped", "channel", ch, "reason", err)
			continue
		}
		if ch == IOPub {
			c.once.Do(func() { close(c.heard) })
		}
		if ch == Shell {
			c.listen()
		}
		c.answer(m)
		c.options.OnMessage(m)
	}
}

// rest lets what comes on iopub wait until the kernel has answered on shell, or for holdFor.
func (c *Client) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holding == nil && !c.ending {
		c.sockets[IOPub].Hold()
		c.holding = time.AfterFunc(holdFor, c.listen)
	}
}

// listen undoes rest.
func (c *Client) listen() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holding != nil {
		c.holding.Stop()
		c.holding = nil
		c.sockets[IOPub].Release()
	}
}

// answer gives a reply to the request that waits for it.
func (c *Client) answer(m Message) {
	if m.Channel == IOPub {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.waiting[m.Parent.MsgID]; w != nil {
		delete(c.waiting, m.Parent.MsgID)
		w <- m // it has room for the one reply
	}
}

// ended ends the connection because one channel did. The others are read to their end first; the
// first reason stays.
func (c *Client) ended(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending {
		c.ending, c.err = true, err
		for _, s := range c.sockets {
			s.EndWithin(lastWords)
		}
	}
	if c.reading--; c.reading == 0 {
		for _, s := range c.sockets {
			s.Close()
		}
		close(c.done)
	}
}

// dialRetry connects to a socket that may not be there yet.
func dialRetry(ctx context.Context, o zmtp.Options, path, other string) (*zmtp.Conn, error) {
	for {
		s, err := zmtp.Dial(ctx, path, o)
		if errors.Is(err, fs.ErrNotExist) {
			s, err = zmtp.Dial(ctx, other, o)
		}
		if err == nil || ctx.Err() == nil && !notYet(err) {
			return s, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (%w)", context.Cause(ctx), err)
		case <-time.After(connectRetry):
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
