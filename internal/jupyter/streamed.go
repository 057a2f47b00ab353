package jupyter

import (
	"context"
	"fmt"
	"net"

	"cellhold/internal/jupyter/stream"
)

// streamed is the transport over one stream. Its only reader returns the messages of all channels, in the order
// in which the kernel sent them.
type streamed struct {
	client *Client
	conn   *stream.Conn
	unsent []stream.Record // records in the memory of a dead kernel; their messages follow those of the stream
	end    error           // reason of the end of the stream; nil before it
	parent parentHeader    // of the last message
}

// streamChannels numbers the channels in the stream.
var streamChannels = map[Channel]stream.Channel{
	Shell: stream.Shell, Control: stream.Control, Stdin: stream.Stdin, IOPub: stream.IOPub,
}

// channelOf is the inverse of streamChannels.
var channelOf = map[stream.Channel]Channel{
	stream.Shell: Shell, stream.Control: Control, stream.Stdin: Stdin, stream.IOPub: IOPub,
}

// DialStream connects to a kernel that has the other end of conn. Like Dial, it returns when the kernel has
// answered a request. The request is sent only once, because the socket keeps it until the kernel reads it. The
// Client owns conn. After an error conn is closed.
func DialStream(ctx context.Context, conn net.Conn, o Options) (*Client, error) {
	c := newClient("", o)
	err := c.begin(ctx, func(context.Context) (transport, error) {
		s := &streamed{client: c}
		s.conn = stream.New(conn, stream.Options{MaxMessage: o.MaxMessage, Rest: s.rest})
		return s, nil
	})
	if err != nil {
		return nil, fmt.Errorf("connect to the kernel: %w", err)
	}
	return c, nil
}

func (s *streamed) ready(ctx context.Context) error {
	err := s.client.askInfo(ctx)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && s.client.Err() != nil: // the end of the connection explains the error
		return fmt.Errorf("%w: %w", err, s.client.lost())
	}
	return err
}

func (s *streamed) readers() []reader { return []reader{s.receive} }

func (s *streamed) receive() (Message, error) {
	if s.end == nil {
		raw, err := s.conn.Recv()
		if err == nil {
			return s.decode(raw)
		}
		s.end = err
	}
	if len(s.unsent) > 0 {
		return s.receiveUnsent()
	}
	return Message{}, s.end
}

func (s *streamed) decode(raw stream.Message) (Message, error) {
	ch := channelOf[raw.Channel]
	m, err := decodeParts(ch, raw.Parts, raw.Dropped, s.parent.decode)
	if err != nil {
		return m, fmt.Errorf("%s: %w", ch, err)
	}
	return m, nil
}

func (s *streamed) send(m Message, limit int) error {
	ch := streamChannels[m.Channel]
	if ch == 0 || m.Channel == IOPub {
		return fmt.Errorf("cannot send on channel %q", m.Channel)
	}
	return s.conn.SendWithin(limit, ch, EncodeParts(m)...)
}

// hold does nothing: one read returns all messages of a short cell.
func (s *streamed) hold() {}

// finish does nothing: after the end of the only reader nothing is left to read.
func (s *streamed) finish() {}

func (s *streamed) close() { s.conn.Close() }
