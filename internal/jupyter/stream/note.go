package stream

// Note is the channel of messages from a program that passes a kernel's messages on. It says on this channel
// what it does not pass on, and why. A kernel has no such channel.
const Note Channel = 5

// Frame returns one message as a frame. A program that sends a message on many connections encodes it once.
func Frame(ch Channel, parts ...[]byte) ([]byte, error) { return appendFrame(nil, ch, parts) }
