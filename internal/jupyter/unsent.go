package jupyter

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"cellhold/internal/jupyter/stream"
)

// unsentText bounds the text of one message from the memory of a dead kernel. The kernel's own messages have
// this size.
const unsentText = 64 << 10

var unsentNames = map[stream.RecordKind]string{stream.StdoutRecord: "stdout", stream.StderrRecord: "stderr"}

// rest waits until the kernel is dead, and returns what its memory has of the stream after the first read bytes.
// The records follow the end of the stream.
func (s *streamed) rest(read int64, end error) []byte {
	c := s.client
	if c.options.Unsent == nil {
		return nil
	}
	c.endedBy(end)
	select {
	case <-c.options.Dead:
	case <-c.closing:
		return nil
	}
	memory := c.options.Unsent()
	if len(memory) == 0 {
		return nil
	}
	u, err := stream.ReadUnsent(memory, read)
	if err != nil {
		c.options.Log.Debug("the last output of the kernel is lost", "reason", err)
		return nil
	}
	s.unsent = u.Records
	c.lostBytes.Store(u.Lost)
	return u.Rest
}

// receiveUnsent returns the next message from the records. There must be one.
func (s *streamed) receiveUnsent() (Message, error) {
	r := &s.unsent[0]
	if r.Kind == stream.FrameRecord {
		s.unsent = s.unsent[1:]
		raw, err := s.conn.Decode(r.Data)
		if err != nil {
			return Message{}, fmt.Errorf("%w: %w", errForm, err)
		}
		return decode(raw)
	}
	text := piece(r.Data)
	if r.Data = r.Data[len(text):]; len(r.Data) == 0 {
		s.unsent = s.unsent[1:]
	}
	return textMessage(unsentNames[r.Kind], r.Request, text)
}

// piece returns the beginning of a text, of limited size. It does not cut a character.
func piece(text []byte) []byte {
	if len(text) <= unsentText {
		return text
	}
	for n := unsentText; n > unsentText-utf8.UTFMax; n-- {
		if utf8.RuneStart(text[n]) {
			return text[:n]
		}
	}
	return text[:unsentText]
}

// textMessage returns the message that a kernel sends for text. Only the id of the request is known.
func textMessage(name, request string, text []byte) (Message, error) {
	content, err := json.Marshal(map[string]string{"name": name, "text": string(text)})
	if err != nil {
		return Message{}, fmt.Errorf("%w: %w", errForm, err)
	}
	parts, err := EncodeParts(Message{Header: Header{MsgType: "stream"}, Parent: Header{MsgID: request}, Content: content})
	if err != nil {
		return Message{}, fmt.Errorf("%w: %w", errForm, err)
	}
	return DecodeParts(IOPub, parts, 0)
}
