// Package stream carries all messages of one kernel over one socket.
//
// It replaces the sockets of ZeroMQ for a kernel that inherits one end of a socket pair. Nothing is signed,
// because no other program can reach the socket. All channels share one order, and one read returns many
// messages.
//
//	frame   = u32 length of the rest, u8 channel, u8 zero, u16 number of parts, u32 size of each part, the parts
//	channel = 1 shell, 2 control, 3 stdin, 4 iopub
//
// All numbers are little-endian. The first four parts are header, parent header, metadata and content.
// Buffers follow.
//
// Every byte of the kernel can be hostile. Sizes are checked before memory is allocated, and memory grows
// only as bytes arrive. Parts that are too large are skipped and counted. Frames whose sizes contradict each
// other are refused. The package does not read the content of the parts.
//
// A kernel can also keep its unsent output in shared memory, so that this output survives the kernel's death. See
// ReadUnsent, and unsent.py of the stock image.
//
// Send can be called from any goroutine, and never waits. One goroutine at a time can call Recv.
package stream

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"

	"cellhold/internal/jupyter/sendqueue"
)

// Channel is the number of a kernel's channel.
type Channel uint8

// The channels of a kernel.
const (
	Shell   Channel = 1
	Control Channel = 2
	Stdin   Channel = 3
	IOPub   Channel = 4
)

const (
	// defaultMaxMessage and defaultMaxParts are the limits of zmtp, for the same reasons.
	defaultMaxMessage = 64 << 20
	defaultMaxParts   = 1024
	// minParts is the number of parts of a message without buffers.
	minParts = 4
	// readBuffer is the size of the buffer. One read can return many small messages, which a busy kernel sends.
	readBuffer = 64 << 10
	// maxWaiting bounds the bytes that wait for a kernel that does not read. C code that keeps Python's lock can
	// make a kernel stop for minutes. The messages of wires have a lower limit. So the largest cell still has space
	// when the messages of wires fill their own limit.
	maxWaiting = 64 << 20
)

// ErrProtocol marks all data that a correct kernel would not send. The connection cannot be used after it.
var ErrProtocol = errors.New("the kernel broke the protocol of its stream")

// Options configures one end of a stream.
type Options struct {
	MaxMessage int64 // bytes of one message that are kept; zero means 64 MiB
	MaxParts   int   // parts of one message that are kept; zero means 1024
	Notes      bool  // the other end can send on Note; a kernel cannot

	// Large is called before the parts of a message of more than 256 KiB are read. It can wait. If keep is false, only
	// the first parts of up to 256 KiB are kept. After an error the connection cannot be used. Large can be nil.
	Large func(size int64) (keep bool, err error)

	// Rest returns the bytes that continue the stream. Recv calls it once, after the other end was closed. read
	// is the number of bytes that came from the socket, and end is the socket's error. Rest can be nil.
	Rest func(read int64, end error) []byte
}

// Message is one message, in parts.
type Message struct {
	Channel Channel
	Parts   [][]byte
	// Dropped is not zero if the message exceeded the limits. It counts the bytes and parts that were
	// skipped: the first part that did not fit and all later ones.
	Dropped int64
}

// Conn is one end of a stream.
type Conn struct {
	out        *sendqueue.Queue // nil for Decode
	r          *bufio.Reader
	maxMessage int64
	maxParts   int
	notes      bool // the other end can send on Note
	large      func(size int64) (keep bool, err error)
	sizes      []uint32 // of the parts of the current message
}

// New returns one end of a stream. It owns nc.
func New(nc net.Conn, o Options) *Conn {
	nc = light(nc)
	c := &Conn{out: sendqueue.New(nc), maxMessage: o.MaxMessage, maxParts: o.MaxParts, notes: o.Notes, large: o.Large}
	c.r = bufio.NewReaderSize(&source{nc: nc, more: o.Rest}, readBuffer)
	if c.maxMessage <= 0 {
		c.maxMessage = defaultMaxMessage
	}
	if c.maxParts <= 0 {
		c.maxParts = defaultMaxParts
	}
	return c
}

// ErrFull is the error for a message that was not sent, because too many bytes wait for a kernel that does not read.
var ErrFull = sendqueue.ErrFull

// Send sends one message of at least four parts. It does not wait: bytes that the socket does not take now are sent
// when the kernel reads. The error is ErrFull if more than 64 MiB would wait. After the end of the other end Send
// fails, but Recv still returns the last messages of that end.
func (c *Conn) Send(ch Channel, parts ...[]byte) error { return c.SendWithin(maxWaiting, ch, parts...) }

// SendWithin is Send with another limit of the bytes that can wait.
func (c *Conn) SendWithin(limit int, ch Channel, parts ...[]byte) error {
	frame, err := appendFrame(nil, ch, parts)
	if err != nil {
		return err
	}
	if err := c.out.Send(frame, limit); err != nil {
		return fmt.Errorf("stream: send: %w", err)
	}
	return nil
}

func appendFrame(b []byte, ch Channel, parts [][]byte) ([]byte, error) {
	length := headSize - lengthSize + sizeSize*len(parts)
	for _, p := range parts {
		length += len(p)
	}
	if len(parts) < minParts || len(parts) > math.MaxUint16 || int64(length) > math.MaxUint32 {
		return nil, fmt.Errorf("stream: cannot send a message of %d parts and %d bytes; the limits are %d to %d parts and %d bytes",
			len(parts), length, minParts, math.MaxUint16, uint32(math.MaxUint32))
	}
	if len(b) == 0 {
		b = make([]byte, 0, lengthSize+length)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(length))
	b = append(b, byte(ch), 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(parts)))
	for _, p := range parts {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p)))
	}
	for _, p := range parts {
		b = append(b, p...)
	}
	return b, nil
}

// Recv returns the next message. After an error the connection cannot be used. io.EOF means that the other
// end was closed between two messages.
func (c *Conn) Recv() (Message, error) {
	h, err := c.readHead()
	if err == nil {
		err = c.readSizes(h)
	}
	if err != nil {
		return Message{}, receiveError(err)
	}
	m, err := c.readParts()
	m.Channel = h.channel
	if err != nil {
		return Message{}, receiveError(fmt.Errorf("a message of %d bytes: %w", h.length, unexpectedEOF(err)))
	}
	return m, nil
}

// Decode reads one whole frame that did not come over the stream, with the limits of the connection. It can be
// called after an error of Recv.
func (c *Conn) Decode(frame []byte) (Message, error) {
	r := bytes.NewReader(frame)
	d := Conn{r: bufio.NewReaderSize(r, min(readBuffer, len(frame))), maxMessage: c.maxMessage, maxParts: c.maxParts}
	m, err := d.Recv()
	if more := d.r.Buffered() + r.Len(); err == nil && more > 0 {
		return Message{}, fmt.Errorf("%w: %d bytes after the frame", ErrProtocol, more)
	}
	return m, err
}

// Drain waits until the kernel has taken all messages, or the connection has ended.
func (c *Conn) Drain() { c.out.Drain() }

// Close ends the connection; a blocked Recv returns. Messages that wait for the kernel are not sent. Close can be
// called twice.
func (c *Conn) Close() error { return c.out.Close() }
