package jupyter

import (
	"fmt"

	"cellhold/internal/jupyter/stream"
)

// Frame returns a message as a frame of package stream.
func Frame(m Message) ([]byte, error) {
	ch := streamChannels[m.Channel]
	if ch == 0 {
		return nil, fmt.Errorf("a frame has no channel %q", m.Channel)
	}
	parts, err := EncodeParts(m)
	if err != nil {
		return nil, err
	}
	return stream.Frame(ch, parts...)
}

// FromStream returns the message that came over a stream. The errors are those of DecodeParts.
func FromStream(raw stream.Message) (Message, error) {
	return DecodeParts(channelOf[raw.Channel], raw.Parts, raw.Dropped)
}

// StreamChannel returns the name of a channel, which is empty for other numbers.
func StreamChannel(ch stream.Channel) Channel { return channelOf[ch] }
