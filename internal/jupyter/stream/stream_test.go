package stream

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// said is a net.Conn of a kernel that has sent all its bytes, and reads everything.
type said struct{ *bytes.Reader }

func (said) Write(b []byte) (int, error)      { return len(b), nil }
func (said) Close() error                     { return nil }
func (said) LocalAddr() net.Addr              { return nil }
func (said) RemoteAddr() net.Addr             { return nil }
func (said) SetDeadline(time.Time) error      { return nil }
func (said) SetReadDeadline(time.Time) error  { return nil }
func (said) SetWriteDeadline(time.Time) error { return nil }

func reader(b []byte, o Options) *Conn { return New(said{bytes.NewReader(b)}, o) }

// ends returns both ends of a stream.
func ends(t testing.TB, o Options) (ours, theirs *Conn) {
	t.Helper()
	a, f, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs = New(a, o), New(b, o)
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs
}

func parts(texts ...string) [][]byte {
	list := make([][]byte, len(texts))
	for i, s := range texts {
		list[i] = []byte(s)
	}
	return list
}

func frame(t testing.TB, ch Channel, parts ...[]byte) []byte {
	t.Helper()
	b, err := appendFrame(nil, ch, parts)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAFrameHasTheDocumentedForm(t *testing.T) {
	got := frame(t, IOPub, parts("a", "bc", "", "def", "gh")...)
	want := "\x20\x00\x00\x00" + "\x04" + "\x00" + "\x05\x00" +
		"\x01\x00\x00\x00" + "\x02\x00\x00\x00" + "\x00\x00\x00\x00" + "\x03\x00\x00\x00" + "\x02\x00\x00\x00" + "abcdefgh"
	if string(got) != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestMessagesOfAllSizesArriveInOrder(t *testing.T) {
	ours, theirs := ends(t, Options{})
	sizes := []int{0, 1, readBuffer - 1, readBuffer, 3*firstRead + 1, 20_000_000}
	var sent sync.WaitGroup
	defer sent.Wait()
	sent.Go(func() {
		for i, size := range sizes {
			if err := theirs.Send(Channel(i%4+1), append(parts("h", "", "{}"), bytes.Repeat([]byte{byte(i)}, size), nil)...); err != nil {
				t.Error(err)
			}
		}
		theirs.Drain()
		theirs.Close()
	})
	for i, size := range sizes {
		m, err := ours.Recv()
		if err != nil {
			t.Fatal(err)
		}
		want := append(parts("h", "", "{}"), bytes.Repeat([]byte{byte(i)}, size), []byte{})
		if m.Channel != Channel(i%4+1) || m.Dropped != 0 || !slices.EqualFunc(m.Parts, want, bytes.Equal) {
			t.Fatalf("size %d: channel %d, %d parts, %d dropped", size, m.Channel, len(m.Parts), m.Dropped)
		}
	}
	if _, err := ours.Recv(); err != io.EOF {
		t.Fatalf("at the end: %v, want io.EOF itself", err)
	}
}

func TestPartsOverTheLimitAreSkippedAndCounted(t *testing.T) {
	next := parts("the", "next", "message", "arrives")
	for name, test := range map[string]struct {
		sent    [][]byte
		kept    int
		dropped int64
	}{
		"at the limit":            {parts("h", "p", "m", strings.Repeat("c", 97)), 4, 0},
		"the content is too long": {parts("h", "p", "m", strings.Repeat("c", 98), "b", ""), 3, 98 + 1 + 2 + 1},
		"the header is too long":  {parts(strings.Repeat("h", 1<<20), "p", "m", "c"), 0, 1<<20 + 1 + 6},
		"too many parts":          {make([][]byte, 12), 10, 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := reader(append(frame(t, Shell, test.sent...), frame(t, Control, next...)...), Options{MaxMessage: 100, MaxParts: 10})
			m, err := c.Recv()
			if err != nil || len(m.Parts) != test.kept || m.Dropped != test.dropped {
				t.Fatalf("%d parts, %d dropped, %v; want %d and %d", len(m.Parts), m.Dropped, err, test.kept, test.dropped)
			}
			if m, err = c.Recv(); err != nil || !cmp.Equal(m.Parts, next) || m.Channel != Control {
				t.Fatalf("the next message: %q, %v", m.Parts, err)
			}
		})
	}
}

// raw makes a frame without checks.
func raw(length uint32, channel, zero byte, n uint16, sizes ...uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, length)
	b = binary.LittleEndian.AppendUint16(append(b, channel, zero), n)
	for _, s := range sizes {
		b = binary.LittleEndian.AppendUint32(b, s)
	}
	return b
}

func TestFramesThatContradictThemselvesEndTheConnection(t *testing.T) {
	for name, test := range map[string]struct {
		frame []byte
		want  string
	}{
		"channel 0":                 {raw(20, 0, 0, 4, 0, 0, 0, 0), "channel 0"},
		"channel 5":                 {raw(20, 5, 0, 4, 0, 0, 0, 0), "channel 5"},
		"the zero byte is 7":        {raw(20, 1, 7, 4, 0, 0, 0, 0), "is 7; it must be 0"},
		"three parts":               {raw(16, 1, 0, 3, 0, 0, 0), "3 parts; the minimum is 4"},
		"shorter than its table":    {raw(19, 1, 0, 4, 0, 0, 0, 0), "a frame of 19 bytes has no space for the sizes of 4 parts"},
		"no length":                 {raw(0, 1, 0, 4), "a frame of 0 bytes has no space for the sizes of 4 parts"},
		"parts are longer":          {raw(20, 1, 0, 4, 0, 0, 0, 1), "do not add up to the frame of 20 bytes"},
		"parts are shorter":         {raw(25, 1, 0, 4, 1, 1, 1, 1), "do not add up to the frame of 25 bytes"},
		"parts of 16 GiB":           {raw(1<<32-1, 1, 0, 4, 1<<32-1, 1<<32-1, 1<<32-1, 1<<32-1), "do not add up"},
		"many parts, a short frame": {raw(200, 1, 0, 65535), "a frame of 200 bytes has no space for the sizes of 65535 parts"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := reader(test.frame, Options{}).Recv()
			if !errors.Is(err, ErrProtocol) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestTheEndInsideAFrameIsUnexpected(t *testing.T) {
	whole := frame(t, Shell, parts("h", "p", "m", "content")...)
	for n := range whole {
		_, err := reader(whole[:n], Options{}).Recv()
		if n == 0 && err != io.EOF || n > 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
	_, err := reader(whole[:len(whole)-1], Options{MaxMessage: 1}).Recv()
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("in a part that is skipped: %v", err)
	}
}

func TestMessagesThatDoNotFitAFrameAreNotSent(t *testing.T) {
	ours, _ := ends(t, Options{})
	for _, n := range []int{0, 3, 65536} {
		if err := ours.Send(Shell, make([][]byte, n)...); err == nil {
			t.Errorf("a message of %d parts was sent", n)
		}
	}
	frame(t, Shell, make([][]byte, 65535)...)
}

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestAnnouncedBytesCostNoMemory: otherwise one small write of a kernel could use up the agent's memory.
func TestAnnouncedBytesCostNoMemory(t *testing.T) {
	for name, test := range map[string]struct {
		sent  []byte
		limit uint64
	}{
		"a table of 65,535 sizes": {raw(1<<32-1, 1, 0, 65535), 400_000},
		"a part of 60 MB":         {raw(20+60_000_000, 1, 0, 4, 0, 0, 0, 60_000_000), firstRead + 10_000},
		"a part of 4 GB":          {raw(20+4_000_000_000, 1, 0, 4, 0, 0, 0, 4_000_000_000), 10_000},
	} {
		t.Run(name, func(t *testing.T) {
			c := reader(test.sent, Options{})
			if n := allocated(func() { c.Recv() }); n > test.limit {
				t.Errorf("%d bytes were allocated, want at most %d", n, test.limit)
			}
		})
	}
}

func TestCloseEndsAWaitingReader(t *testing.T) {
	ours, _ := ends(t, Options{})
	ended := make(chan error)
	go func() {
		_, err := ours.Recv()
		ended <- err
	}()
	for range 2 {
		if err := ours.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrClosed) {
		t.Fatalf("got %v", err)
	}
	if err := ours.Send(Shell, parts("", "", "", "")...); err == nil {
		t.Fatal("a closed stream sent a message")
	}
}

// FuzzRead reads any bytes. Small limits make it reach all branches.
func FuzzRead(f *testing.F) {
	f.Add(frame(f, Shell, parts("{}", "{}", "{}", "{}")...))
	f.Add(append(frame(f, IOPub, parts("h", "p", "m", strings.Repeat("c", 2000))...), frame(f, Stdin, parts("", "", "", "", "b", "b", "b")...)...))
	f.Add(raw(1<<32-1, 4, 0, 65535))
	f.Add(raw(20+1<<30, 4, 0, 4, 0, 0, 0, 1<<30))
	const most, count = 1000, 6
	f.Fuzz(func(t *testing.T, b []byte) {
		s := said{bytes.NewReader(b)}
		c := &Conn{r: bufio.NewReaderSize(s, 16), maxMessage: most, maxParts: count}
		used := allocated(func() {
			for {
				m, err := c.Recv()
				if err != nil {
					return
				}
				checkKept(t, m, most, count)
			}
		})
		// The table of one frame can be announced and missing. All else is in b, and some memory is used per part.
		if limit := uint64(1<<20 + 100*len(b)); used > limit {
			t.Fatalf("%d bytes were allocated for %d, want at most %d", used, len(b), limit)
		}
	})
}

func checkKept(t *testing.T, m Message, most, count int) {
	total := 0
	for _, p := range m.Parts {
		total += len(p)
	}
	if total > most || len(m.Parts) > count || m.Dropped < 0 || len(m.Parts) < minParts && m.Dropped == 0 || m.Channel < Shell || m.Channel > IOPub {
		t.Fatalf("%d bytes in %d parts, %d dropped, channel %d", total, len(m.Parts), m.Dropped, m.Channel)
	}
}

// FuzzRoundTrip sends parts that are separated by newlines.
func FuzzRoundTrip(f *testing.F) {
	f.Add(uint8(3), []byte("{}\n{}\n{}\n{}\nbuffer\n"))
	f.Fuzz(func(t *testing.T, ch uint8, b []byte) {
		want := Message{Channel: Channel(ch%4 + 1), Parts: bytes.Split(b, []byte("\n"))}
		if len(want.Parts) < minParts || len(want.Parts) > defaultMaxParts {
			return
		}
		c := reader(frame(t, want.Channel, want.Parts...), Options{})
		got, err := c.Recv()
		if err != nil || !cmp.Equal(got, want) {
			t.Fatalf("%+v became %+v (%v)", want, got, err)
		}
		if _, err := c.Recv(); err != io.EOF {
			t.Fatalf("after the only message: %v", err)
		}
	})
}

// TestASendToAKernelThatDoesNotReadReturnsAtOnce: a send that waits would block all other requests of the kernel.
func TestASendToAKernelThatDoesNotReadReturnsAtOnce(t *testing.T) {
	ours, theirs := ends(t, Options{})
	large := append(parts("", "", ""), make([]byte, 20_000_000))
	if err := ours.Send(Shell, large...); err != nil {
		t.Fatal(err)
	}
	if err := ours.SendWithin(1<<20, Shell, parts("refused", "", "", "")...); !errors.Is(err, ErrFull) {
		t.Fatalf("a message over the limit: %v", err)
	}
	if err := ours.Send(Control, parts("taken", "", "", "")...); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"", "taken"} {
		if m, err := theirs.Recv(); err != nil || string(m.Parts[0]) != want {
			t.Fatalf("got %q, %v; want %q", m.Parts[0], err, want)
		}
	}
}
