package framing

import (
	"encoding/binary"
	"fmt"
)

const (
	// word is the size of a number in the table.
	word = 8
	// fixed is the number of parts of a message without buffers: the channel and four JSON objects.
	fixed = 5
)

// DecodeV1 reads a message of the subprotocol: the number of offsets, the offsets of all parts and of the end, and the
// parts. The numbers are little-endian. The frame refers to p.
func DecodeV1(p []byte) (Frame, error) {
	if len(p) < word {
		return Frame{}, fmt.Errorf("the message has %d bytes: the table of its parts is missing", len(p))
	}
	n := binary.LittleEndian.Uint64(p)
	if n < fixed+1 || n > fixed+1+maxBuffers || word*(n+1) > uint64(len(p)) {
		return Frame{}, fmt.Errorf("the message has %d bytes and %d offsets: it needs %d to %d offsets, and all of them", len(p), n, fixed+1, fixed+1+maxBuffers)
	}
	offsets, err := table(p, word*(n+1), n, func(i uint64) uint64 { return binary.LittleEndian.Uint64(p[word*(i+1):]) })
	if err != nil {
		return Frame{}, err
	}
	if last := offsets[n-1]; last != uint64(len(p)) {
		return Frame{}, fmt.Errorf("the last offset is %d, want the end at %d", last, len(p))
	}
	part := func(i int) []byte { return p[offsets[i]:offsets[i+1]:offsets[i+1]] }
	f := Frame{Channel: string(part(0)), Header: part(1), Parent: part(2), Metadata: part(3), Content: part(4)}
	for i := fixed; i < int(n)-1; i++ {
		f.Buffers = append(f.Buffers, part(i))
	}
	return f.complete()
}

// EncodeV1 returns the pieces of a message of the subprotocol. They refer to f.
func EncodeV1(f Frame) [][]byte {
	f = f.filled()
	parts := append([][]byte{[]byte(f.Channel), f.Header, f.Parent, f.Metadata, f.Content}, f.Buffers...)
	n := len(parts) + 1
	at := word * (n + 1)
	head := binary.LittleEndian.AppendUint64(make([]byte, 0, at), uint64(n))
	for _, part := range parts {
		head = binary.LittleEndian.AppendUint64(head, uint64(at))
		at += len(part)
	}
	head = binary.LittleEndian.AppendUint64(head, uint64(at))
	return append([][]byte{head}, parts...)
}
