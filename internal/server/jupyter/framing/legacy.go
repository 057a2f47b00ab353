package framing

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// half is the size of a number in the table of an older binary message.
const half = 4

// DecodeText reads a message in the older form without buffers: a JSON object with the parts.
func DecodeText(p []byte) (Frame, error) {
	if !utf8.Valid(p) {
		return Frame{}, errors.New("the message is not in UTF-8")
	}
	var m struct {
		Channel  string          `json:"channel"`
		Header   json.RawMessage `json:"header"`
		Parent   json.RawMessage `json:"parent_header"`
		Metadata json.RawMessage `json:"metadata"`
		Content  json.RawMessage `json:"content"`
	}
	if len(bytes.TrimSpace(p)) == 0 || bytes.TrimSpace(p)[0] != '{' {
		return Frame{}, errors.New("the message is not a JSON object")
	}
	if err := json.Unmarshal(p, &m); err != nil {
		return Frame{}, fmt.Errorf("the message is not the expected JSON: %w", err)
	}
	return Frame{Channel: m.Channel, Header: m.Header, Parent: m.Parent, Metadata: m.Metadata, Content: m.Content}.complete()
}

// DecodeBinary reads a message in the older form with buffers: the number of parts, their offsets, and the parts. The
// first part is the JSON object. The numbers are big-endian. The buffers refer to p.
func DecodeBinary(p []byte) (Frame, error) {
	if len(p) < half {
		return Frame{}, fmt.Errorf("the message has %d bytes: the table of its parts is missing", len(p))
	}
	n := uint64(binary.BigEndian.Uint32(p))
	if n < 1 || n > 1+maxBuffers || half*(n+1) > uint64(len(p)) {
		return Frame{}, fmt.Errorf("the message has %d bytes and %d parts: it needs 1 to %d parts, and all their offsets", len(p), n, 1+maxBuffers)
	}
	offsets, err := table(p, half*(n+1), n, func(i uint64) uint64 { return uint64(binary.BigEndian.Uint32(p[half*(i+1):])) })
	if err != nil {
		return Frame{}, err
	}
	offsets = append(offsets, uint64(len(p)))
	f, err := DecodeText(p[offsets[0]:offsets[1]])
	if err != nil {
		return Frame{}, err
	}
	for i := 1; i < int(n); i++ {
		f.Buffers = append(f.Buffers, p[offsets[i]:offsets[i+1]:offsets[i+1]])
	}
	return f, nil
}

// EncodeLegacy returns the pieces of a message in the older form. They refer to f. isBinary reports that the message has
// buffers.
func EncodeLegacy(f Frame) (pieces [][]byte, isBinary bool, err error) {
	text, err := textPieces(f.filled())
	if err != nil || len(f.Buffers) == 0 {
		return text, false, err
	}
	at := half * (len(f.Buffers) + 2)
	head := binary.BigEndian.AppendUint32(make([]byte, 0, at), uint32(len(f.Buffers)+1))
	head = binary.BigEndian.AppendUint32(head, uint32(at))
	for _, part := range text {
		at += len(part)
	}
	for _, b := range f.Buffers {
		head = binary.BigEndian.AppendUint32(head, uint32(at))
		at += len(b)
	}
	if at > math.MaxUint32 {
		return nil, true, fmt.Errorf("the message has %d bytes; the limit of its form is %d", at, math.MaxUint32)
	}
	return slices.Concat([][]byte{head}, text, f.Buffers), true, nil
}

// textPieces returns the pieces of the JSON object. Clients read the id and the type outside the header too.
func textPieces(f Frame) ([][]byte, error) {
	var header map[string]json.RawMessage // the names in their exact case, as clients read them
	if err := json.Unmarshal(f.Header, &header); err != nil {
		return nil, fmt.Errorf("the header is not a JSON object: %w", err)
	}
	channel, err := json.Marshal(f.Channel)
	if err != nil {
		return nil, err
	}
	var pieces [][]byte
	for _, part := range []struct {
		name string
		text []byte
	}{
		{`{"header":`, f.Header}, {`,"msg_id":`, textOf(header["msg_id"])}, {`,"msg_type":`, textOf(header["msg_type"])},
		{`,"parent_header":`, f.Parent}, {`,"metadata":`, f.Metadata}, {`,"content":`, f.Content}, {`,"channel":`, channel},
	} {
		if !utf8.Valid(part.text) { // a browser would close the connection
			part.text = bytes.ToValidUTF8(part.text, []byte("\uFFFD"))
		}
		pieces = append(pieces, []byte(part.name), part.text)
	}
	return append(pieces, []byte(`,"buffers":[]}`)), nil
}

// textOf returns a JSON text, or an empty one in place of another value.
func textOf(v json.RawMessage) []byte {
	if len(v) == 0 || v[0] != '"' {
		return []byte(`""`)
	}
	return v
}
