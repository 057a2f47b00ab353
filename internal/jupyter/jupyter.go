// Package jupyter speaks the Jupyter messaging protocol to one kernel process.
//
// It writes the connection file, connects over unix sockets and detects when the kernel is ready. It sends
// requests, and passes on every message of the kernel, in order per channel. It finds kernels by their
// kernelspecs. It does not start or signal processes, does not queue requests, and does not decide when a
// cell is done.
//
// It checks the form of the kernel's messages, and trusts nothing else. The code in a kernel knows the
// signing key, so it can forge any message, a reply or an idle status included. So only the process shows
// whether the kernel is alive. Messages with the wrong form are dropped and logged. Parts that are too
// large or too deep are left out and counted.
//
// A kernel can get another key and session while it runs: see Client.Expect.
//
// There is one lock, Client.mu. It is never held while a message is sent or passed on.
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

// ErrDead is the error of calls that wait for a kernel process that has ended.
var ErrDead = errors.New("the kernel process is dead")

const (
	// connectRetry is the pause between two attempts to connect to a kernel that is starting. An attempt
	// costs microseconds, and a start takes at least a third of a second. A watch of the directory would
	// not replace the attempts. A socket file appears at bind, and connections are refused until listen,
	// which makes no event.
	connectRetry = 5 * time.Millisecond
	// infoRetry is the time to wait for a kernel_info_reply before the request is sent again. A kernel may
	// lose the first request, or its status messages, while it is starting.
	infoRetry = time.Second
	// lastOutput is how long the other channels are read after one has ended. In each socket a kernel that
	// dies leaves its last messages, and then the end of the stream.
	lastOutput = time.Second
	// holdFor is how long the first output of a request can wait. So the output of a short cell is read at
	// once, when the kernel has answered. Then five messages need one wake-up of this process instead of
	// five, while it shares its processors with the kernel. The delay is too short to notice.
	holdFor = 20 * time.Millisecond
)

// Options configures a Client.
type Options struct {
	// OnMessage receives every message of the kernel, also replies to the client's own requests, from one
	// goroutine per channel. Messages are in order on each channel, and without order between channels.
	// They can come before Dial returns. OnMessage must be quick and must not wait for the kernel, because
	// ZeroMQ drops unread messages. It may be nil.
	OnMessage func(Message)
	// Dead is closed when the kernel process has ended. Then Dial stops waiting. It may be nil.
	Dead <-chan struct{}
	// MaxMessage bounds the bytes of one message that are kept. Zero means 64 MiB.
	MaxMessage int64
	// Log records dropped messages at debug level, because user code can cause them. It may be nil.
	Log *slog.Logger
}

// Client is the connection to one kernel process. Its methods are safe for concurrent use.
type Client struct {
	conn      Connection
	options   Options
	keys      atomic.Pointer[keys]
	session   atomic.Pointer[string]
	counter   atomic.Uint64
	sockets   map[Channel]*zmtp.Conn // set by Dial
	readers   sync.WaitGroup
	published chan struct{} // closed at the first message on iopub
	once      sync.Once     // closes published
	done      chan struct{}
	info      KernelInfo // set by Dial

	mu      sync.Mutex
	holding *time.Timer             // ends the pause of iopub; nil when there is none
	waiting map[string]chan Message // replies by id of the request
	reading int                     // channels that have not ended
	ending  bool
	err     error // reason of the end
}

// Dial connects to a kernel that may still be starting, and returns when it is ready: it has answered a
// request, and the subscription to its output works. The context bounds only Dial. The caller must close
// the Client.
func Dial(ctx context.Context, conn Connection, o Options) (*Client, error) {
	if o.OnMessage == nil {
		o.OnMessage = func(Message) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		conn: conn, options: o,
		sockets:   make(map[Channel]*zmtp.Conn),
		published: make(chan struct{}),
		done:      make(chan struct{}),
		waiting:   make(map[string]chan Message),
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

// Info returns the kernel's description of itself.
func (c *Client) Info() KernelInfo { return c.info }

// Done returns a channel that is closed when the connection has ended and all earlier messages were passed
// on. Close or the kernel ends the connection.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns the reason of the end. It is nil after Close, and before the end.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection and waits until OnMessage will not be called again. So OnMessage must not call
// it. The kernel keeps running. Close can be called twice.
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

// connect opens the subscription first, so that no output is missed. Shell and stdin share an identity,
// with which the kernel finds the client that it can ask for input.
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

// ready repeats a request until the kernel has answered it and a message has come over iopub. That message
// is the welcome of newer kernels, or a status of the request itself. Without this wait, the first output
// of the first cell could be lost.
func (c *Client) ready(ctx context.Context) error {
	for answered := false; ; {
		try, cancel := context.WithTimeout(ctx, infoRetry)
		err := c.askInfo(try)
		if answered = answered || err == nil; answered {
			select {
			case <-c.published:
			case <-c.done:
			case <-try.Done():
			}
		}
		cancel()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case answered && closed(c.published):
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
	// A field with a wrong type stays empty, because the kernel can still be used.
	err = json.Unmarshal(m.Content, &info)
	if _, odd := errors.AsType[*json.UnmarshalTypeError](err); err != nil && !odd {
		return fmt.Errorf("read kernel_info_reply: %w", err)
	}
	c.info = info
	return nil
}

// read passes on the messages of one channel until the connection ends.
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
			c.once.Do(func() { close(c.published) })
		}
		if ch == Shell {
			c.releaseOutput()
		}
		c.answer(m)
		c.options.OnMessage(m)
	}
}

// holdOutput lets messages on iopub wait until the kernel has answered on shell, or for holdFor.
func (c *Client) holdOutput() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holding == nil && !c.ending {
		c.sockets[IOPub].Hold()
		c.holding = time.AfterFunc(holdFor, c.releaseOutput)
	}
}

// releaseOutput undoes holdOutput.
func (c *Client) releaseOutput() {
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
		w <- m // does not block: the channel has a buffer for the one reply
	}
}

// ended ends the connection because one channel ended. The other channels are read to their end first. The
// first reason is kept.
func (c *Client) ended(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending {
		c.ending, c.err = true, err
		for _, s := range c.sockets {
			s.EndWithin(lastOutput)
		}
	}
	if c.reading--; c.reading == 0 {
		for _, s := range c.sockets {
			s.Close()
		}
		close(c.done)
	}
}

// dialRetry connects to a socket that may not exist yet.
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
