// Package framing converts Jupyter messages to and from the two forms that clients use on a WebSocket: the form of the
// subprotocol Protocol, and the older form of clients that offer no subprotocol.
//
// It checks the sizes and the syntax of a message, and does not know what a message means.
package framing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Protocol is the name of the subprotocol whose messages are all binary.
const Protocol = "v1.kernel.websocket.jupyter.org"

const (
	// maxBuffers is the maximum number of buffers of a message. A widget has some tens.
	maxBuffers = 4096
	// maxChannel is the maximum size of a channel's name.
	maxChannel = 64
)

// Frame is one Jupyter message. Its four parts are JSON objects, byte for byte as the sender wrote them. An empty part
// means {}.
type Frame struct {
	Channel  string // shell, control, stdin or iopub
	Header   json.RawMessage
	Parent   json.RawMessage
	Metadata json.RawMessage
	Content  json.RawMessage
	Buffers  [][]byte
}

// Size returns the number of bytes of the parts and the buffers.
func (f Frame) Size() int {
	n := len(f.Header) + len(f.Parent) + len(f.Metadata) + len(f.Content)
	for _, b := range f.Buffers {
		n += len(b)
	}
	return n
}

// defaultChannel is the channel of messages that name none.
const defaultChannel = "shell"

// object checks a part of a message. A missing part is an empty object.
func object(name string, part []byte) (json.RawMessage, error) {
	trimmed := bytes.TrimLeft(part, " \t\r\n")
	if len(trimmed) == 0 || string(trimmed) == "null" {
		return json.RawMessage("{}"), nil
	}
	if trimmed[0] != '{' || !utf8.Valid(part) || !json.Valid(part) {
		return nil, fmt.Errorf("the part %s is not a JSON object in UTF-8", name)
	}
	return part, nil
}

// filled returns a frame whose empty parts are empty objects.
func (f Frame) filled() Frame {
	for _, part := range []*json.RawMessage{&f.Header, &f.Parent, &f.Metadata, &f.Content} {
		if len(*part) == 0 {
			*part = json.RawMessage("{}")
		}
	}
	return f
}

// complete checks all parts of a frame.
func (f Frame) complete() (Frame, error) {
	var errs [4]error
	f.Header, errs[0] = object("header", f.Header)
	f.Parent, errs[1] = object("parent_header", f.Parent)
	f.Metadata, errs[2] = object("metadata", f.Metadata)
	f.Content, errs[3] = object("content", f.Content)
	if len(f.Channel) > maxChannel {
		return Frame{}, fmt.Errorf("the name of the channel has %d bytes; the limit is %d", len(f.Channel), maxChannel)
	}
	if f.Channel == "" {
		f.Channel = defaultChannel
	}
	if err := errors.Join(errs[:]...); err != nil {
		return Frame{}, err
	}
	return f, nil
}

// table reads the offsets of a binary message. The first one is where the table ends. Each part ends where the next one
// begins, and the parts are in order.
func table(p []byte, start, n uint64, at func(i uint64) uint64) ([]uint64, error) {
	offsets := make([]uint64, n)
	for i := range offsets {
		offsets[i] = at(uint64(i))
		if i == 0 && offsets[0] != start {
			return nil, fmt.Errorf("the first offset is %d, want %d", offsets[0], start)
		}
		if i > 0 && offsets[i] < offsets[i-1] || offsets[i] > uint64(len(p)) {
			return nil, fmt.Errorf("offset %d of %d is %d: it is before the previous one, or after the end at %d", i, n, offsets[i], len(p))
		}
	}
	return offsets, nil
}
