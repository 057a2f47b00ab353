package guest

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"cellhold/internal/guestapi"
	"cellhold/internal/memory"
)

// arrival is a stream of events from one guest. The bytes that a test sends arrive as far as the reader reads them.
type arrival struct {
	guest net.Conn
	sent  chan []byte
	line  chan eventLine
}

// arrive begins to read one line of a new stream.
func arrive(t *testing.T, c *Client) *arrival {
	ours, theirs := net.Pipe()
	s := &arrival{theirs, make(chan []byte, 8), make(chan eventLine, 1)}
	ctx := t.Context()
	r := &eventReader{client: c, conn: ours, lines: bufio.NewReaderSize(ours, 64<<10), large: func() {}}
	go func() {
		if line, err := r.next(ctx); err == nil {
			s.line <- line
		}
	}()
	go func() {
		for b := range s.sent {
			if _, err := theirs.Write(b); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { ours.Close(); close(s.sent) })
	return s
}

// send sends bytes, and waits until the reader has read them or waits for something else.
func (s *arrival) send(b []byte) {
	s.sent <- b
	synctest.Wait()
}

// free reports whether n large events can arrive from other sandboxes now.
func free(t *testing.T, n int64) bool {
	share, err := arriving.Take(memory.WithPatience(t.Context(), time.Millisecond), n*guestapi.MaxEvent)
	share.Release()
	return err == nil
}

func newLargeClient(t *testing.T) *Client {
	c, err := New(Options{Dial: func(context.Context) (net.Conn, error) { return nil, net.ErrClosed }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheStreamsOfOneGuestHoldOneShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLargeClient(t)
		first, second := arrive(t, c), arrive(t, c)
		large := bytes.Repeat([]byte("x"), 2*smallLine)
		first.send(large)
		second.send(large)
		if !free(t, largeEvents-1) {
			t.Error("two streams of one guest hold more than one share")
		}
		if free(t, largeEvents) {
			t.Error("a large event that arrives holds no share")
		}
		first.send([]byte("\n"))
		(<-first.line).release()
		second.send([]byte("\n"))
		line := <-second.line
		if len(line.text) != 2*smallLine+1 || !line.whole {
			t.Errorf("the second event has %d bytes, whole %t", len(line.text), line.whole)
		}
		line.release()
		if !free(t, largeEvents) {
			t.Error("released events hold a share")
		}
	})
}

func TestALineThatIsTooLongFreesItsShareBeforeItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLargeClient(t)
		long, other := arrive(t, c), arrive(t, c)
		long.send(bytes.Repeat([]byte("x"), guestapi.MaxEvent+64<<10))
		if !free(t, largeEvents) {
			t.Error("a line that is too long holds a share")
		}
		other.send(append(bytes.Repeat([]byte("x"), 2*smallLine), '\n'))
		select {
		case line := <-other.line:
			line.release()
		default:
			t.Error("a line that is too long holds the place of its sandbox")
		}
		long.send([]byte("\n"))
		if line := <-long.line; line.whole || len(line.text) != guestapi.MaxHead {
			t.Errorf("the line has %d bytes, whole %t; want only its beginning", len(line.text), line.whole)
		}
	})
}
