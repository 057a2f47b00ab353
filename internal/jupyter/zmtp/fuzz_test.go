package zmtp

import (
	"bufio"
	"bytes"
	"net"
	"testing"
	"time"

	"cellhold/internal/jupyter/sendqueue"
)

// recorded is a net.Conn of a peer that has already sent all its bytes. It accepts and drops all writes.
type recorded struct{ *bytes.Reader }

func (recorded) Write(b []byte) (int, error)      { return len(b), nil }
func (recorded) Close() error                     { return nil }
func (recorded) LocalAddr() net.Addr              { return nil }
func (recorded) RemoteAddr() net.Addr             { return nil }
func (recorded) SetDeadline(time.Time) error      { return nil }
func (recorded) SetReadDeadline(time.Time) error  { return nil }
func (recorded) SetWriteDeadline(time.Time) error { return nil }

func FuzzFrame(f *testing.F) {
	f.Add(frame(0, []byte("hello")))
	f.Add(append(frame(flagMore, nil), frame(0, make([]byte, 300))...))
	f.Add([]byte{flagLong, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add(command([]byte("\x04PING\x00\x01ctx")))
	f.Add(command([]byte("\x05ERROR\x03why")))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := recorded{bytes.NewReader(b)}
		c := &Conn{nc: s, r: bufio.NewReader(s), maxMessage: 1000, maxFrames: 5, out: sendqueue.New(s)}
		defer c.Close()
		for {
			m, err := c.Recv()
			if err != nil {
				return
			}
			total := 0
			for _, f := range m.Frames {
				total += len(f)
			}
			if total > 1000 || len(m.Frames) > 5 || len(m.Frames) == 0 && m.Dropped == 0 || m.Dropped < 0 {
				t.Fatalf("%d bytes in %d frames, %d dropped", total, len(m.Frames), m.Dropped)
			}
		}
	})
}

func FuzzReady(f *testing.F) {
	f.Add(readyBody(Peer{Type: Dealer, Identity: []byte("id")})[6:])
	f.Add([]byte("\xffSocket-Type"))
	f.Add([]byte("\x0bSocket-Type\xff\xff\xff\xffROUTER"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseReady(b)
		if err == nil && len(p.Identity) > maxIdentity {
			t.Fatalf("identity of %d bytes", len(p.Identity))
		}
		// The result can be written and read again.
		if err == nil {
			again, err := parseReady(readyBody(p)[6:])
			if err != nil || again.Type != p.Type || !bytes.Equal(again.Identity, p.Identity) {
				t.Fatalf("%+v became %+v (%v)", p, again, err)
			}
		}
	})
}
