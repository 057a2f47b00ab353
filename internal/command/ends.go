package command

import (
	"encoding/base64"
	"unicode/utf8"

	"cellhold"
)

// Bounds of one stream in a record. The bytes between head and tail are only in the events.
const (
	headBytes = 64 << 10
	tailBytes = 64 << 10
)

// ends keeps the beginning and the end of a stream, and counts all of it.
type ends struct {
	head  []byte
	tail  []byte // the bytes after the head: at most twice tailBytes
	bytes int64
}

// add adds bytes of the stream.
func (s *ends) add(b []byte) {
	s.bytes += int64(len(b))
	n := min(headBytes-len(s.head), len(b))
	s.head = append(s.head, b[:n]...)
	b = b[n:]
	if over := len(b) - tailBytes; over > 0 {
		b, s.tail = b[over:], s.tail[:0]
	}
	if len(s.tail)+len(b) > 2*tailBytes { // not for every byte, to copy less
		keep := tailBytes - len(b)
		s.tail = append(s.tail[:0], s.tail[len(s.tail)-keep:]...)
	}
	s.tail = append(s.tail, b...)
}

// output returns the stream for a record.
func (s *ends) output() cellhold.CommandOutput {
	head, tail := s.head, s.tail[max(0, len(s.tail)-tailBytes):]
	omitted := s.bytes - int64(len(head)) - int64(len(tail))
	if omitted == 0 {
		head, tail = append(head[:len(head):len(head)], tail...), nil
	} else {
		head, tail = trimEnd(head), trimStart(tail)
		omitted = s.bytes - int64(len(head)) - int64(len(tail))
	}
	o := cellhold.CommandOutput{Bytes: s.bytes, Omitted: omitted}
	if utf8.Valid(head) && utf8.Valid(tail) {
		o.Text, o.Tail = string(head), string(tail)
		return o
	}
	o.Encoding = "base64"
	o.Text, o.Tail = base64.StdEncoding.EncodeToString(head), base64.StdEncoding.EncodeToString(tail)
	return o
}

// trimEnd removes an incomplete character at the end.
func trimEnd(b []byte) []byte {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if tail := b[len(b)-n:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				return b[:len(b)-n]
			}
			return b
		}
	}
	return b
}

// trimStart removes the last bytes of an incomplete character at the beginning.
func trimStart(b []byte) []byte {
	for n := range min(utf8.UTFMax, len(b)) {
		if utf8.RuneStart(b[n]) {
			return b[n:]
		}
	}
	return b
}
