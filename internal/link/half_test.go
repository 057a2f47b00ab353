package link_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"cellhold/internal/link"
)

// pair is a stream, as its two ends.
type pair struct{ host, guest net.Conn }

// pairs returns n streams of a new link. The timeout of closed streams is short.
func pairs(t *testing.T, n int) (*link.Host, []pair) {
	t.Helper()
	link.ShortenClose(t, 50*time.Millisecond)
	f := newFIFOs(t)
	l := link.Listen(f.guestIn, f.guestOut)
	t.Cleanup(func() { _ = l.Close() })
	h := f.attach(t)
	all := make([]pair, n)
	for i := range all {
		host, err := h.Dial(within(t))
		if err != nil {
			t.Fatal(err)
		}
		guest, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		all[i] = pair{host, guest}
		t.Cleanup(func() { _, _ = host.Close(), guest.Close() })
	}
	return h, all
}

func closeWrite(t *testing.T, c net.Conn) {
	t.Helper()
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// outlast returns when the other end of far has waited for the close of far as long as it can.
func outlast(t *testing.T, near, far net.Conn) {
	t.Helper()
	if err := near.Close(); err != nil {
		t.Fatal(err)
	}
	returns(t, "a write to a stream that the other end has given up", func() {
		for piece := make([]byte, 1000); ; {
			if _, err := far.Write(piece); err != nil {
				return
			}
		}
	})
}

func TestAStreamThatIsClosedForWritesWaitsForASlowAnswer(t *testing.T) {
	for name, ends := range map[string]func(pair) (near, far net.Conn){
		"by the host":  func(p pair) (net.Conn, net.Conn) { return p.host, p.guest },
		"by the guest": func(p pair) (net.Conn, net.Conn) { return p.guest, p.host },
	} {
		t.Run(name, func(t *testing.T) {
			_, streams := pairs(t, 2)
			near, far := ends(streams[0])
			closeWrite(t, near)
			otherNear, otherFar := ends(streams[1])
			outlast(t, otherNear, otherFar)
			if b, err := io.ReadAll(far); err != nil || len(b) > 0 {
				t.Errorf("the other end read %q, %v; want only the end", b, err)
			}
			if _, err := io.WriteString(far, "answer"); err != nil {
				t.Fatalf("write the answer: %v", err)
			}
			closeWrite(t, far)
			if b, err := io.ReadAll(near); err != nil || string(b) != "answer" {
				t.Errorf("got %q, %v; want the answer and its end", b, err)
			}
		})
	}
}

func TestWritesAfterCloseWriteFail(t *testing.T) {
	_, streams := pairs(t, 1)
	closeWrite(t, streams[0].host)
	if _, err := io.WriteString(streams[0].host, "late"); err == nil {
		t.Error("got no error, want one")
	}
}

// The end of a stream must be sent once: yamux ends the link if it is sent twice.
func TestAStreamEndsOnceInEachDirection(t *testing.T) {
	_, streams := pairs(t, 5)
	for i, p := range streams[:4] {
		for _, c := range []net.Conn{p.host, p.guest} {
			if i%2 == 0 {
				closeWrite(t, c)
			}
			if i < 2 {
				closeWrite(t, c)
			}
			_ = c.Close()
			closeWrite(t, c)
		}
	}
	last := streams[4]
	for _, way := range [][2]net.Conn{{last.host, last.guest}, {last.guest, last.host}} {
		if _, err := io.WriteString(way[0], "."); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(way[1], make([]byte, 1)); err != nil {
			t.Fatalf("the link has ended: %v", err)
		}
	}
}

func TestAnAnswerThatCameBeforeTheLossOfTheLinkIsComplete(t *testing.T) {
	h, streams := pairs(t, 2)
	whole, cut := streams[0], streams[1]
	if _, err := io.WriteString(whole.guest, "whole"); err != nil {
		t.Fatal(err)
	}
	closeWrite(t, whole.guest)
	if _, err := io.WriteString(cut.guest, "cut"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(cut.host, make([]byte, 1)); err != nil { // then the end of whole has arrived too
		t.Fatal(err)
	}
	_ = h.Close()
	if b, err := io.ReadAll(whole.host); err != nil || string(b) != "whole" {
		t.Errorf("the ended stream: got %q, %v; want its bytes and its end", b, err)
	}
	if b, err := io.ReadAll(cut.host); !errors.Is(err, link.ErrLost) || string(b) != "ut" {
		t.Errorf("the other stream: got %q, %v; want its bytes and ErrLost", b, err)
	}
}
