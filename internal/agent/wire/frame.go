package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
	"cellhold/internal/jupyter/stream"
)

// jsonParts are the JSON parts of a message. Buffers follow.
const jsonParts = 4

// frameOf returns a message of the kernel as a frame, in a form that the host accepts. A kernel can send any header
// and bytes that are not UTF-8. The agent adds headers too. A message that the host would refuse becomes a note.
func frameOf(m jupyter.Message) []byte {
	parts := jupyter.EncodeParts(m)
	for i, p := range parts[:jsonParts] {
		parts[i] = validUTF8(p)
	}
	header, parent := parts[0], parts[1]
	if len(header) > guestapi.MaxWireHeader || len(parent) > guestapi.MaxWireHeader {
		return leftOut(m, header, parent, fmt.Sprintf("a header is too large; the limit is %d bytes", guestapi.MaxWireHeader))
	}
	frame, err := stream.Frame(jupyter.StreamNumber(m.Channel), parts...)
	if err != nil || m.Dropped > 0 || len(frame) > maxFrame {
		return leftOut(m, header, parent, fmt.Sprintf("it is too large; the limit is %d bytes", guestapi.MaxWireMessage))
	}
	return frame
}

// leftOut returns the note about a message that is not passed on.
func leftOut(m jupyter.Message, header, parent []byte, reason string) []byte {
	return note(header, parent, guestapi.WireNote{Channel: string(m.Channel), Problem: "A message of the kernel was left out, because " + reason + "."})
}

// note returns the frame of a note. It leaves out a header that the host would refuse.
func note(header, parent []byte, n guestapi.WireNote) []byte {
	for _, h := range []*[]byte{&header, &parent} {
		if *h = validUTF8(*h); len(*h) == 0 || len(*h) > guestapi.MaxWireHeader {
			*h = empty
		}
	}
	frame, err := stream.Frame(stream.Note, header, parent, empty, encode(n))
	if err != nil {
		panic(err) // four small parts always fit into a frame
	}
	return frame
}

var empty = []byte("{}")

// validUTF8 replaces bytes that are not UTF-8. JSON does not allow them, but decoders pass them through.
func validUTF8(b []byte) []byte {
	if utf8.Valid(b) {
		return b
	}
	return bytes.ToValidUTF8(b, []byte("\uFFFD"))
}

func encode(n guestapi.WireNote) []byte {
	b, err := json.Marshal(n)
	if err != nil {
		panic(err) // text and a flag can always be encoded
	}
	return b
}
