package link_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cellhold/internal/link"
)

// patience bounds operations that should take milliseconds.
const patience = 20 * time.Second

func contextWithPatience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

// within returns a context with a deadline for operations that should take milliseconds.
func within(t testing.TB) context.Context {
	ctx, cancel := contextWithPatience()
	t.Cleanup(cancel)
	return ctx
}

// fifos are a pair of named pipes whose guest ends are open for reads and writes, as in a sandbox.
type fifos struct {
	in, out           string
	guestIn, guestOut *os.File
}

func newFIFOs(t testing.TB) fifos {
	t.Helper()
	dir := t.TempDir()
	f := fifos{in: filepath.Join(dir, "in"), out: filepath.Join(dir, "out")}
	for path, file := range map[string]**os.File{f.in: &f.guestIn, f.out: &f.guestOut} {
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		opened, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = opened.Close() })
		*file = opened
	}
	return f
}

// host opens the host's ends.
func (f fifos) host(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, err := os.OpenFile(f.out, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	w, err = os.OpenFile(f.in, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

func (f fifos) attach(t testing.TB) *link.Host {
	t.Helper()
	r, w := f.host(t)
	h, err := link.Attach(within(t), r, w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// echo serves a guest that sends back all that it gets.
func (f fifos) echo(t testing.TB) *link.Listener {
	t.Helper()
	l := link.Listen(f.guestIn, f.guestOut)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l
}

// mustEcho sends n random bytes over a new stream and expects them back.
func mustEcho(t testing.TB, h *link.Host, n int) {
	t.Helper()
	c, err := h.Dial(within(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := exchange(c, n); err != nil {
		t.Fatal(err)
	}
}

func exchange(c net.Conn, n int) error {
	sent := make([]byte, n)
	_, _ = rand.Read(sent)
	werr := make(chan error, 1)
	go func() {
		_, err := c.Write(sent)
		werr <- err
	}()
	got := make([]byte, n)
	_, err := io.ReadFull(c, got)
	if err := errors.Join(err, <-werr); err != nil {
		return err
	}
	if !bytes.Equal(got, sent) {
		return errors.New("the received bytes differ from the sent bytes")
	}
	return nil
}

func TestManyStreamsShareALink(t *testing.T) {
	f := newFIFOs(t)
	f.echo(t)
	h := f.attach(t)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			c, err := h.Dial(within(t))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for _, n := range []int{1, 12, 4093, 4094, 10_000 * i} {
				if err := exchange(c, n); err != nil {
					t.Errorf("exchange of %d bytes: %v", n, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestALinkCarriesHTTPOverPipesInMemory(t *testing.T) {
	guestIn, hostOut := io.Pipe()
	hostIn, guestOut := io.Pipe()
	l := link.Listen(guestIn, guestOut)
	go func() { _ = http.Serve(l, http.NotFoundHandler()) }()
	h, err := link.Attach(within(t), hostIn, hostOut)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return h.Dial(ctx) },
	}}
	resp, err := client.Get("http://guest/")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("got status %s, want 404", resp.Status)
	}
	for range 2 { // Close can be called twice on each end
		_ = h.Close()
		_ = l.Close()
	}
	if _, err := l.Accept(); err == nil {
		t.Error("Accept of a closed listener: got no error, want one")
	}
	if _, err := h.Dial(within(t)); err == nil {
		t.Error("Dial of a closed link: got no error, want one")
	}
}

func TestAReadOfALostLinkReturnsErrLost(t *testing.T) {
	f := newFIFOs(t)
	f.echo(t)
	h := f.attach(t)
	c, err := h.Dial(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := exchange(c, 10); err != nil {
		t.Fatal(err)
	}
	_ = h.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, link.ErrLost) {
		t.Errorf("got %v, want ErrLost", err)
	}
}

func TestAReadEndsAtItsDeadlineAndWorksAfterIt(t *testing.T) {
	f := newFIFOs(t)
	f.echo(t)
	c, err := f.attach(t).Dial(within(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := c.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %v, want a timeout", err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := exchange(c, 100); err != nil {
		t.Errorf("exchange after the removal of the deadline: got %v, want no error", err)
	}
}

func TestTheLinkIsLostWhenTheGuestCloses(t *testing.T) {
	f := newFIFOs(t)
	l := f.echo(t)
	h := f.attach(t)
	_ = l.Close()
	select {
	case <-h.Done():
	case <-time.After(patience):
		t.Fatalf("Done was not closed within %s after the guest closed", patience)
	}
	r, err := os.OpenFile(f.out, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.OpenFile(f.in, os.O_WRONLY|unix.O_NONBLOCK, 0); !errors.Is(err, unix.ENXIO) {
		t.Errorf("open the input of a closed guest: got %v, want ENXIO", err)
	}
	_, unread := io.Pipe()
	if _, err := link.Attach(within(t), r, unread); !errors.Is(err, link.ErrLost) {
		t.Errorf("attach to a closed guest: got %v, want ErrLost", err)
	}
}

func TestAttachEndsWithItsContext(t *testing.T) {
	f := newFIFOs(t) // without a guest that listens
	r, w := f.host(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := link.Attach(ctx, r, w); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if err := r.Close(); err == nil {
		t.Error("the pipe is still open after a failed Attach, want it closed")
	}
}

func TestBytesBeforeTheNonceAreSkipped(t *testing.T) {
	f := newFIFOs(t)
	garbage := make([]byte, 50_000)
	_, _ = rand.Read(garbage)
	if _, err := f.guestOut.Write(garbage); err != nil {
		t.Fatal(err)
	}
	f.echo(t)
	mustEcho(t, f.attach(t), 10_000)
}

func TestDataOfAnEndedHostIsDropped(t *testing.T) {
	f := newFIFOs(t)
	_, w := f.host(t)
	frame := append([]byte{1, 0, 5}, "hello"...)
	for range 1000 {
		if _, err := w.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	// This is the RESET of a host that ended before the answer.
	if _, err := w.Write(append([]byte{2, 0, 32}, make([]byte, 32)...)); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if _, err := w.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	_ = w.Close()
	f.echo(t)
	mustEcho(t, f.attach(t), 10_000)
}

func TestTheGuestEndsTheLinkAfterAnInvalidFrame(t *testing.T) {
	for name, bytes := range map[string][]byte{
		"unknown type":   {9, 0, 0},
		"too long":       {1, 0xff, 0xff},
		"reset too long": {2, 0, 33},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFIFOs(t)
			l := f.echo(t)
			_, w := f.host(t)
			defer w.Close()
			if _, err := w.Write(bytes); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Accept(); err == nil || errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept: got %v, want an error other than net.ErrClosed", err)
			}
		})
	}
}

// full is an output that takes the answer to a RESET, and then nothing until it is closed.
type full struct {
	writes    int
	stuck     chan struct{} // closed when a write waits
	closed    chan struct{}
	closeOnce sync.Once
}

func (f *full) Write(p []byte) (int, error) {
	if f.writes++; f.writes == 1 {
		return len(p), nil
	}
	close(f.stuck)
	<-f.closed
	return 0, os.ErrClosed
}

func (f *full) Close() error {
	f.closeOnce.Do(func() { close(f.closed) })
	return nil
}

func TestTheEndOfTheInputEndsTheGuestAlthoughItsOutputIsFull(t *testing.T) {
	in, host := io.Pipe()
	out := &full{stuck: make(chan struct{}), closed: make(chan struct{})}
	l := link.Listen(in, out)
	accepted := make(chan error, 1)
	go func() {
		_, err := l.Accept()
		accepted <- err
	}()
	open := muxFrame(0, 1, 1, 1, 0) // its answer waits for space in the output
	for _, p := range [][]byte{append([]byte{2, 0, 32}, make([]byte, 32)...), append([]byte{1, 0, byte(len(open))}, open...)} {
		if _, err := host.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	<-out.stuck
	_ = host.Close()
	select {
	case err := <-accepted:
		if err == nil {
			t.Error("Accept: got a stream, want an error")
		}
	case <-time.After(patience):
		t.Error("Accept did not return after the end of the input")
	}
	_ = out.Close()
	_ = l.Close()
}

// hostile attaches to a guest that answers the handshake and then sends say.
func hostile(t *testing.T, f fifos, say []byte) *link.Host {
	t.Helper()
	go func() {
		reset := make([]byte, 35)
		if _, err := io.ReadFull(f.guestIn, reset); err == nil {
			_, _ = f.guestOut.Write(append(reset[3:], say...))
		}
	}()
	return f.attach(t)
}

func muxFrame(version, kind byte, flags uint16, id, length uint32) []byte {
	b := []byte{version, kind}
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint32(b, id)
	return binary.BigEndian.AppendUint32(b, length)
}

func TestTheHostEndsTheLinkAfterAnInvalidFrame(t *testing.T) {
	for name, say := range map[string][]byte{
		"version":               muxFrame(1, 0, 0, 1, 0),
		"ping":                  muxFrame(0, 2, 1, 0, 7),
		"go away":               muxFrame(0, 3, 0, 0, 0),
		"opens streams":         muxFrame(0, 1, 1, 2, 0),
		"opens a host's stream": muxFrame(0, 1, 1, 1, 0),
		"unknown type":          muxFrame(0, 4, 0, 1, 0),
		"unknown flag":          muxFrame(0, 0, 16, 1, 0),
		"even stream":           muxFrame(0, 0, 0, 2, 0),
		"too long":              muxFrame(0, 0, 0, 1, 1<<31),
	} {
		t.Run(name, func(t *testing.T) {
			h := hostile(t, newFIFOs(t), say)
			select {
			case <-h.Done():
			case <-time.After(patience):
				t.Errorf("Done was not closed within %s after the invalid frame", patience)
			}
		})
	}
}

// returns fails the test if f does not return within patience.
func returns(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s did not return within %s", what, patience)
	}
}

// stalled returns a link, and a stream whose guest has stopped after four bytes of a frame of 100 bytes.
func stalled(t *testing.T) (*link.Host, net.Conn) {
	t.Helper()
	f := newFIFOs(t)
	h := hostile(t, f, nil)
	c, err := h.Dial(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.guestOut.Write(append(muxFrame(0, 0, 2, 1, 100), "half"...)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	returns(t, "the read of the bytes that arrived", func() { _, err = io.ReadFull(c, got) })
	if err != nil || string(got) != "half" {
		t.Fatalf("got %q, %v; want the four bytes of the guest", got, err)
	}
	return h, c
}

func TestAReadEndsAtItsDeadlineAlthoughTheGuestStoppedInsideAFrame(t *testing.T) {
	_, c := stalled(t)
	var err error
	returns(t, "Read", func() {
		_ = c.SetReadDeadline(time.Now())
		_, err = c.Read(make([]byte, 1))
	})
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %v, want a timeout", err)
	}
}

func TestCloseReturnsAlthoughTheGuestStoppedInsideAFrame(t *testing.T) {
	h, c := stalled(t)
	returns(t, "Close of the stream", func() { _ = c.Close() })
	returns(t, "Close of the link", func() { _ = h.Close() })
}

// answered is a stream whose guest answers the first write, which is a request.
type answered struct {
	net.Conn
	answer func()
}

func (a answered) Write(p []byte) (int, error) {
	defer a.answer()
	return a.Conn.Write(p)
}

// A sandbox that is paused inside a frame is such a guest too. The host then ends its calls, and the link.
func TestCallsEndWithTheirContextAlthoughTheGuestStoppedInsideAFrame(t *testing.T) {
	f := newFIFOs(t)
	h := hostile(t, f, nil)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := h.Dial(ctx)
		return answered{c, func() {
			_, _ = f.guestOut.Write(append(muxFrame(0, 0, 2, 1, 1000), "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\npart"...))
		}}, err
	}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://guest/", nil)
	if err != nil {
		t.Fatal(err)
	}
	returns(t, "the call", func() {
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Error(err)
			return
		}
		cancel()
		if b, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("got the answer %q without an error, want one", b)
		}
		_ = resp.Body.Close()
		transport.CloseIdleConnections()
	})
	returns(t, "Close of the link", func() { _ = h.Close() })
}

func TestAFloodOfPingsStartsAtMostTwentyGoroutines(t *testing.T) {
	before := runtime.NumGoroutine()
	h := hostile(t, newFIFOs(t), bytes.Repeat(muxFrame(0, 2, 1, 0, 7), 4000))
	<-h.Done()
	if after := runtime.NumGoroutine(); after > before+20 {
		t.Errorf("got %d goroutines after %d, want at most 20 more", after, before)
	}
}

func TestADialToAGuestThatDoesNotAnswerEndsWithItsContext(t *testing.T) {
	f := newFIFOs(t)
	h := hostile(t, f, nil) // never answers an open
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	before := runtime.NumGoroutine()
	for range 10_000 {
		c, err := h.Dial(ctx)
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Dial: got %v, want context.DeadlineExceeded", err)
			}
			if after := runtime.NumGoroutine(); after > before+1000 {
				t.Errorf("got %d goroutines after %d, want at most 1000 more", after, before)
			}
			return
		}
		_ = c
	}
	t.Error("got 10000 streams to a guest that does not answer, want an error at the deadline")
}

func TestCloseEndsAReadOfTheStreamEvenIfTheGuestDoesNotAnswer(t *testing.T) {
	h := hostile(t, newFIFOs(t), nil) // never answers a close
	c, err := h.Dial(within(t))
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	begun := time.Now()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err == nil {
		t.Error("the read of a closed stream: got no error, want one")
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the read ended after %s, want at most 10s", took)
	}
}

// A hostile guest sends as much as it can on each stream, and never closes it.
func TestStreamsThatTheGuestNeverClosesKeepNoData(t *testing.T) {
	f := newFIFOs(t)
	l := link.Listen(f.guestIn, f.guestOut)
	t.Cleanup(func() { _ = l.Close() })
	full := make([]byte, 256<<10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write(full)
		}
	}()
	h := f.attach(t)
	connect := func() {
		c, err := h.Dial(within(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 64<<10)); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	connect()
	before := heap()
	for range 300 {
		connect()
	}
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("300 closed streams keep %d MiB, want at most 8", grown>>20)
	}
	runtime.KeepAlive(h)
}

// heap returns the bytes in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAStreamIsReadAfterTheHostHasClosedItForWrites(t *testing.T) {
	f := newFIFOs(t)
	f.echo(t)
	c, err := f.attach(t).Dial(within(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sent := bytes.Repeat([]byte("x"), 200<<10)
	if _, err := c.Write(sent); err != nil {
		t.Fatal(err)
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("got %d bytes, %v; want %d", len(got), err, len(sent))
	}
}
