package stream

// Note is the channel for notes of a program that passes a kernel's messages on. A note names a message that the
// program does not pass on, and the reason. A kernel has no such channel.
const Note Channel = 5

// Frame returns one message as a frame. A program that sends a message on many connections encodes it once.
func Frame(ch Channel, parts ...[]byte) ([]byte, error) { return appendFrame(nil, ch, parts) }
