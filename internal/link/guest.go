package link

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/yamux"
)

// guestBuffer is the number of bytes that the guest reads at once: sixteen frames.
const guestBuffer = 64 << 10

// Listener is the guest's end of a link: a net.Listener that outlives any number of hosts.
type Listener struct {
	in    *frameReader
	w     io.Writer
	close func() error

	conns chan net.Conn
	done  chan struct{} // closed by Close
	ended chan struct{} // closed when err has its final value
	err   error
	once  sync.Once
	run   sync.WaitGroup
}

// Listen serves the guest's end of a link. r is read from the host, and w is written to the host. Streams
// of an old host end when a new host attaches. Accept keeps working across hosts, and fails only when r
// ends or Close is called. Close also closes r and w if they are closers. If r is not a closer, Close
// returns only after r has ended.
func Listen(r io.Reader, w io.Writer) *Listener {
	closeOut := sync.OnceValue(func() error { return closeIfCloser(w) })
	l := &Listener{
		in:    &frameReader{r: bufio.NewReaderSize(r, guestBuffer), ended: func() { _ = closeOut() }},
		w:     w,
		close: func() error { return errors.Join(closeIfCloser(r), closeOut()) },
		conns: make(chan net.Conn),
		done:  make(chan struct{}),
		ended: make(chan struct{}),
	}
	l.run.Go(func() {
		l.err = l.serve()
		close(l.ended)
	})
	return l
}

func closeIfCloser(v any) error {
	if c, ok := v.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// serve serves one host after another until r ends.
func (l *Listener) serve() error {
	for {
		nonce, err := l.in.awaitReset()
		if err != nil {
			return err
		}
		// The last serveHost waited until the writes of its session had ended. So the nonce is never inside
		// one of these writes.
		if _, err := l.w.Write(nonce); err != nil {
			return fmt.Errorf("answer the host: %w", err)
		}
		if err := l.serveHost(); err != nil {
			return err
		}
	}
}

// serveHost serves one host until the next one resets the link.
func (l *Listener) serveHost() error {
	conn := &guestConn{in: l.in}
	conn.sender.emit = func(p []byte) error {
		_, err := l.w.Write(p)
		return err
	}
	mux, err := yamux.Server(conn, muxConfig())
	if err != nil {
		return err
	}
	defer conn.sender.close()
	defer mux.Close()
	for {
		s, err := mux.AcceptStream()
		if err != nil {
			return nil // ends this session only; the next reset starts another
		}
		select {
		case l.conns <- &stream{Stream: s, sender: &conn.sender}:
		case <-mux.CloseChan():
			return nil
		case <-l.done:
			return net.ErrClosed
		}
	}
}

// Accept waits for the next stream that a host opens.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-l.ended:
		return nil, fmt.Errorf("link ended: %w", l.err)
	}
}

// Close ends the link and its streams. It can be called twice.
func (l *Listener) Close() error {
	var err error
	l.once.Do(func() {
		close(l.done)
		err = l.close()
	})
	l.run.Wait()
	return err
}

// Addr returns the name of the link for logs.
func (l *Listener) Addr() net.Addr { return addr{} }

type addr struct{}

func (addr) Network() string { return "link" }
func (addr) String() string  { return "link" }

// guestConn is the connection of yamux in the guest.
type guestConn struct {
	in     *frameReader
	closed atomic.Bool
	sender
}

func (c *guestConn) Read(p []byte) (int, error) {
	if c.closed.Load() {
		return 0, io.EOF
	}
	return c.in.Read(p)
}

// Close ends the session and leaves the pipes open: the next host needs them.
func (c *guestConn) Close() error {
	c.closed.Store(true)
	return nil
}

// frameReader decodes the frames. One goroutine at a time uses it: the receiver of the running session, or
// serve between two sessions.
type frameReader struct {
	r     *bufio.Reader
	left  int    // bytes left in the current DATA frame
	nonce []byte // nonce of a RESET that is not answered yet
	err   error  // set when the frames can no longer be trusted
	ended func() // called when err is set: it ends a write to a host that is gone
}

// Read returns the payload of DATA frames, and io.EOF at a RESET.
func (f *frameReader) Read(p []byte) (int, error) {
	for f.left == 0 {
		if f.nonce != nil {
			return 0, io.EOF
		}
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n, err := f.r.Read(p[:min(len(p), f.left)])
	f.left -= n
	return n, err
}

// awaitReset drops everything before the next RESET and returns its nonce.
func (f *frameReader) awaitReset() ([]byte, error) {
	for f.nonce == nil {
		if _, err := f.r.Discard(f.left); err != nil {
			return nil, err
		}
		f.left = 0
		if err := f.next(); err != nil {
			return nil, err
		}
	}
	nonce := f.nonce
	f.nonce = nil
	return nonce, nil
}

// next reads the header of the next frame, and all of a RESET. Its errors are final: after one, the frame
// boundaries are lost.
func (f *frameReader) next() error {
	if f.err == nil {
		if f.err = f.readHeader(); f.err != nil {
			f.ended()
		}
	}
	return f.err
}

func (f *frameReader) readHeader() error {
	var h [frameHeader]byte
	if _, err := io.ReadFull(f.r, h[:]); err != nil {
		return err
	}
	length := int(binary.BigEndian.Uint16(h[1:]))
	switch {
	case h[0] == frameData && length <= maxPayload:
		f.left = length
		return nil
	case h[0] == frameReset && length == nonceSize:
		nonce := make([]byte, nonceSize)
		if _, err := io.ReadFull(f.r, nonce); err != nil {
			return err
		}
		f.nonce = nonce
		return nil
	}
	return fmt.Errorf("%w: type %d, length %d", errBadFrame, h[0], length)
}
