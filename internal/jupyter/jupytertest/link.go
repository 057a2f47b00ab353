package jupytertest

import (
	"encoding/json"
	"net"

	"cellhold/internal/jupyter"
	"cellhold/internal/jupyter/stream"
	"cellhold/internal/jupyter/zmtp"
)

// link sends messages to a client on one channel.
type link interface {
	// send sends one message, and waits while the client does not read. The topic is nil for replies. The error
	// says that the message cannot be encoded. An error of the connection closes it, and its reader then removes it.
	send(topic []byte, key string, m jupyter.Message) error
}

// socket is a link over ZeroMQ.
type socket struct{ *zmtp.Conn }

// send encodes the parent header again, as kernels over ZeroMQ do.
func (s socket) send(topic []byte, key string, m jupyter.Message) error {
	if len(m.RawParent) > 0 {
		var fields map[string]any
		err := json.Unmarshal(m.RawParent, &fields)
		if err == nil {
			m.RawParent, err = json.Marshal(fields)
		}
		if err != nil {
			return err
		}
	}
	frames := jupyter.Encode(key, m)
	if topic != nil {
		frames = append([][]byte{topic}, frames...)
	}
	s.Send(frames...)
	s.Drain()
	return nil
}

// streamed is a link over one channel of a stream.
type streamed struct {
	*stream.Conn
	ch stream.Channel
}

func (s streamed) send(_ []byte, _ string, m jupyter.Message) error {
	s.Send(s.ch, jupyter.EncodeParts(m)...)
	s.Drain()
	return nil
}

// serveStream serves the one client of a stream until one of them ends.
func (k *Kernel) serveStream(nc net.Conn) {
	c := stream.New(nc, stream.Options{})
	k.conns[c] = true
	k.subscribers[streamed{c, stream.IOPub}] = true
	k.stdin = streamed{c, stream.Stdin}
	close(k.listens)
	k.work.Go(func() {
		defer k.dismiss(streamed{c, stream.IOPub}, c)
		for {
			m, err := c.Recv()
			if err != nil {
				return
			}
			ch := map[stream.Channel]jupyter.Channel{
				stream.Shell: jupyter.Shell, stream.Control: jupyter.Control, stream.Stdin: jupyter.Stdin,
			}[m.Channel]
			if r, err := jupyter.DecodeParts(ch, m.Parts, m.Dropped); err == nil {
				k.receive(request{streamed{c, m.Channel}, r})
			}
		}
	})
	k.work.Go(k.run)
}
