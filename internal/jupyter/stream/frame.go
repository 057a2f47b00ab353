package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

const (
	lengthSize = 4 // bytes of the field with the length of a frame
	headSize   = 8 // bytes of the fields length, channel, zero and number of parts
	sizeSize   = 4 // bytes of the field with the size of one part
	// firstRead is the largest buffer that is allocated for the parts before their first bytes arrive.
	firstRead = 64 << 10
	// largeMessage is the size of a message from which Options.Large is called.
	largeMessage = 256 << 10
)

// head is the beginning of a frame.
type head struct {
	length  uint32
	channel Channel
	parts   int
}

// readHead reads and checks the beginning of the next frame. If the stream ended before the frame, the error is
// io.EOF itself.
func (c *Conn) readHead() (head, error) {
	b, err := c.r.Peek(headSize)
	if len(b) == 0 && err != nil {
		return head{}, err
	}
	if err != nil {
		return head{}, unexpectedEOF(err)
	}
	h := head{
		length:  binary.LittleEndian.Uint32(b),
		channel: Channel(b[4]),
		parts:   int(binary.LittleEndian.Uint16(b[6:])),
	}
	switch {
	case h.channel < Shell || h.channel > IOPub && !(c.notes && h.channel == Note):
		return head{}, fmt.Errorf("%w: a frame for channel %d", ErrProtocol, h.channel)
	case b[5] != 0:
		return head{}, fmt.Errorf("%w: the byte after the channel is %d; it must be 0", ErrProtocol, b[5])
	case h.parts < minParts:
		return head{}, fmt.Errorf("%w: a frame of %d parts; the minimum is %d", ErrProtocol, h.parts, minParts)
	}
	c.r.Discard(headSize) // the bytes are in the buffer
	return h, nil
}

// readSizes reads the sizes of the parts into c.sizes. They must agree with the length of the frame. The table
// has at most 65,535 sizes, and no memory is allocated for a table that is longer than its frame.
func (c *Conn) readSizes(h head) error {
	space := int64(h.length) - (headSize - lengthSize) - sizeSize*int64(h.parts)
	if space < 0 {
		return fmt.Errorf("%w: a frame of %d bytes has no space for the sizes of %d parts", ErrProtocol, h.length, h.parts)
	}
	if c.sizes = c.sizes[:0]; cap(c.sizes) < h.parts {
		c.sizes = make([]uint32, 0, h.parts)
	}
	for range h.parts {
		b, err := c.r.Peek(sizeSize)
		if err != nil {
			return unexpectedEOF(err)
		}
		size := binary.LittleEndian.Uint32(b)
		c.r.Discard(sizeSize) // the bytes are in the buffer
		if space -= int64(size); space < 0 {
			break
		}
		c.sizes = append(c.sizes, size)
	}
	if space != 0 {
		return fmt.Errorf("%w: the sizes of the parts do not add up to the frame of %d bytes", ErrProtocol, h.length)
	}
	return nil
}

// readParts reads the parts that fit the limits, and skips the first part that does not fit and all later
// ones.
func (c *Conn) readParts() (Message, error) {
	var m Message
	kept, size := c.fitting(c.maxMessage)
	if c.large != nil && size > largeMessage {
		keep, err := c.large(size)
		if err != nil {
			return m, err
		}
		if !keep {
			kept, size = c.fitting(largeMessage)
		}
	}
	body, err := readBody(c.r, size)
	if err != nil {
		return m, err
	}
	m.Parts = make([][]byte, kept)
	for i, n := range c.sizes[:kept] {
		m.Parts[i], body = body[:n:n], body[n:]
	}
	for _, n := range c.sizes[kept:] {
		m.Dropped += int64(n) + 1
		if err := c.skip(int64(n)); err != nil {
			return m, err
		}
	}
	return m, nil
}

// fitting returns the number and the size of the first parts that fit a limit.
func (c *Conn) fitting(limit int64) (kept int, size int64) {
	for ; kept < min(len(c.sizes), c.maxParts) && size+int64(c.sizes[kept]) <= limit; kept++ {
		size += int64(c.sizes[kept])
	}
	return kept, size
}

func (c *Conn) skip(n int64) error {
	for n > 0 {
		some, err := c.r.Discard(int(min(n, math.MaxInt32)))
		if err != nil {
			return err
		}
		n -= int64(some)
	}
	return nil
}

// readBody reads size bytes. The buffer starts small and doubles when it is full. So a kernel that announces
// many bytes and sends few makes readBody allocate little memory.
func readBody(r io.Reader, size int64) ([]byte, error) {
	b := make([]byte, min(size, firstRead))
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	for int64(len(b)) < size {
		have := len(b)
		grown := make([]byte, min(size, 2*int64(have)))
		copy(grown, b)
		if _, err := io.ReadFull(r, grown[have:]); err != nil {
			return nil, err
		}
		b = grown
	}
	return b, nil
}

// unexpectedEOF turns io.EOF into io.ErrUnexpectedEOF, for a stream that ended inside a frame.
func unexpectedEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// receiveError returns the error of Recv. The end of the stream between two messages is io.EOF itself.
func receiveError(err error) error {
	if err == io.EOF {
		return err
	}
	return fmt.Errorf("stream: receive: %w", err)
}
