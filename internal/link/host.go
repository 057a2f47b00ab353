package link

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// scanBuffer is the number of bytes that are read at once while the host skips old data.
const scanBuffer = 64 << 10

// Host is the host's end of a link. Its methods are safe for concurrent use.
type Host struct {
	mux *yamux.Session
	// opening admits one open at a time. The open of yamux takes no context and blocks while a guest does not
	// answer. So at most one goroutine is blocked in it.
	opening chan struct{}
	opens   sync.WaitGroup
}

// Attach takes over the host's end. r is read from the guest, and w is written to the guest. It returns
// when the guest has answered. The link owns r and w and closes them, also when Attach fails. Their Close
// must end a blocked Read or Write, as it does for pipes.
func Attach(ctx context.Context, r io.ReadCloser, w io.WriteCloser) (*Host, error) {
	closeBoth := func() { _ = w.Close(); _ = r.Close() }
	rest, err := handshake(ctx, r, w, closeBoth)
	if err != nil {
		closeBoth()
		return nil, fmt.Errorf("attach to guest: %w", err)
	}
	conn := &hostConn{
		guard: guard{r: io.MultiReader(bytes.NewReader(rest), r)},
		close: closeBoth,
	}
	conn.joiner.emit = func(p []byte) error { return writeFrames(w, p) }
	mux, err := yamux.Client(conn, muxConfig())
	if err != nil {
		closeBoth()
		return nil, fmt.Errorf("attach to guest: %w", err)
	}
	return &Host{mux: mux, opening: make(chan struct{}, 1)}, nil
}

// handshake sends a RESET and reads up to its echo. It returns the bytes that it read after the echo.
func handshake(ctx context.Context, r io.Reader, w io.Writer, abort func()) ([]byte, error) {
	stop := context.AfterFunc(ctx, abort)
	defer stop()
	nonce := make([]byte, nonceSize)
	_, _ = rand.Read(nonce) // never fails, as documented
	reset := append([]byte{frameReset, 0, nonceSize}, nonce...)

	// The write runs in parallel to the read. The pipe to the guest can be full of data from a dead host.
	// Then the guest can be blocked until the host reads its output.
	sent := make(chan error, 1)
	go func() {
		_, err := w.Write(reset)
		sent <- err
	}()
	rest, err := skipPast(r, nonce)
	if err != nil {
		abort() // ends the write too
	}
	writeErr := <-sent
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return rest, cmp.Or(err, writeErr)
}

// skipPast reads r up to and including mark, and returns the bytes that it read after mark. It needs only the
// memory of its buffer, even if many bytes come before mark.
func skipPast(r io.Reader, mark []byte) ([]byte, error) {
	buf := make([]byte, 0, scanBuffer)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if i := bytes.Index(buf, mark); i >= 0 {
			return buf[i+len(mark):], nil
		}
		if err == io.EOF {
			return nil, fmt.Errorf("guest is gone: %w", ErrLost)
		}
		if err != nil {
			return nil, err
		}
		keep := min(len(buf), len(mark)-1)
		copy(buf, buf[len(buf)-keep:])
		buf = buf[:keep]
	}
}

// writeFrames writes p as DATA frames, each with one write.
func writeFrames(w io.Writer, p []byte) error {
	var frame [maxFrame]byte
	for len(p) > 0 {
		n := copy(frame[frameHeader:], p)
		frame[0] = frameData
		binary.BigEndian.PutUint16(frame[1:], uint16(n))
		if _, err := w.Write(frame[:frameHeader+n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// Dial opens a stream to the guest. It does not wait until the guest accepts it.
func (h *Host) Dial(ctx context.Context) (net.Conn, error) {
	select {
	case h.opening <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("dial guest: %w", context.Cause(ctx))
	case <-h.Done():
		return nil, fmt.Errorf("dial guest: %w", ErrLost)
	}
	type result struct {
		stream *yamux.Stream
		err    error
	}
	opened := make(chan result)
	h.opens.Go(func() {
		s, err := h.mux.OpenStream()
		<-h.opening
		select {
		case opened <- result{s, err}:
		case <-ctx.Done():
			if err == nil {
				_ = s.Close()
			}
		}
	})
	select {
	case r := <-opened:
		if r.err != nil {
			return nil, fmt.Errorf("dial guest: %w", r.err)
		}
		return &stream{r.stream}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("dial guest: %w", context.Cause(ctx))
	}
}

// Done returns a channel that is closed when the link has ended: by Close, by the guest's death, or because
// the guest broke the protocol.
func (h *Host) Done() <-chan struct{} { return h.mux.CloseChan() }

// Close ends the link and its streams. The guest keeps running, and a host can attach to it again. Close
// can be called twice.
func (h *Host) Close() error {
	err := h.mux.Close()
	h.opens.Wait()
	return err
}

// stream is a yamux stream whose errors distinguish a lost link from an orderly end.
type stream struct{ *yamux.Stream }

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	if err == io.EOF && s.Session().IsClosed() {
		err = ErrLost
	}
	return n, err
}

// Close also wakes a blocked reader. Usually the close of the guest does this, but a paused guest sends none.
func (s *stream) Close() error {
	return errors.Join(s.Stream.Close(), s.Stream.SetReadDeadline(time.Unix(1, 0)))
}

// hostConn is the connection of yamux on the host.
type hostConn struct {
	guard
	joiner
	close func()
	once  sync.Once
}

func (c *hostConn) Close() error {
	c.once.Do(c.close)
	return nil
}

// guard passes only the messages of an honest guest: data and window updates for streams that the host
// opened. Without it, a guest could use up the host's memory with pings or streams. Each ping costs yamux a
// goroutine, and each stream has a buffer.
type guard struct {
	r      io.Reader
	header [muxHeader]byte
	have   int    // header bytes that were read
	body   uint32 // bytes of the current frame's body that are still missing
}

func (g *guard) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	if bad := g.check(p[:n]); bad != nil {
		return 0, bad
	}
	return n, err
}

func (g *guard) check(p []byte) error {
	for len(p) > 0 {
		if g.body > 0 {
			skip := min(uint64(g.body), uint64(len(p)))
			g.body -= uint32(skip)
			p = p[skip:]
			continue
		}
		n := copy(g.header[g.have:], p)
		g.have += n
		p = p[n:]
		if g.have < muxHeader {
			return nil
		}
		g.have = 0
		if err := g.checkHeader(); err != nil {
			return err
		}
	}
	return nil
}

func (g *guard) checkHeader() error {
	h := g.header
	flags := binary.BigEndian.Uint16(h[2:])
	id := binary.BigEndian.Uint32(h[4:])
	length := binary.BigEndian.Uint32(h[8:])
	switch {
	case h[0] != muxVersion:
		return fmt.Errorf("%w: version %d", errBadGuest, h[0])
	case h[1] != muxData && h[1] != muxWindow:
		return fmt.Errorf("%w: message type %d", errBadGuest, h[1])
	case flags&muxFlagSYN != 0 || flags&^muxFlagsAll != 0:
		return fmt.Errorf("%w: flags %#x", errBadGuest, flags)
	case id%2 == 0:
		return fmt.Errorf("%w: the host did not open stream %d", errBadGuest, id)
	case h[1] == muxData && length > muxMaxBody:
		return fmt.Errorf("%w: %d bytes in one frame", errBadGuest, length)
	}
	if h[1] == muxData {
		g.body = length
	}
	return nil
}
