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
	maxHeader = 9 // flags and a long size
	// firstRead bounds the memory that a frame's announced size alone can allocate.
	firstRead = 64 << 10
)

type header struct {
	flags byte
	size  int64
}

func (h header) more() bool    { return h.flags&flagMore != 0 }
func (h header) command() bool { return h.flags&flagCommand != 0 }

// readHeader reads and checks the header of the next frame. The error is plain io.EOF if the stream ended
// before the header.
func readHeader(r io.Reader) (header, error) {
	var b [maxHeader]byte
	if _, err := io.ReadFull(r, b[:1]); err != nil {
		return header{}, err
	}
	h := header{flags: b[0]}
	if h.flags&^(flagMore|flagLong|flagCommand) != 0 || h.command() && h.more() {
		return header{}, fmt.Errorf("%w: frame flags %#x", ErrProtocol, h.flags)
	}
	size := b[1:2]
	if h.flags&flagLong != 0 {
		size = b[1:9]
	}
	if _, err := io.ReadFull(r, size); err != nil {
		return header{}, cut(err)
	}
	n := uint64(size[0])
	if len(size) == 8 {
		n = binary.BigEndian.Uint64(size)
	}
	limit := uint64(maxFrame)
	if h.command() {
		limit = maxCommand
	}
	if n > limit {
		return header{}, fmt.Errorf("%w: frame of %d bytes", ErrProtocol, n)
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

// readBody reads size bytes. The buffer doubles as bytes arrive, so a peer must send half of the bytes that
// it makes the reader allocate.
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

// cut turns the end of the stream inside a frame into io.ErrUnexpectedEOF.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// midway keeps a plain io.EOF only between messages.
func midway(err error, m Message) error {
	if err == io.EOF && len(m.Frames) == 0 && m.Dropped == 0 {
		return err
	}
	return fmt.Errorf("zmtp: receive: %w", cut(err))
}
