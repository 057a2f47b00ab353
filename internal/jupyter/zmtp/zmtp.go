// Package zmtp speaks ZMTP 3.0, the wire protocol of ZeroMQ, over one connected stream.
//
// It is the small part of ZeroMQ that a Jupyter client needs: the NULL mechanism, one peer per
// connection, no reconnecting, no queues. It takes every byte of the peer for hostile: a size is
// checked before memory is given for it, memory grows only as bytes arrive, and what is too large
// is skipped and counted instead of kept. It refuses ZMTP 1 and 2, PLAIN, CURVE, and any address
// that is not a unix socket.
//
// Send may be called from any goroutine. Recv belongs to one goroutine at a time.
package zmtp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"time"
)

// SocketType is the ZeroMQ type that one end of a connection plays.
type SocketType string

// The types that this package can play. Router and XPub are the kernel's side and serve tests.
const (
	Dealer SocketType = "DEALER"
	Sub    SocketType = "SUB"
	Router SocketType = "ROUTER"
	XPub   SocketType = "XPUB"
)

// partners says which types may stand at the other end; any other pair loses messages silently.
var partners = map[SocketType][]SocketType{
	Dealer: {Router},
	Sub:    {"PUB", XPub},
	Router: {Dealer, "REQ"},
	XPub:   {Sub, "XSUB"},
}

const (
	// defaultMaxMessage is well above the largest output worth keeping (a 10 MB print is one
	// message of 10 MB), and well below the memory of the smallest sandbox.
	defaultMaxMessage = 64 << 20
	// defaultMaxFrames bounds the slice headers of a message made of empty frames. A Jupyter
	// message has 7 frames and a widget's buffers, some dozens at most.
	defaultMaxFrames = 1024
	// maxFrame is the largest size that is believed at all. What lies between the message
	// limit and this is skipped; a peer that announces more is lying, and is left.
	maxFrame = math.MaxInt32
	// maxCommand holds any READY: a type, an identity of 255 bytes, and room for properties.
	maxCommand = 4096
	// readBuffer makes one read of many small frames, which is what a busy kernel sends.
	readBuffer = 64 << 10
	// sendTimeout ends a send to a peer that has stopped reading. ZeroMQ reads on a thread of
	// its own, so a healthy peer takes milliseconds even while it computes.
	sendTimeout = 10 * time.Second
)

// ErrProtocol marks everything that a correct ZMTP 3.0 peer would not have sent. The connection
// is of no use after it.
var ErrProtocol = errors.New("the peer broke ZMTP")

// Options says how to play one end of a connection.
type Options struct {
	Type       SocketType // required
	Identity   []byte     // told to the peer, at most 255 bytes; empty means none
	MaxMessage int64      // bytes of one message that are kept; zero means 64 MiB
	MaxFrames  int        // frames of one message that are kept; zero means 1024

	// Quiet makes Hold work, for a connection on which little is sent.
	Quiet bool
}

// Peer is what the other end said of itself.
type Peer struct {
	Type     SocketType
	Identity []byte
}

// Message is one message, in frames.
type Message struct {
	Frames [][]byte
	// Dropped is not zero when the message was larger than the limits. It counts the bytes
	// and frames that were skipped: the first frame that did not fit and all after it.
	Dropped int64
}

// Conn is one end of a connection after the handshake.
type Conn struct {
	nc         net.Conn
	r          *bufio.Reader
	peer       Peer
	maxMessage int64
	maxFrames  int

	mu sync.Mutex // guards writing: frames of two messages must not mix
}

// Dial connects to a unix socket and shakes hands. The context bounds both.
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

// holder is a stream whose reader can be left asleep.
type holder interface {
	hold()
	release()
}

// Hold lets a waiting Recv sleep on, whatever arrives, until Release. It spares a process that cannot
// do anything yet with what arrives from being woken for each piece. The end of the connection is
// seen all the same. It does nothing unless the connection was dialled to be quiet.
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

// New shakes hands on a connected stream, at either end. The stream belongs to the Conn from then
// on, and is closed when the handshake fails. The stream must take 64 bytes before the peer
// reads, as sockets do and net.Pipe does not.
func New(ctx context.Context, nc net.Conn, o Options) (*Conn, error) {
	if partners[o.Type] == nil || len(o.Identity) > maxIdentity {
		nc.Close()
		return nil, fmt.Errorf("zmtp: cannot play a %q socket with an identity of %d bytes", o.Type, len(o.Identity))
	}
	c := &Conn{nc: nc, r: bufio.NewReaderSize(nc, readBuffer), maxMessage: o.MaxMessage, maxFrames: o.MaxFrames}
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
		nc.Close()
		return nil, fmt.Errorf("zmtp: handshake as %s: %w", o.Type, err)
	}
	return c, nil
}

// Peer is what the other end said of itself in the handshake.
func (c *Conn) Peer() Peer { return c.peer }

// Subscribe asks for all messages whose first frame begins with prefix; all if it is empty.
// It is for Sub. ZMTP 3.0 carries the wish as a message.
func (c *Conn) Subscribe(prefix string) error {
	return c.Send(append([]byte{1}, prefix...))
}

// Send writes one message with one system call. It fails when the peer does not read for ten
// seconds, and the connection is closed then, because half a message may be out.
func (c *Conn) Send(frames ...[]byte) error {
	if len(frames) == 0 {
		return errors.New("zmtp: a message has at least one frame")
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
	return c.write(message)
}

func (c *Conn) write(message []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nc.SetWriteDeadline(time.Now().Add(sendTimeout))
	if _, err := c.nc.Write(message); err != nil {
		c.nc.Close()
		return fmt.Errorf("zmtp: send: %w", err)
	}
	return nil
}

// Recv returns the next message. It answers heartbeats on the way. After an error the connection
// is of no use; io.EOF means that the peer closed it between two messages.
func (c *Conn) Recv() (Message, error) {
	var m Message
	room := c.maxMessage
	for {
		h, err := readHeader(c.r)
		if err != nil {
			return Message{}, midway(err, m)
		}
		if h.command() {
			if err := c.command(h.size); err != nil {
				return Message{}, err
			}
			continue
		}
		if m.Dropped > 0 || h.size > room || len(m.Frames) == c.maxFrames {
			m.Dropped += h.size + 1
			_, err = c.r.Discard(int(h.size))
		} else {
			var body []byte
			body, err = readBody(c.r, h.size)
			m.Frames = append(m.Frames, body)
			room -= h.size
		}
		if err != nil {
			return Message{}, fmt.Errorf("zmtp: receive a frame of %d bytes: %w", h.size, cut(err))
		}
		if !h.more() {
			return m, nil
		}
	}
}

// EndWithin lets Recv return only what arrives within d; after that it fails.
func (c *Conn) EndWithin(d time.Duration) {
	c.nc.SetReadDeadline(time.Now().Add(d))
}

// Close ends the connection; a blocked Recv or Send returns. It may be called twice.
func (c *Conn) Close() error {
	if err := c.nc.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
