package sendqueue

import (
	"bytes"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// partly is a connection that takes one byte without a wait.
type partly struct{ net.Conn }

func (p partly) TryWrite(b []byte) (int, error) { return p.Write(b[:min(1, len(b))]) }

// sockets returns both ends of a connection that takes a part of a frame at once.
func sockets(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if ours, err = net.Dial("unix", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if theirs, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return partly{ours}, theirs
}

// pipe returns both ends of a connection that takes nothing without a wait.
func pipe(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	ours, theirs = net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs
}

// both runs a test on both kinds of connections.
func both(t *testing.T, test func(t *testing.T, q *Queue, theirs net.Conn)) {
	for name, ends := range map[string]func(*testing.T) (net.Conn, net.Conn){"socket": sockets, "pipe": pipe} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := ends(t)
			q := New(ours)
			t.Cleanup(func() { q.Close() })
			test(t, q, theirs)
		})
	}
}

// frame returns a frame of n bytes with a number.
func frame(number byte, n int) []byte { return bytes.Repeat([]byte{number}, n) }

func TestFramesForAPeerThatDoesNotReadWaitAndArriveWholeInOrder(t *testing.T) {
	both(t, func(t *testing.T, q *Queue, theirs net.Conn) {
		var want []byte
		for number, size := range []int{1, 8 << 20, 3, 1 << 20, 0, 70_000} {
			want = append(want, frame(byte(number), size)...)
			if err := q.Send(frame(byte(number), size), 64<<20); err != nil {
				t.Fatal(err)
			}
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(theirs, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes that differ from the sent ones, %v", len(got), err)
		}
	})
}

func TestAFullQueueRefusesAFrameUntilThePeerReads(t *testing.T) {
	both(t, func(t *testing.T, q *Queue, theirs net.Conn) {
		const limit, large = 4 << 20, 8 << 20
		if err := q.Send(frame(0, large), limit); err != nil { // nothing waits, so any size is allowed
			t.Fatal(err)
		}
		if err := q.Send(frame(1, 1), limit); !errors.Is(err, ErrFull) {
			t.Fatalf("a frame for a full queue: %v", err)
		}
		if err := q.Send(frame(2, 1), limit+large); err != nil {
			t.Fatalf("a frame with a higher limit: %v", err)
		}
		read := make([]byte, large+1)
		if _, err := io.ReadFull(theirs, read); err != nil || read[large-1] != 0 || read[large] != 2 {
			t.Fatalf("the end is %v, %v; want the refused frame to be missing", read[large-1:], err)
		}
		q.Drain()
		if err := q.Send(frame(3, 1), 0); err != nil {
			t.Errorf("a frame for an empty queue: %v", err)
		}
	})
}

func TestManySmallFramesAreBounded(t *testing.T) {
	ours, _ := pipe(t)
	q := New(ours)
	t.Cleanup(func() { q.Close() })
	const limit = 1 << 20
	sent := 0
	for ; q.Send(frame(0, 1), limit) == nil; sent++ {
		if sent > limit/frameCost {
			t.Fatalf("%d frames of one byte wait", sent)
		}
	}
	if want := limit / (frameCost + 1); sent != want {
		t.Errorf("%d frames of one byte can wait, want %d", sent, want)
	}
}

func TestCloseEndsTheWaitOfFramesAndCanBeRepeated(t *testing.T) {
	both(t, func(t *testing.T, q *Queue, _ net.Conn) {
		if err := q.Send(frame(0, 8<<20), 0); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := q.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := q.Send(frame(0, 1), 1<<20); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a frame after Close: %v", err)
		}
	})
}

func TestTheEndOfThePeerEndsTheWaitOfFrames(t *testing.T) {
	both(t, func(t *testing.T, q *Queue, theirs net.Conn) {
		if err := q.Send(frame(0, 8<<20), 0); err != nil {
			t.Fatal(err)
		}
		theirs.Close()
		q.Drain()
		if err := q.Send(frame(0, 1), 1<<20); err == nil || errors.Is(err, ErrFull) || errors.Is(err, net.ErrClosed) {
			t.Errorf("a frame after the end of the peer: %v", err)
		}
	})
}

// deaf is a connection whose deadline nothing moves: the queue must not set one, because a sandbox can be restored
// after it.
type deaf struct{ net.Conn }

func (deaf) SetWriteDeadline(time.Time) error { panic("a deadline") }
func (deaf) SetDeadline(time.Time) error      { panic("a deadline") }

func TestNoDeadlineIsSet(t *testing.T) {
	ours, theirs := pipe(t)
	q := New(deaf{ours})
	t.Cleanup(func() { q.Close() })
	if err := q.Send(frame(0, 10), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(theirs, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
}
