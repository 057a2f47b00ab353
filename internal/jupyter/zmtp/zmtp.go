// Package zmtp speaks ZMTP 3.0, the wire protocol of ZeroMQ, over one connected stream.
//
// It is the small part of ZeroMQ that a Jupyter client needs: the NULL mechanism, one peer per connection,
// and no reconnects. Every byte of the peer can be hostile. A size is checked before memory is
// allocated, memory grows only as bytes arrive, and data that is too large is skipped and counted. The
// package refuses ZMTP 1 and 2, PLAIN and CURVE. It dials only unix sockets.
//
// Send can be called from any goroutine, and never waits. One goroutine at a time can call Recv.
package zmtp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"cellhold/internal/jupyter/sendqueue"
)

// SocketType is the ZeroMQ type of one end of a connection.
type SocketType string

// The supported types. Router and XPub are the kernel's side.
const (
	Dealer SocketType = "DEALER"
	Sub    SocketType = "SUB"
	Router SocketType = "ROUTER"
	XPub   SocketType = "XPUB"
)

// partners lists the types that can be at the other end. Any other pair loses messages silently.
var partners = map[SocketType][]SocketType{
	Dealer: {Router},
	Sub:    {"PUB", XPub},
	Router: {Dealer, "REQ"},
	XPub:   {Sub, "XSUB"},
}

const (
	// defaultMaxMessage is well above the largest useful output, and well below the memory of the smallest
	// sandbox. A print of 10 MB is one message of 10 MB.
	defaultMaxMessage = 64 << 20
	// defaultMaxFrames bounds the slice headers of a message with empty frames. A Jupyter message has 7
	// frames and a widget's buffers, at most some dozens.
	defaultMaxFrames = 1024
	// maxFrame is the largest plausible size. A message between the message limit and this size is skipped.
	// A peer that announces more is hostile, and the connection ends.
	maxFrame = math.MaxInt32
	// maxCommand is large enough for any READY: a type, an identity of 255 bytes, and other properties.
	maxCommand = 4096
	// readBuffer makes one read of many small frames, which a busy kernel sends.
	readBuffer = 64 << 10
	// maxWaiting bounds the bytes that wait for a peer that does not read. ZeroMQ reads on a thread of its own, and
	// stops after a thousand messages that the kernel has not taken.
	maxWaiting = 64 << 20
	// lastMessages is how long Recv returns messages after a failed Send. A peer that dies leaves its last messages in
	// the socket.
	lastMessages = time.Second
)

// ErrProtocol marks all data that a correct ZMTP 3.0 peer would not send. The connection cannot be used
// after it.
var ErrProtocol = errors.New("the peer broke ZMTP")

// Options configures one end of a connection.
type Options struct {
	Type       SocketType // required
	Identity   []byte     // sent to the peer, at most 255 bytes; empty means none
	MaxMessage int64      // bytes of one message that are kept; zero means 64 MiB
	MaxFrames  int        // frames of one message that are kept; zero means 1024

	// Quiet makes Hold work, for a connection on which little is sent.
	Quiet bool
}

// Peer is the other end's description of itself.
type Peer struct {
	Type     SocketType
	Identity []byte
}

// Message is one message, in frames.
type Message struct {
	Frames [][]byte
	// Dropped is not zero if the message exceeded the limits. It counts the bytes and frames that were
	// skipped: the first frame that did not fit and all later ones.
	Dropped int64
}

// Conn is one end of a connection after the handshake.
type Conn struct {
	nc         net.Conn
	r          *bufio.Reader
	peer       Peer
	maxMessage int64
	maxFrames  int
	out        *sendqueue.Queue // owns nc after the first greeting
}

// Dial connects to a unix socket and makes the handshake. The context bounds both.
func Dial(ctx context.Context, path string, o Options) (*Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", path)
	switch {
	case err != nil:
	case o.Quiet:
		nc, err = quiet(nc)
	default:
		nc, err = light(nc)
	}
	if err != nil {
		return nil, err
	}
	return New(ctx, nc, o)
}

// holder is a stream whose reader can keep sleeping.
type holder interface {
	hold()
	release()
}

// Hold lets a waiting Recv sleep until Release, although data arrive. A process that cannot use the data
// yet is then not woken for each piece. The end of the connection is still reported. Hold does nothing
// unless the connection was dialled with Quiet.
func (c *Conn) Hold() {
	if h, ok := c.nc.(holder); ok {
		h.hold()
	}
}

// Release undoes Hold.
func (c *Conn) Release() {
	if h, ok := c.nc.(holder); ok {
		h.release()
	}
}

// New makes the handshake on a connected stream, at either end. The Conn owns the stream, which is closed
// if the handshake fails. The stream must accept 64 bytes before the peer reads, as sockets do and net.Pipe
// does not.
func New(ctx context.Context, nc net.Conn, o Options) (*Conn, error) {
	if partners[o.Type] == nil || len(o.Identity) > maxIdentity {
		nc.Close()
		return nil, fmt.Errorf("zmtp: a %q socket with an identity of %d bytes is not supported", o.Type, len(o.Identity))
	}
	c := &Conn{nc: nc, r: bufio.NewReaderSize(nc, readBuffer), maxMessage: o.MaxMessage, maxFrames: o.MaxFrames, out: sendqueue.New(nc)}
	if c.maxMessage <= 0 {
		c.maxMessage = defaultMaxMessage
	}
	if c.maxFrames <= 0 {
		c.maxFrames = defaultMaxFrames
	}
	// A deadline in the past wakes a blocked read or write when the context ends.
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	err := c.handshake(o)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("zmtp: handshake as %s: %w", o.Type, err)
	}
	return c, nil
}

// Peer returns the other end's description of itself from the handshake.
func (c *Conn) Peer() Peer { return c.peer }

// Subscribe asks for all messages whose first frame begins with prefix. An empty prefix means all. It is
// for Sub. ZMTP 3.0 sends the request as a message.
func (c *Conn) Subscribe(prefix string) error {
	return c.Send(append([]byte{1}, prefix...))
}

// ErrFull is the error for a message that was not sent, because too many bytes wait for a peer that does not read.
var ErrFull = sendqueue.ErrFull

// Send sends one message with one system call. It does not wait: bytes that the socket does not take now are sent
// when the peer reads. The error is ErrFull if more than 64 MiB would wait. After any other error Recv ends soon, when
// it has returned the messages that the peer had sent.
func (c *Conn) Send(frames ...[]byte) error { return c.SendWithin(maxWaiting, frames...) }

// SendWithin is Send with another limit of the bytes that can wait.
func (c *Conn) SendWithin(limit int, frames ...[]byte) error {
	if len(frames) == 0 {
		return errors.New("zmtp: a message needs at least one frame")
	}
	size := 0
	for _, f := range frames {
		size += maxHeader + len(f)
	}
	message := make([]byte, 0, size)
	for i, f := range frames {
		var flags byte
		if i < len(frames)-1 {
			flags = flagMore
		}
		message = append(appendHeader(message, flags, len(f)), f...)
	}
	return c.write(message, limit)
}

func (c *Conn) write(message []byte, limit int) error {
	err := c.out.Send(message, limit)
	if err == nil {
		return nil
	}
	if !errors.Is(err, ErrFull) {
		// A peer can close only its reading half. If Recv did not end, its caller would wait for answers that never
		// come.
		c.EndWithin(lastMessages)
	}
	return fmt.Errorf("zmtp: send: %w", err)
}

// Recv returns the next message, and answers heartbeats. After an error the connection cannot be used.
// io.EOF means that the peer closed it between two messages.
func (c *Conn) Recv() (Message, error) {
	var m Message
	space := c.maxMessage
	for {
		h, err := readHeader(c.r)
		if err != nil {
			return Message{}, headerError(err, m)
		}
		if h.isCommand() {
			if err := c.command(h.size); err != nil {
				return Message{}, err
			}
			continue
		}
		if m.Dropped > 0 || h.size > space || len(m.Frames) == c.maxFrames {
			m.Dropped += h.size + 1
			_, err = c.r.Discard(int(h.size))
		} else {
			var body []byte
			body, err = readBody(c.r, h.size)
			m.Frames = append(m.Frames, body)
			space -= h.size
		}
		if err != nil {
			return Message{}, fmt.Errorf("zmtp: receive a frame of %d bytes: %w", h.size, unexpectedEOF(err))
		}
		if !h.hasMore() {
			return m, nil
		}
	}
}

// EndWithin makes Recv fail after d. Messages that arrive before are returned.
func (c *Conn) EndWithin(d time.Duration) {
	c.nc.SetReadDeadline(time.Now().Add(d))
}

// Drain waits until the peer has taken all messages, or the connection has ended.
func (c *Conn) Drain() { c.out.Drain() }

// Close ends the connection; a blocked Recv returns. Messages that wait for the peer are not sent. Close can be
// called twice.
func (c *Conn) Close() error { return c.out.Close() }
