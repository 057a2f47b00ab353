package zmtp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Flags of a frame header.
const (
	flagMore    = 1
	flagLong    = 2 // the size takes 8 bytes instead of 1
	flagCommand = 4
)

const (
	maxHeader = 9 // 1 byte of flags and 8 bytes of size
	// firstRead is the largest buffer that is allocated for a frame before its first bytes arrive.
	firstRead = 64 << 10
)

// header is the decoded header of a frame.
type header struct {
	flags byte
	size  int64
}

// hasMore reports whether the message has another frame after this one.
func (h header) hasMore() bool   { return h.flags&flagMore != 0 }
func (h header) isCommand() bool { return h.flags&flagCommand != 0 }

// readHeader reads and checks the header of the next frame. If the stream ended before the header, the error
// is io.EOF itself, not wrapped.
func readHeader(r io.Reader) (header, error) {
	var b [maxHeader]byte
	if _, err := io.ReadFull(r, b[:1]); err != nil {
		return header{}, err
	}
	h := header{flags: b[0]}
	if h.flags&^(flagMore|flagLong|flagCommand) != 0 || h.isCommand() && h.hasMore() {
		return header{}, fmt.Errorf("%w: a frame with the flags %#x", ErrProtocol, h.flags)
	}
	size := b[1:2]
	if h.flags&flagLong != 0 {
		size = b[1:9]
	}
	if _, err := io.ReadFull(r, size); err != nil {
		return header{}, unexpectedEOF(err)
	}
	n := uint64(size[0])
	if len(size) == 8 {
		n = binary.BigEndian.Uint64(size)
	}
	limit := uint64(maxFrame)
	if h.isCommand() {
		limit = maxCommand
	}
	if n > limit {
		return header{}, fmt.Errorf("%w: a frame of %d bytes; the limit is %d", ErrProtocol, n, limit)
	}
	h.size = int64(n)
	return h, nil
}

func appendHeader(b []byte, flags byte, size int) []byte {
	if size <= 255 {
		return append(b, flags, byte(size))
	}
	return binary.BigEndian.AppendUint64(append(b, flags|flagLong), uint64(size))
}

// readBody reads size bytes. The buffer starts small and doubles when it is full. So a peer that announces
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

// unexpectedEOF turns io.EOF into io.ErrUnexpectedEOF, because the stream ended inside a frame or a message.
func unexpectedEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// headerError returns the error of Recv when a header could not be read, with m as the message so far. Between
// messages the end of the stream is io.EOF itself.
func headerError(err error, m Message) error {
	if err == io.EOF && len(m.Frames) == 0 && m.Dropped == 0 {
		return err
	}
	return fmt.Errorf("zmtp: receive: %w", unexpectedEOF(err))
}
