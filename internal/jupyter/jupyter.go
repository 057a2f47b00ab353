// Package jupyter speaks the Jupyter messaging protocol to one kernel process.
//
// It writes the connection file, connects over unix sockets and detects when the kernel is ready. It sends
// requests, and passes on every message of the kernel, in order per channel. It finds kernels by their
// kernelspecs. It does not start or signal processes, does not queue requests, and does not decide when a
// cell is done.
//
// It checks the form of the kernel's messages, and does not trust their content. The code in a kernel knows
// the signing key, so it can forge any message, even a reply or an idle status. So only the process shows
// whether the kernel is alive. Messages with the wrong form are dropped and logged. Parts that are too
// large are left out and counted. A mark replaces values that are too deep.
//
// A kernel can get another key and session while it runs: see Client.Expect.
//
// A kernel can have one inherited stream in place of the sockets: see DialStream. Messages on the stream are not
// signed. Such a kernel can leave its last messages in shared memory.
//
// Calls that send do not wait for the kernel: bytes that its socket does not take are kept in a queue of bounded size.
//
// There is one lock, Client.mu. It is never held while a message is sent or passed on.
package jupyter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"cellhold/internal/jupyter/sendqueue"
)

// ErrDead is the error of calls that wait for a kernel process that has ended.
var ErrDead = errors.New("the kernel process is dead")

// ErrFull is the error for a message that was not sent, because too many bytes wait for a kernel that does not read.
var ErrFull = sendqueue.ErrFull

// maxWaiting is the limit of waiting bytes with which the client sends its own messages. All bytes that wait for the
// kernel count, also those of other messages.
const maxWaiting = 64 << 20

// Options configures a Client.
type Options struct {
	// OnMessage receives every message of the kernel, also replies to the client's own requests. One goroutine
	// per channel calls it, in the order of the channel; different channels have no common order. Over a
	// stream, one goroutine calls it for all messages, in their order. Messages can come before Dial returns.
	// OnMessage must be quick and must not wait for the kernel, because ZeroMQ drops unread messages. It can
	// be nil.
	OnMessage func(Message)
	// Dead is closed when the kernel process has ended. Then Dial stops waiting. It can be nil.
	Dead <-chan struct{}
	// Unsent returns a copy of the memory in which the kernel kept its unsent output. See stream.ReadUnsent. It
	// is called at most once, after Dead is closed and the stream was read to its end. It can be nil. Only
	// DialStream uses it.
	Unsent func() []byte
	// MaxMessage bounds the bytes of one message that are kept. Zero means 64 MiB.
	MaxMessage int64
	// Log records dropped messages at debug level, because user code can cause them. It can be nil.
	Log *slog.Logger
}

// Client is the connection to one kernel process. Its methods are safe for concurrent use.
type Client struct {
	options   Options
	keys      atomic.Pointer[keys]
	session   atomic.Pointer[string]
	counter   atomic.Uint64
	transport transport // set by begin
	readers   sync.WaitGroup
	ended     chan struct{} // closed by end, which can be called twice
	end       func()
	closing   chan struct{} // closed by shut, which can be called twice
	shut      func()
	done      chan struct{}
	info      KernelInfo   // set by begin
	lostBytes atomic.Int64 // bytes of the last output that the kernel could neither send nor keep

	mu      sync.Mutex
	waiting map[string]chan Message // replies by id of the request
	reading int                     // readers that have not ended
	ending  bool
	err     error // reason of the end
}

// transport carries messages to and from one kernel: over sockets, or over one stream.
type transport interface {
	// readers returns functions for one goroutine each. Together they return all messages.
	readers() []reader
	// ready returns when the kernel has answered Client.askInfo and no output can be lost. The readers must
	// run before the call.
	ready(ctx context.Context) error
	// send sends a message on its channel, and does not wait. If more than limit bytes would wait for the
	// kernel, the error is ErrFull.
	send(m Message, limit int) error
	// hold lets output wait until the kernel answers, or for a moment.
	hold()
	// finish makes all readers end soon, after they have returned the messages that the kernel had sent. The
	// caller must hold Client.mu.
	finish()
	// close ends all readers and sends. It can be called twice.
	close()
}

// reader returns the next message. After an errForm it can be called again. After any other error the channel
// or stream has ended.
type reader func() (Message, error)

// Dial connects to a kernel that can still be starting, and returns when the kernel is ready: it has answered a
// request, and the subscription to its output works. The context bounds only Dial. The caller must close
// the Client.
func Dial(ctx context.Context, conn Connection, o Options) (*Client, error) {
	c := newClient(conn.Key, o)
	err := c.begin(ctx, func(ctx context.Context) (transport, error) { return dialSockets(ctx, c, conn) })
	if err != nil {
		return nil, fmt.Errorf("connect to kernel at %s: %w", conn.Prefix, err)
	}
	return c, nil
}

func newClient(key string, o Options) *Client {
	if o.OnMessage == nil {
		o.OnMessage = func(Message) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{options: o, done: make(chan struct{}), waiting: make(map[string]chan Message)}
	c.ended, c.end = signal()
	c.closing, c.shut = signal()
	c.keys.Store(&keys{sign: key})
	c.Rename()
	return c
}

// signal returns a channel and the function that closes it. The function can be called twice.
func signal() (chan struct{}, func()) {
	ch := make(chan struct{})
	return ch, sync.OnceFunc(func() { close(ch) })
}

// begin connects and waits until the kernel is ready. It stops waiting when the kernel process has ended.
func (c *Client) begin(ctx context.Context, connect func(context.Context) (transport, error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-c.options.Dead:
			cancel(ErrDead)
		case <-ctx.Done():
		}
	})
	defer watch.Wait()
	defer cancel(nil)

	t, err := connect(ctx)
	if err != nil {
		return err
	}
	c.transport = t
	readers := t.readers()
	c.reading = len(readers)
	for _, next := range readers {
		c.readers.Go(func() { c.read(next) })
	}
	if err := t.ready(ctx); err != nil {
		c.Close()
		return err
	}
	return nil
}

// Info returns the kernel's description of itself.
func (c *Client) Info() KernelInfo { return c.info }

// Ended returns a channel that is closed when the connection has ended and all messages of the connection were
// passed on. The kernel or Close ends the connection.
func (c *Client) Ended() <-chan struct{} { return c.ended }

// Done returns a channel that is closed after Ended, when also the messages in Options.Unsent were passed on. They
// are passed on after the death of the kernel.
func (c *Client) Done() <-chan struct{} { return c.done }

// Lost returns the approximate number of bytes of the last output that the kernel could neither send nor keep in
// memory. It can be called after Done is closed.
func (c *Client) Lost() int64 { return c.lostBytes.Load() }

// Err returns the reason of the end. It is nil after Close, and before the end.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection, and returns when OnMessage will not be called again. So OnMessage must not call
// Close. The kernel keeps running. Close can be called twice.
func (c *Client) Close() error {
	c.mu.Lock()
	c.ending = true
	c.mu.Unlock()
	c.shut()
	c.transport.close()
	c.readers.Wait()
	return nil
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

// read passes on the messages of one reader until the connection ends.
func (c *Client) read(next reader) {
	for {
		m, err := next()
		if errors.Is(err, errForm) {
			c.options.Log.Debug("message dropped", "reason", err)
			continue
		}
		if err != nil {
			c.readerEnded(err)
			return
		}
		c.answer(m)
		c.options.OnMessage(m)
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

// endedBy records that the stream has ended, and the reason. Messages from the memory can follow.
func (c *Client) endedBy(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending {
		c.ending, c.err = true, err
	}
	c.end()
}

// readerEnded ends the connection after one reader has ended. The other readers read to their end first. The
// reason of the first reader is kept.
func (c *Client) readerEnded(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending {
		c.ending, c.err = true, err
		c.transport.finish()
	}
	if c.reading--; c.reading == 0 {
		c.transport.close()
		c.end()
		close(c.done)
	}
}
