package jupyter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"cellhold/internal/jupyter/zmtp"
)

const (
	// connectRetry is the pause between two attempts to connect to a kernel that is starting. An attempt
	// costs microseconds, and a start takes at least a third of a second. A watch of the directory would
	// not replace the attempts. A socket file appears at bind, and connections are refused until listen,
	// which makes no event.
	connectRetry = 5 * time.Millisecond
	// infoRetry is the time to wait for a kernel_info_reply before the request is sent again. A starting kernel
	// can lose the first request, or its own status messages.
	infoRetry = time.Second
	// lastOutput is how long the other channels are read after one channel has ended. A kernel that dies leaves
	// its last messages in each socket, and after them the end.
	lastOutput = time.Second
	// holdFor is how long the first output of a request can wait. In this time a short cell makes all its
	// output, and the client reads all of it when the kernel has answered. So five messages need one wake-up of this
	// process instead of five, while it shares its processors with the kernel. The delay is too short to
	// notice.
	holdFor = 20 * time.Millisecond
)

// sockets is the transport over ZeroMQ, with one socket for each channel.
type sockets struct {
	client    *Client // for its keys, and for its lock
	of        map[Channel]*zmtp.Conn
	published chan struct{} // closed at the first message on iopub
	once      sync.Once     // closes published
	holding   *time.Timer   // ends the pause of iopub; nil without a pause; guarded by Client.mu
}

// dialSockets connects to all sockets. It opens the subscription first, so that no output is missed. The shell
// and stdin sockets have the same identity: the kernel asks for input on stdin with the identity of the request.
func dialSockets(ctx context.Context, c *Client, conn Connection) (transport, error) {
	s := &sockets{client: c, of: make(map[Channel]*zmtp.Conn), published: make(chan struct{})}
	identity := []byte(*c.session.Load())
	for _, ch := range []Channel{IOPub, Shell, Control, Stdin} {
		o := zmtp.Options{Type: zmtp.Dealer, Identity: identity, MaxMessage: c.options.MaxMessage}
		if ch == IOPub {
			o.Type, o.Identity, o.Quiet = zmtp.Sub, nil, true
		}
		socket, err := dialRetry(ctx, o, conn.Path(ch), conn.otherPath(ch))
		if err == nil {
			s.of[ch] = socket
			if ch == IOPub {
				err = socket.Subscribe("")
			}
		}
		if err != nil {
			s.close()
			return nil, fmt.Errorf("%s: %w", ch, err)
		}
	}
	return s, nil
}

// readers returns one reader for each socket.
func (s *sockets) readers() []reader {
	list := make([]reader, 0, len(s.of))
	for ch, socket := range s.of {
		list = append(list, func() (Message, error) { return s.receive(ch, socket) })
	}
	return list
}

func (s *sockets) receive(ch Channel, socket *zmtp.Conn) (Message, error) {
	raw, err := socket.Recv()
	if err != nil {
		return Message{}, fmt.Errorf("%s: %w", ch, err)
	}
	m, err := s.client.decode(ch, raw.Frames, raw.Dropped)
	if err != nil {
		return m, fmt.Errorf("%s: %w", ch, err)
	}
	if ch == IOPub {
		s.once.Do(func() { close(s.published) })
	}
	if ch == Shell {
		s.release()
	}
	return m, nil
}

// ready repeats a request until the kernel has answered it and a first message has come over iopub: the welcome
// message of newer kernels, or a status of the request itself. Without this wait, the first output of the first
// cell could be lost.
func (s *sockets) ready(ctx context.Context) error {
	for answered := false; ; {
		try, cancel := context.WithTimeout(ctx, infoRetry)
		err := s.client.askInfo(try)
		if answered = answered || err == nil; answered {
			select {
			case <-s.published:
			case <-s.client.done:
			case <-try.Done():
			}
		}
		cancel()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case answered && closed(s.published):
			return nil
		case err != nil && !errors.Is(err, context.DeadlineExceeded):
			return err
		}
	}
}

func (s *sockets) send(m Message, limit int) error {
	socket := s.of[m.Channel]
	if socket == nil || m.Channel == IOPub {
		return fmt.Errorf("cannot send on channel %q", m.Channel)
	}
	return socket.SendWithin(limit, Encode(s.client.keys.Load().sign, m)...)
}

// hold lets messages on iopub wait until the kernel has answered on shell, or for holdFor.
func (s *sockets) hold() {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	if s.holding == nil && !s.client.ending {
		s.of[IOPub].Hold()
		s.holding = time.AfterFunc(holdFor, s.release)
	}
}

// release undoes hold.
func (s *sockets) release() {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	if s.holding != nil {
		s.holding.Stop()
		s.holding = nil
		s.of[IOPub].Release()
	}
}

func (s *sockets) finish() {
	for _, socket := range s.of {
		socket.EndWithin(lastOutput)
	}
}

func (s *sockets) close() {
	for _, socket := range s.of {
		socket.Close()
	}
}

// dialRetry connects to the socket at path, or at other if path does not exist. It repeats this while the kernel
// is starting.
func dialRetry(ctx context.Context, o zmtp.Options, path, other string) (*zmtp.Conn, error) {
	for {
		s, err := zmtp.Dial(ctx, path, o)
		if errors.Is(err, fs.ErrNotExist) {
			s, err = zmtp.Dial(ctx, other, o)
		}
		if err == nil || ctx.Err() == nil && !notYet(err) {
			return s, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (%w)", context.Cause(ctx), err)
		case <-time.After(connectRetry):
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
