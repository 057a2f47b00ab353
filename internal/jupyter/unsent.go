package jupyter

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"cellhold/internal/jupyter/stream"
)

// unsentText bounds the bytes of text in one message from the memory of a dead kernel. It is the limit of the
// kernel's own messages.
const unsentText = 64 << 10

var unsentNames = map[stream.RecordKind]string{stream.StdoutRecord: "stdout", stream.StderrRecord: "stderr"}

// rest waits until the kernel is dead. Then it returns the bytes in the kernel's memory that continue the stream
// after its first read bytes. It keeps the records of the memory for receiveUnsent.
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

// receiveUnsent returns the next message from the records. There must be at least one record.
func (s *streamed) receiveUnsent() (Message, error) {
	r := &s.unsent[0]
	if r.Kind == stream.FrameRecord {
		s.unsent = s.unsent[1:]
		raw, err := s.conn.Decode(r.Data)
		if err != nil {
			return Message{}, fmt.Errorf("%w: %w", errForm, err)
		}
		return s.decode(raw)
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

// textMessage returns the stream message that a kernel sends for text. In its parent header only the id of the
// request is set, because the memory has no more.
func textMessage(name, request string, text []byte) (Message, error) {
	content, err := json.Marshal(map[string]string{"name": name, "text": string(text)})
	if err != nil {
		return Message{}, fmt.Errorf("%w: %w", errForm, err)
	}
	parts := EncodeParts(Message{Header: Header{MsgType: "stream"}, Parent: Header{MsgID: request}, Content: content})
	return DecodeParts(IOPub, parts, 0)
}
