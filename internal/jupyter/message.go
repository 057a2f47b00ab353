package jupyter

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

const (
	delimiter = "<IDS|MSG>"
	// maxHeader is far above the size of a real header (about 250 bytes). It also bounds the ids in it,
	// which callers keep.
	maxHeader = 16 << 10
	// MaxLevels bounds the nesting of metadata and content; deeper values are cut. Output formats stay below
	// 30. Many readers in other languages fail at a limit between 100 and 1000 levels.
	MaxLevels = 90
	// maxPrefix bounds the frames before the delimiter. A kernel sends at most one there: the topic.
	maxPrefix = 16
	// ownParts are the parts of each message: header, parent header, metadata and content. Buffers follow.
	ownParts = 4
)

// errForm marks a message that does not have the form of the protocol.
var errForm = errors.New("not a Jupyter message")

// errSignature marks a message that is signed with another key, or was changed.
var errSignature = fmt.Errorf("%w: its signature is wrong", errForm)

// Header identifies a message. Every field is foreign text. maxHeader bounds the size of a decoded header.
type Header struct {
	MsgID    string `json:"msg_id"`
	MsgType  string `json:"msg_type"`
	Session  string `json:"session"`
	Username string `json:"username"`
	Date     string `json:"date"`
	Version  string `json:"version"`
}

// Message is one message to or from a kernel. Metadata and Content are valid JSON objects of bounded depth.
// Their values are foreign.
type Message struct {
	Channel Channel
	Header  Header
	Parent  Header // header of the request that caused the message; zero if there is none
	// RawHeader and RawParent are Header and Parent as they came: JSON objects with all their fields, of at
	// most 16 KiB each. A message with them is sent with these bytes.
	RawHeader json.RawMessage
	RawParent json.RawMessage
	Metadata  json.RawMessage
	Content   json.RawMessage
	Buffers   [][]byte
	// Dropped is about the number of bytes that were left out, because the message was too large. Then Content
	// is an empty object, or Buffers are missing. Values that are too deep do not count.
	Dropped int64
}

// Encode makes the frames of a message and signs them. An empty Metadata or Content becomes an empty
// object, and so does a zero Parent. The frames share memory with the message.
func Encode(key string, m Message) [][]byte {
	parts := EncodeParts(m)
	return append([][]byte{[]byte(delimiter), sign(key, parts[:ownParts])}, parts...)
}

// EncodeParts makes the parts of a message that is not signed: header, parent header, metadata, content,
// and the buffers. It fills empty fields and shares memory as Encode does.
func EncodeParts(m Message) [][]byte {
	header := encodeHeader(m.RawHeader, m.Header)
	parent := []byte("{}")
	if len(m.RawParent) > 0 || m.Parent != (Header{}) {
		parent = encodeHeader(m.RawParent, m.Parent)
	}
	return append([][]byte{header, parent, object(m.Metadata), object(m.Content)}, m.Buffers...)
}

func encodeHeader(raw json.RawMessage, h Header) []byte {
	if len(raw) > 0 {
		return raw
	}
	return h.encode()
}

// Decode reads the frames of a message from a kernel. dropped is the number of bytes that the transport
// left out at the end. The message shares memory with the frames. A message with fewer than ownParts parts
// cannot be verified, but it is passed on. That is safe, because user code can sign messages anyway.
func Decode(key string, ch Channel, frames [][]byte, dropped int64) (Message, error) {
	signature, parts, err := split(frames)
	if err != nil {
		return Message{}, err
	}
	if len(parts) >= ownParts && !hmac.Equal(signature, sign(key, parts[:ownParts])) {
		return Message{}, errSignature
	}
	return DecodeParts(ch, parts, dropped)
}

// Open returns the parts of a message from a client, as they came: header, parent header, metadata, content and the
// buffers. It refuses a message that is not complete, or that is not signed with the key. It does not read the parts.
func Open(key string, frames [][]byte) (parts [][]byte, err error) {
	signature, parts, err := split(frames)
	switch {
	case err != nil:
		return nil, err
	case len(parts) < ownParts:
		return nil, fmt.Errorf("%w: %d parts", errForm, len(parts))
	case !hmac.Equal(signature, sign(key, parts[:ownParts])):
		return nil, errSignature
	}
	return parts, nil
}

// split finds the signature and the parts in the frames of a message.
func split(frames [][]byte) (signature []byte, parts [][]byte, err error) {
	for i := range min(len(frames), maxPrefix+1) {
		if string(frames[i]) != delimiter {
			continue
		}
		if i+1 == len(frames) {
			return nil, nil, fmt.Errorf("%w: no signature", errForm)
		}
		return frames[i+1], frames[i+2:], nil
	}
	return nil, nil, fmt.Errorf("%w: no delimiter in %d frames", errForm, len(frames))
}

// DecodeParts reads the parts of a message from a kernel, which are the frames after the signature. The other
// arguments and the result are those of Decode.
func DecodeParts(ch Channel, parts [][]byte, dropped int64) (Message, error) {
	return decodeParts(ch, parts, dropped, DecodeHeader)
}

func decodeParts(ch Channel, parts [][]byte, dropped int64, decodeParent func([]byte) (Header, json.RawMessage, error)) (Message, error) {
	if len(parts) < ownParts && (dropped == 0 || len(parts) < 2) {
		return Message{}, fmt.Errorf("%w: %d parts", errForm, len(parts))
	}
	m := Message{Channel: ch, Dropped: dropped}
	var err error
	if m.Header, m.RawHeader, err = DecodeHeader(parts[0]); err != nil {
		return Message{}, fmt.Errorf("header: %w", err)
	}
	if m.Parent, m.RawParent, err = decodeParent(parts[1]); err != nil {
		return Message{}, fmt.Errorf("parent header: %w", err)
	}
	if m.Header.MsgType == "" {
		return Message{}, fmt.Errorf("%w: the message has no type", errForm)
	}
	if m.Metadata, err = m.keep(parts, 2); err != nil {
		return Message{}, fmt.Errorf("metadata: %w", err)
	}
	if m.Content, err = m.keep(parts, 3); err != nil {
		return Message{}, fmt.Errorf("content: %w", err)
	}
	if len(parts) > ownParts {
		m.Buffers = parts[ownParts:]
	}
	return m, nil
}

// keep returns part i if it exists and is a JSON object. Values that are too deep are cut, so that the rest
// of the message still arrives.
func (m *Message) keep(parts [][]byte, i int) (json.RawMessage, error) {
	if i >= len(parts) {
		return object(nil), nil
	}
	b := parts[i]
	if tooDeep(b) {
		b = shallow(b)
	}
	if b = bytes.TrimSpace(b); len(b) == 0 || b[0] != '{' || !json.Valid(b) {
		return nil, fmt.Errorf("%w: not a JSON object", errForm)
	}
	return b, nil
}

// shallow returns JSON in which a mark replaces each list and object below MaxLevels.
func shallow(b []byte) []byte {
	const mark = `"…"`
	out := make([]byte, 0, len(b))
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		c := b[i]
		opens := !quoted && (c == '{' || c == '[')
		closes := !quoted && (c == '}' || c == ']')
		if opens {
			depth++
		}
		switch {
		case depth <= MaxLevels:
			out = append(out, c)
		case opens && depth == MaxLevels+1:
			out = append(out, mark...)
		}
		switch {
		case closes:
			depth--
		case quoted && c == '\\':
			if i++; i < len(b) && depth <= MaxLevels {
				out = append(out, b[i])
			}
		case c == '"':
			quoted = !quoted
		}
	}
	return out
}

// DecodeHeader reads a header or a parent header, which can be empty. raw is the header as it came. Names must match
// exactly, as in kernels. If a name occurs twice, the last one counts. Code in a kernel gains nothing by that, because
// it can send any header. Some clients send a number as the date. Date is empty then.
func DecodeHeader(b []byte) (h Header, raw json.RawMessage, err error) {
	if len(b) > maxHeader {
		return h, nil, fmt.Errorf("%w: %d bytes", errForm, len(b))
	}
	if h, ok := plainHeader(b); ok {
		return h, b, nil
	}
	if tooDeep(b) {
		return h, nil, fmt.Errorf("%w: too deep", errForm)
	}
	if h, err = exactHeader(b); err != nil {
		return Header{}, nil, fmt.Errorf("%w: %w", errForm, err)
	}
	if string(bytes.TrimSpace(b)) == "null" {
		return h, object(nil), nil
	}
	return h, b, nil
}

// tooDeep counts brackets outside strings. It is exact for valid JSON.
func tooDeep(b []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > MaxLevels {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

func sign(key string, parts [][]byte) []byte {
	if key == "" {
		return nil
	}
	h := hmac.New(sha256.New, []byte(key))
	for _, p := range parts {
		h.Write(p)
	}
	return hex.AppendEncode(nil, h.Sum(nil))
}

func object(b json.RawMessage) json.RawMessage {
	if len(b) == 0 {
		return json.RawMessage("{}")
	}
	return b
}
