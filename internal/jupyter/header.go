package jupyter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// A kernel sends five messages for a small cell, each with two headers. Their decoding took half of the agent's own
// time. So the headers of usual kernels have a decoder, and the parent header of a cell is decoded once.

// plainHeader decodes an object whose names are those of Header, and whose values are printable ASCII without escapes.
// ok is false for all other headers, which the usual decoder reads. The fields share the memory of one string.
func plainHeader(b []byte) (h Header, ok bool) {
	s := string(b)
	space := func() { s = strings.TrimLeft(s, " \t\r\n") }
	mark := func(c byte) bool {
		space()
		if s == "" || s[0] != c {
			return false
		}
		s = s[1:]
		return true
	}
	text := func() (t string, ok bool) {
		if !mark('"') {
			return "", false
		}
		for i := range len(s) {
			switch c := s[i]; {
			case c == '"':
				t, s = s[:i], s[i+1:]
				return t, true
			case c < ' ' || c > '~' || c == '\\':
				return "", false
			}
		}
		return "", false
	}
	if !mark('{') {
		return Header{}, false
	}
	for next := true; next; next = mark(',') {
		name, ok1 := text()
		ok2 := mark(':')
		value, ok3 := text()
		to := h.field(name)
		if !ok1 || !ok2 || !ok3 || to == nil {
			return Header{}, false
		}
		*to = value
	}
	if !mark('}') {
		return Header{}, false
	}
	if space(); s != "" {
		return Header{}, false
	}
	return h, true
}

// exactHeader decodes any header. The decoder of a struct would also accept MSG_TYPE as msg_type, and kernels do not.
// A client could then hide the type of its message from the agent.
func exactHeader(b []byte) (h Header, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return Header{}, err
	}
	for name, value := range fields {
		to := h.field(name)
		if to == nil {
			continue
		}
		if err := json.Unmarshal(value, to); err != nil && name != "date" {
			return Header{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	return h, nil
}

// field returns the field of a name, or nil.
func (h *Header) field(name string) *string {
	switch name {
	case "msg_id":
		return &h.MsgID
	case "msg_type":
		return &h.MsgType
	case "session":
		return &h.Session
	case "username":
		return &h.Username
	case "date":
		return &h.Date
	case "version":
		return &h.Version
	}
	return nil
}

// parentHeader decodes parent headers. All messages about one request have the same parent header. So parentHeader
// keeps the last one, and decodes equal bytes only once.
type parentHeader struct {
	last Header
	raw  json.RawMessage // a copy, because the bytes share memory with their message
}

func (p *parentHeader) decode(b []byte) (Header, json.RawMessage, error) {
	if len(b) > 0 && bytes.Equal(b, p.raw) {
		return p.last, p.raw, nil
	}
	h, raw, err := DecodeHeader(b)
	if err == nil {
		p.last, p.raw = h, bytes.Clone(raw)
	}
	return h, raw, err
}
