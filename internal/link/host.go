package link

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/hashicorp/yamux"
)

// scanBuffer is the number of bytes that are read at once while the host skips old data.
const scanBuffer = 64 << 10

// Host is the host's end of a link. Its methods are safe for concurrent use.
type Host struct {
	mux  *yamux.Session
	conn *hostConn
	open *openStreams
	// opening admits one open at a time. The open of yamux takes no context and blocks while a guest does not
	// answer. So at most one goroutine is blocked in it.
	opening chan struct{}
	next    uint32 // number of the next stream; only the holder of opening uses it
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
	open := &openStreams{finishes: map[uint32]bool{}}
	conn := &hostConn{
		guard:  newGuard(io.MultiReader(bytes.NewReader(rest), r), open.hear),
		sender: sender{emit: func(p []byte) error { return writeFrames(w, p) }},
		close:  closeBoth,
	}
	mux, err := yamux.Client(conn, muxConfig())
	if err != nil {
		closeBoth()
		return nil, fmt.Errorf("attach to guest: %w", err)
	}
	return &Host{mux: mux, conn: conn, open: open, opening: make(chan struct{}, 1), next: 1}, nil
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
		stream *stream
		err    error
	}
	opened := make(chan result)
	h.opens.Go(func() {
		s, err := h.openStream()
		<-h.opening
		r := result{&stream{Stream: s, sender: &h.conn.sender, open: h.open}, err}
		select {
		case opened <- r:
		case <-ctx.Done():
			if err == nil {
				_ = r.stream.Close()
			}
		}
	})
	select {
	case r := <-opened:
		if r.err != nil {
			return nil, fmt.Errorf("dial guest: %w", r.err)
		}
		return r.stream, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("dial guest: %w", context.Cause(ctx))
	}
}

// openStream opens a stream of yamux, which numbers them 1, 3, 5. If it fails, yamux can still send the open later. So the
// data of such a stream is dropped. The caller must hold opening.
func (h *Host) openStream() (*yamux.Stream, error) {
	id := h.next
	h.next += 2
	h.open.add(id)
	s, err := h.mux.OpenStream()
	if err != nil {
		h.open.remove(id)
	}
	return s, err
}

// Done returns a channel that is closed when the link has ended: by Close, by the guest's death, or because
// the guest broke the protocol.
func (h *Host) Done() <-chan struct{} { return h.mux.CloseChan() }

// Close ends the link and its streams. The guest keeps running, and a host can attach to it again. Close
// can be called twice.
func (h *Host) Close() error {
	err := h.mux.Close()
	h.conn.sender.close()
	h.opens.Wait()
	return err
}

// hostConn is the connection of yamux on the host.
type hostConn struct {
	guard
	sender
	close func()
	once  sync.Once
}

func (c *hostConn) Close() error {
	c.once.Do(c.close)
	return nil
}

// guard passes only the messages of an honest guest: data and window updates for streams that the host
// opened. Without it, a guest could use up the host's memory with pings or streams. Each ping costs yamux a
// goroutine, and each stream has a buffer. guard drops the data of streams that are not open on the host.
//
// guard passes a data frame in pieces that have arrived completely. Each piece is a frame of its own. yamux holds a lock
// of the stream while it reads a body, so a guest that stops inside a frame would block the readers of the stream.
type guard struct {
	r    *bufio.Reader
	hear func(id uint32, flags uint16) bool // takes the flags of a frame; reports whether the host has the stream open

	header [muxHeader]byte // first as it arrives, then as it is passed
	have   int             // header bytes that were read
	ready  []byte          // the rest of a checked header that the caller has not read
	piece  int             // bytes of the current piece that the caller has not read; r has all of them
	rest   int             // bytes of the frame's body after the current piece
	flags  uint16          // flags of the frame that were not passed
}

// guardBuffer is the number of bytes that are read at once from the guest.
const guardBuffer = 16 << 10

func newGuard(r io.Reader, hear func(uint32, uint16) bool) guard {
	return guard{r: bufio.NewReaderSize(r, guardBuffer), hear: hear}
}

// Read returns checked bytes: a part of a header or of a body. It waits for the guest only between two pieces.
func (g *guard) Read(p []byte) (int, error) {
	for len(p) > 0 {
		switch {
		case len(g.ready) > 0:
			n := copy(p, g.ready)
			g.ready = g.ready[n:]
			return n, nil
		case g.piece > 0:
			n, err := g.r.Read(p[:min(len(p), g.piece)])
			g.piece -= n
			return n, err
		case g.rest > 0:
			if err := g.cut(); err != nil {
				return 0, err
			}
		default:
			n, err := g.r.Read(g.header[g.have:])
			if g.have += n; g.have == muxHeader {
				g.have = 0
				if bad := g.checkHeader(); bad != nil {
					return 0, bad
				}
			}
			if err != nil {
				return 0, err
			}
		}
	}
	return 0, nil
}

// checkHeader checks a header. It passes a header without a body on; cut passes the others.
func (g *guard) checkHeader() error {
	h := g.header[:]
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
	if h[1] == muxData && length > 0 {
		g.rest, g.flags = int(length), flags
		return nil
	}
	g.hear(id, flags)
	g.ready = h
	return nil
}

// cut waits for the next bytes of the body, and makes a piece of those that have arrived. The first piece has the
// frame's flags, and the last piece has those that end the stream.
func (g *guard) cut() error {
	if _, err := g.r.Peek(1); err != nil {
		return err
	}
	g.piece = min(g.rest, g.r.Buffered())
	g.rest -= g.piece
	flags := g.flags
	if g.rest > 0 {
		flags &^= muxFlagsEnd
	}
	g.flags &^= flags
	h := g.header[:]
	if !g.hear(binary.BigEndian.Uint32(h[4:]), flags) { // yamux gets the flags without the data
		_, _ = g.r.Discard(g.piece) // does not fail: r has the bytes
		g.piece = 0
	}
	binary.BigEndian.PutUint16(h[2:], flags)
	binary.BigEndian.PutUint32(h[8:], uint32(g.piece))
	g.ready = h
	return nil
}
