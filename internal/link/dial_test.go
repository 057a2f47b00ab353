package link

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
)

// guestOf attaches to a guest that answers the handshake. next returns the next header of the host, and say sends one.
func guestOf(t *testing.T) (h *Host, next func() (flags uint16, id uint32), say func(flags uint16, id uint32)) {
	t.Helper()
	guestIn, hostOut := io.Pipe()
	hostIn, guestOut := io.Pipe()
	go func() {
		reset := make([]byte, frameHeader+nonceSize)
		if _, err := io.ReadFull(guestIn, reset); err == nil {
			_, _ = guestOut.Write(reset[frameHeader:])
		}
	}()
	h, err := Attach(t.Context(), hostIn, hostOut)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	next = func() (uint16, uint32) {
		t.Helper()
		var b [frameHeader + muxHeader]byte // the host sends no data in these tests
		if _, err := io.ReadFull(guestIn, b[:]); err != nil {
			t.Fatal(err)
		}
		return binary.BigEndian.Uint16(b[frameHeader+2:]), binary.BigEndian.Uint32(b[frameHeader+4:])
	}
	say = func(flags uint16, id uint32) {
		t.Helper()
		b := binary.BigEndian.AppendUint16([]byte{muxVersion, muxWindow}, flags)
		b = binary.BigEndian.AppendUint32(b, id)
		if _, err := guestOut.Write(binary.BigEndian.AppendUint32(b, 0)); err != nil {
			t.Fatal(err)
		}
	}
	return h, next, say
}

// A guest that does not answer opens blocks the next one. Its caller leaves, and then the guest answers.
func TestAStreamThatOpensAfterItsCallerHasLeftIsClosed(t *testing.T) {
	h, next, say := guestOf(t)
	backlog := muxConfig().AcceptBacklog
	for range backlog {
		opened := make(chan error, 1)
		go func() {
			_, err := h.Dial(t.Context())
			opened <- err
		}()
		next()
		if err := <-opened; err != nil {
			t.Fatal(err)
		}
	}
	left, leave := context.WithCancel(t.Context())
	leave()
	for len(h.opening) == 0 { // Dial can return before it opens a stream
		if _, err := h.Dial(left); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want context.Canceled", err)
		}
	}
	const ack = 2
	say(ack, 1)
	_, opened := next()
	flags, id := next()
	if flags != muxFlagFIN || id != opened || id != uint32(2*backlog+1) {
		t.Fatalf("got the flags %d for the stream %d, want the end of the new stream %d", flags, id, opened)
	}
	if h.open.hear(id, 0) {
		t.Error("the data of the stream would be kept, want it dropped")
	}
}

// A guest that does not read its input delays an open until it fails. It can read the open later.
func TestAStreamWhoseOpenFailedKeepsNoData(t *testing.T) {
	before := writeTimeout
	writeTimeout = time.Millisecond
	t.Cleanup(func() { writeTimeout = before })
	h, _, _ := guestOf(t)
	if _, err := h.Dial(t.Context()); !errors.Is(err, yamux.ErrConnectionWriteTimeout) {
		t.Fatalf("got %v, want %v", err, yamux.ErrConnectionWriteTimeout)
	}
	if h.open.hear(1, 0) {
		t.Error("the data of the stream would be kept, want it dropped")
	}
}
