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
	// maxHeader is far above any real header (about 250 bytes). It also bounds the ids in it,
	// which callers keep.
	maxHeader = 16 << 10
	// maxDepth is how deep metadata and content may nest; what is deeper is cut. Output formats stay below 30;
	// readers in other languages begin to refuse at 100 to 1000, and the host refuses an event of more than 100,
	// of which the event itself takes some.
	maxDepth = 90
	// maxPrefix is how many frames may stand before the delimiter: a topic, or none.
	maxPrefix = 16
)

// errForm marks a message that does not have the form of the protocol.
var errForm = errors.New("not a Jupyter message")

// errSignature marks one that is signed with another key, or changed on its way.
var errSignature = fmt.Errorf("%w: its signature is wrong", errForm)

// Header names a message. Every field is foreign text of a few kilobytes at most.
type Header struct {
	MsgID    string `json:"msg_id"`
	MsgType  string `json:"msg_type"`
	Session  string `json:"session"`
	Username string `json:"username"`
	Date     string `json:"date"`
	Version  string `json:"version"`
}

// Message is one message, to or from a kernel. Metadata and Content are JSON objects, valid and not
// too deep; what is inside is still foreign.
type Message struct {
	Channel  Channel
	Header   Header
	Parent   Header // of the request that caused the message; zero if there is none
	Metadata json.RawMessage
	Content  json.RawMessage
	Buffers  [][]byte
	// Dropped is not zero when parts were left out, as too large or too deep: about so many
	// bytes. Content is an empty object then, or Buffers are missing.
	Dropped int64
}

// Encode makes the frames of a message and signs them. An empty Metadata or Content becomes an
// empty object; a zero Parent too. The frames alias the message.
func Encode(key string, m Message) ([][]byte, error) {
	header, err := json.Marshal(m.Header)
	if err != nil {
		return nil, fmt.Errorf("encode header: %w", err)
	}
	parent := []byte("{}")
	if m.Parent != (Header{}) {
		if parent, err = json.Marshal(m.Parent); err != nil {
			return nil, fmt.Errorf("encode parent header: %w", err)
		}
	}
	parts := [][]byte{header, parent, object(m.Metadata), object(m.Content)}
	frames := append([][]byte{[]byte(delimiter), sign(key, parts)}, parts...)
	return append(frames, m.Buffers...), nil
}

// Decode reads the frames of a message from a kernel; dropped is what the transport left out at
// the end. It keeps parts of the frames. A message whose end is missing cannot be verified and is
// passed on all the same: nothing may rest on signatures, because user code can make them.
func Decode(key string, ch Channel, frames [][]byte, dropped int64) (Message, error) {
	at := -1
	for i := range min(len(frames), maxPrefix+1) {
		if string(frames[i]) == delimiter {
			at = i
			break
		}
	}
	if at < 0 {
		return Message{}, fmt.Errorf("%w: no delimiter in %d frames", errForm, len(frames))
	}
	frames = frames[at+1:]
	if len(frames) < 5 && (dropped == 0 || len(frames) < 3) {
		return Message{}, fmt.Errorf("%w: %d frames after the delimiter", errForm, len(frames))
	}
	signature, parts := frames[0], frames[1:min(5, len(frames))]
	if len(parts) == 4 && !hmac.Equal(signature, sign(key, parts)) {
		return Message{}, errSignature
	}
	m := Message{Channel: ch, Dropped: dropped}
	var err error
	if m.Header, err = decodeHeader(parts[0]); err != nil {
		return Message{}, fmt.Errorf("header: %w", err)
	}
	if m.Parent, err = decodeHeader(parts[1]); err != nil {
		return Message{}, fmt.Errorf("parent header: %w", err)
	}
	if m.Header.MsgType == "" {
		return Message{}, fmt.Errorf("%w: it has no type", errForm)
	}
	if m.Metadata, err = m.keep(parts, 2); err != nil {
		return Message{}, fmt.Errorf("metadata: %w", err)
	}
	if m.Content, err = m.keep(parts, 3); err != nil {
		return Message{}, fmt.Errorf("content: %w", err)
	}
	if len(frames) > 5 {
		m.Buffers = frames[5:]
	}
	return m, nil
}

// keep returns part i if it is there and a JSON object. What is too deep in it is cut, so that the rest of the
// message still arrives.
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

// shallow returns JSON in which a mark stands for each list and object below maxDepth.
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
		case depth <= maxDepth:
			out = append(out, c)
		case opens && depth == maxDepth+1:
			out = append(out, mark...)
		}
		switch {
		case closes:
			depth--
		case quoted && c == '\\':
			if i++; i < len(b) && depth <= maxDepth {
				out = append(out, b[i])
			}
		case c == '"':
			quoted = !quoted
		}
	}
	return out
}

// decodeHeader reads a header or a parent header, which may be empty. Where a name comes twice the
// last one counts, which helps nobody: user code could as well have sent only that one.
func decodeHeader(b []byte) (Header, error) {
	var h Header
	if len(b) > maxHeader || tooDeep(b) {
		return h, fmt.Errorf("%w: %d bytes, or too deep", errForm, len(b))
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return Header{}, fmt.Errorf("%w: %w", errForm, err)
	}
	return h, nil
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
			if depth++; depth > maxDepth {
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
