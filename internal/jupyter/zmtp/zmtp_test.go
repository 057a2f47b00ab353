package zmtp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func socketPath(t *testing.T) string { return filepath.Join(t.TempDir(), "s") }

// raw connects a Dealer to a peer that sends exactly these bytes. If handshake is set, the peer makes a valid
// handshake first.
func raw(t *testing.T, handshake bool, sent ...[]byte) (*Conn, net.Conn, error) {
	t.Helper()
	l, err := net.Listen("unix", socketPath(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	peer := make(chan net.Conn, 1)
	go func() { // ends with the listener
		nc, err := l.Accept()
		if err != nil {
			return
		}
		if handshake {
			nc.Write(greeting())
			nc.Write(command(readyBody(Peer{Type: Router})))
		}
		for _, b := range sent {
			nc.Write(b)
		}
		peer <- nc
	}()
	c, err := Dial(soon(t), l.Addr().String(), Options{Type: Dealer, MaxMessage: 1000, MaxFrames: 4})
	nc := <-peer
	t.Cleanup(func() {
		nc.Close()
		if c != nil {
			c.Close()
		}
	})
	return c, nc, err
}

// mustRaw calls raw with a handshake, which must succeed.
func mustRaw(t *testing.T, sent ...[]byte) (*Conn, net.Conn) {
	t.Helper()
	c, nc, err := raw(t, true, sent...)
	if err != nil {
		t.Fatal(err)
	}
	return c, nc
}

func command(body []byte) []byte { return frame(flagCommand, body) }

func frame(flags byte, body []byte) []byte {
	return append(appendHeader(nil, flags, len(body)), body...)
}

func TestAFrameOfMaximalLengthIsRefusedWithoutMemory(t *testing.T) {
	for name, size := range map[string][]byte{
		"2^63-1": {0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"2^64-1": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"2^31":   {0, 0, 0, 0, 0x80, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := mustRaw(t, append([]byte{flagLong}, size...))
			if _, err := c.Recv(); !errors.Is(err, ErrProtocol) {
				t.Fatalf("got %v, want ErrProtocol", err)
			}
		})
	}
}

func TestMemoryGrowsOnlyAsBytesArrive(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := readBody(bytes.NewReader(make([]byte, 100)), maxFrame)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; err == nil || got > 4*firstRead {
		t.Fatalf("an announced size of 2 GiB allocated %d bytes (error %v)", got, err)
	}
}

func TestATooLargeMessageIsSkippedAndTheNextOneArrives(t *testing.T) {
	c, _ := mustRaw(t,
		frame(flagMore, []byte("head")), frame(flagMore, make([]byte, 2000)), frame(0, []byte("tail")),
		frame(0, []byte("next")))
	m := recv(t, c)
	if len(m.Frames) != 1 || string(m.Frames[0]) != "head" || m.Dropped != 2001+5 {
		t.Fatalf("got %q and %d dropped", m.Frames, m.Dropped)
	}
	if m := recv(t, c); string(m.Frames[0]) != "next" || m.Dropped != 0 {
		t.Fatalf("got %q and %d dropped", m.Frames, m.Dropped)
	}
}

func TestAMessageOfTooManyFramesIsCutShort(t *testing.T) {
	var sent []byte
	for range 1000 {
		sent = append(sent, frame(flagMore, nil)...)
	}
	c, _ := mustRaw(t, append(sent, frame(0, nil)...))
	if m := recv(t, c); len(m.Frames) != 4 || m.Dropped != 997 {
		t.Fatalf("got %d frames and %d dropped", len(m.Frames), m.Dropped)
	}
}

func TestBadFlagsAndCommandsAreErrors(t *testing.T) {
	for name, sent := range map[string][]byte{
		"reserved flag":       {8, 0},
		"command in parts":    {flagCommand | flagMore, 1, 0},
		"large command":       append([]byte{flagCommand | flagLong}, 0, 0, 0, 0, 0, 1, 0, 0),
		"empty command":       {flagCommand, 0},
		"name beyond the end": {flagCommand, 2, 9, 'P'},
		"long PING":           command(append([]byte("\x04PING\x00\x00"), make([]byte, 17)...)),
		"short PING":          command([]byte("\x04PING\x00")),
		"ERROR":               command([]byte("\x05ERROR\x06go out")),
		"ERROR cut short":     command([]byte("\x05ERROR\x99go")),
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := mustRaw(t, sent)
			if _, err := c.Recv(); !errors.Is(err, ErrProtocol) {
				t.Fatalf("got %v, want ErrProtocol", err)
			}
		})
	}
}

func TestMalformedGreetingsAndReadiesAreRefused(t *testing.T) {
	old, plain := greeting(), greeting()
	old[10] = 1
	copy(plain[12:], "PLAIN")
	ready := func(properties string) []byte {
		return append(greeting(), command([]byte("\x05READY"+properties))...)
	}
	for name, sent := range map[string][]byte{
		"not a greeting":            bytes.Repeat([]byte("GET "), 16),
		"version 1":                 old,
		"PLAIN":                     plain,
		"no type":                   ready(""),
		"wrong type":                ready("\x0bSocket-Type\x00\x00\x00\x03SUB"),
		"name beyond the end":       ready("\xffSocket-Type"),
		"empty name":                ready("\x00\x00\x00\x00\x00"),
		"value beyond the end":      ready("\x0bSocket-Type\x00\x00\x00\xffROUTER"),
		"value of 4 GiB":            ready("\x0bSocket-Type\xff\xff\xff\xffROUTER"),
		"length cut short":          ready("\x0bSocket-Type\x00\x00"),
		"identity of 256 bytes":     ready("\x08Identity\x00\x00\x01\x00" + strings.Repeat("i", 256)),
		"a message before READY":    append(greeting(), frame(0, []byte("hello"))...),
		"another command":           append(greeting(), command([]byte("\x05HELLO"))...),
		"ERROR":                     append(greeting(), command([]byte("\x05ERROR\x02no"))...),
		"READY with reserved flags": append(greeting(), 0x14, 6, 5, 'R', 'E', 'A', 'D', 'Y'),
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := raw(t, false, sent); !errors.Is(err, ErrProtocol) {
				t.Fatalf("got %v, want ErrProtocol", err)
			}
		})
	}
}

func TestReadyIsNotSentBeforeThePeerHasGreeted(t *testing.T) {
	ours, theirs := pair(t)
	done := make(chan error, 1)
	go func() {
		_, err := New(soon(t), ours, Options{Type: Dealer, Identity: []byte("id")})
		done <- err
	}()
	io.ReadFull(theirs, make([]byte, greetingSize))
	theirs.Write(greeting()[:63])
	theirs.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, _ := theirs.Read(make([]byte, 1)); n != 0 {
		t.Fatal("READY was sent before the greeting was complete")
	}
	theirs.SetReadDeadline(time.Time{})
	theirs.Write(greeting()[63:])
	r := bufio.NewReader(theirs)
	h, err := readHeader(r)
	if err != nil || !h.isCommand() {
		t.Fatalf("got %v %v, want a command", h, err)
	}
	body, _ := readBody(r, h.size)
	if p, err := parseReady(body[6:]); err != nil || p.Type != Dealer || string(p.Identity) != "id" {
		t.Fatalf("got %q %v", body, err)
	}
	theirs.Write(command(readyBody(Peer{Type: Router})))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func pair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", socketPath(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("unix", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestPingIsAnsweredWithItsContextEvenInsideAMessage(t *testing.T) {
	c, nc := mustRaw(t,
		frame(flagMore, []byte("one")), command([]byte("\x04PING\x00\x0ahello, context")), frame(0, []byte("two")))
	if m := recv(t, c); len(m.Frames) != 2 || string(m.Frames[1]) != "two" {
		t.Fatalf("got %q", m.Frames)
	}
	r := bufio.NewReader(nc)
	r.Discard(greetingSize)
	if h, _ := readHeader(r); h.size > 0 {
		r.Discard(int(h.size)) // READY
	}
	h, err := readHeader(r)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := readBody(r, h.size); !h.isCommand() || string(body) != "\x04PONGhello, context" {
		t.Fatalf("got %q", body)
	}
}

func TestTheEndOfThePeerIsReported(t *testing.T) {
	c, nc := mustRaw(t, frame(0, []byte("last")))
	recv(t, c)
	drain(nc)
	nc.Close()
	if _, err := c.Recv(); err != io.EOF {
		t.Fatalf("got %v, want io.EOF between messages", err)
	}
	c, nc = mustRaw(t, frame(flagMore, []byte("half")))
	drain(nc)
	nc.Close()
	if _, err := c.Recv(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("got %v, want an unexpected end inside a message", err)
	}
}

// TestAPeerThatClosesItsReadingHalfEndsTheConnection: otherwise a cell would wait for an answer that never comes.
func TestAPeerThatClosesItsReadingHalfEndsTheConnection(t *testing.T) {
	c, nc := mustRaw(t)
	if err := nc.(*net.UnixConn).CloseRead(); err != nil {
		t.Fatal(err)
	}
	if err := c.Send([]byte("x")); err == nil || errors.Is(err, ErrFull) {
		t.Fatalf("a message to a peer that cannot read: %v", err)
	}
	if m, err := c.Recv(); err == nil {
		t.Errorf("received %q, want the end", m.Frames)
	}
}

// drain reads the greeting and READY of the other end. With unread bytes, the close would reset the connection.
func drain(nc net.Conn) {
	io.ReadFull(nc, make([]byte, greetingSize+len(command(readyBody(Peer{Type: Dealer})))))
}

func TestASilentPeerEndsTheHandshakeWithTheContext(t *testing.T) {
	ours, _ := pair(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("told so")
	done := make(chan error, 1)
	go func() {
		_, err := New(ctx, ours, Options{Type: Dealer})
		done <- err
	}()
	cancel(why)
	if err := <-done; !errors.Is(err, why) {
		t.Fatalf("got %v, want the cause of the context", err)
	}
}

func TestCloseWakesAReader(t *testing.T) {
	c, _ := mustRaw(t)
	done := make(chan error, 1)
	go func() { _, err := c.Recv(); done <- err }()
	c.Close()
	if err := <-done; err == nil {
		t.Fatal("Recv returned a message")
	}
	if err := c.Close(); err != nil {
		t.Fatalf("the second Close: %v", err)
	}
}
