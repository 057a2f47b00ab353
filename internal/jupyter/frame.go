package jupyter

import "cellhold/internal/jupyter/stream"

// FromStream returns the message that came over a stream. The errors are those of DecodeParts.
func FromStream(raw stream.Message) (Message, error) {
	return DecodeParts(channelOf[raw.Channel], raw.Parts, raw.Dropped)
}

// StreamChannel returns the name of a channel, which is empty for other numbers.
func StreamChannel(ch stream.Channel) Channel { return channelOf[ch] }

// StreamNumber returns the number of a channel, which is 0 for other names.
func StreamNumber(ch Channel) stream.Channel { return streamChannels[ch] }
