package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter/stream"
)

// sent is a connection of an agent that has sent all its bytes.
type sent struct{ *bytes.Reader }

func (sent) Write(b []byte) (int, error)      { return len(b), nil }
func (sent) Close() error                     { return nil }
func (sent) LocalAddr() net.Addr              { return nil }
func (sent) RemoteAddr() net.Addr             { return nil }
func (sent) SetDeadline(time.Time) error      { return nil }
func (sent) SetReadDeadline(time.Time) error  { return nil }
func (sent) SetWriteDeadline(time.Time) error { return nil }

// wireFrom returns a wire whose agent has sent b.
func wireFrom(b []byte) *Wire {
	c := sent{bytes.NewReader(b)}
	w := &Wire{kernel: &Kernel{id: "k"}, conn: c, turn: make(chan struct{}, 1), life: context.Background(), end: func() {}}
	w.in = stream.New(c, stream.Options{MaxMessage: 1 << 20, Notes: true, Large: w.large})
	return w
}

func frameOf(t testing.TB, ch stream.Channel, parts ...string) []byte {
	t.Helper()
	list := make([][]byte, len(parts))
	for i, p := range parts {
		list[i] = []byte(p)
	}
	b, err := stream.Frame(ch, list...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAMessageOnAWireKeepsItsBytes(t *testing.T) {
	const header, parent = `{ "msg_id":"1","new":"<" }`, `{"msg_id" : "2"}`
	m, err := wireFrom(frameOf(t, stream.IOPub, header, parent, "{}", "{\"a\":\"\xff\"}", "buf\xff", "")).Receive()
	if err != nil || m.Channel != "iopub" || string(m.Header) != header || string(m.Parent) != parent || len(m.Buffers) != 2 || string(m.Buffers[0]) != "buf\xff" {
		t.Errorf("got %+v, %v", m, err)
	}
	if string(m.Content) != "{\"a\":\"\uFFFD\"}" {
		t.Errorf("the content is %q, want valid UTF-8", m.Content)
	}
}

// TestAMessageThatIsNotValidIsLeftOut: otherwise code in a kernel could end the wires of its clients.
func TestAMessageThatIsNotValidIsLeftOut(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200)
	const header = `{"msg_id":"1"}`
	for name, parts := range map[string][4]string{
		"a list as the content":           {header, "{}", "{}", "[]"},
		"an empty header":                 {"", "{}", "{}", "{}"},
		"half a parent header":            {header, `{"a":`, "{}", "{}"},
		"deep metadata":                   {header, "{}", deep, "{}"},
		"a long header":                   {`{"a":"` + strings.Repeat("x", guestapi.MaxWireHeader) + `"}`, "{}", "{}", "{}"},
		"a header that grows":             {`{"a":"` + strings.Repeat("\xff.", guestapi.MaxWireHeader/2-10) + `"}`, "{}", "{}", "{}"},
		"bytes that are not UTF-8 inside": {header, "{}", "{}", "{\xff}"},
	} {
		next := frameOf(t, stream.Shell, header, "{}", "{}", "{}")
		w := wireFrom(append(frameOf(t, stream.IOPub, parts[0], parts[1], parts[2], parts[3], "buffer"), next...))
		m, err := w.Receive()
		if err != nil || !strings.Contains(m.Problem, "was left out") || m.Channel != "iopub" || m.Content != nil || m.Buffers != nil {
			t.Errorf("%s: %+v, %v; want a problem", name, m, err)
		}
		if want := map[bool]string{true: header, false: "{}"}[parts[0] == header]; string(m.Header) != want || string(m.Parent) != "{}" {
			t.Errorf("%s: the headers are %.50s and %.50s, want %s and {}", name, m.Header, m.Parent, want)
		}
		if m, err = w.Receive(); err != nil || m.Channel != "shell" || m.Problem != "" {
			t.Errorf("after %s: %+v, %v; want the next message", name, m, err)
		}
	}
}

func TestFramesThatNoAgentSendsEndTheWire(t *testing.T) {
	for name, frame := range map[string][]byte{
		"a large message":           frameOf(t, stream.IOPub, "{}", "{}", "{}", "{}", strings.Repeat("x", 2<<20)),
		"another channel":           frameOf(t, 6, "{}", "{}", "{}", "{}"),
		"a long note":               frameOf(t, stream.Note, "{}", "{}", "{}", `{"channel":"shell","problem":"`+strings.Repeat("x", maxProblem)+`"}`),
		"a note of no channel":      frameOf(t, stream.Note, "{}", "{}", "{}", `{"problem":"x"}`),
		"a note with a number":      frameOf(t, stream.Note, "{}", "{}", "{}", `{"problem":1}`),
		"a note that is a list":     frameOf(t, stream.Note, "{}", "{}", "{}", "[]"),
		"a note with half a header": frameOf(t, stream.Note, `{"a":`, "{}", "{}", `{"channel":"shell","problem":"x"}`),
	} {
		if m, err := wireFrom(frame).Receive(); cellhold.KindOf(err) != cellhold.Internal {
			t.Errorf("%s: %+v, %v; want internal", name, m, err)
		}
	}
}

func TestNotesArePlainSentences(t *testing.T) {
	m, err := wireFrom(frameOf(t, stream.Note, "{}", `{"msg_id":"1"}`, "{}", `{"channel":"shell","problem":"No\u001b[31m"}`)).Receive()
	if err != nil || m.Problem != "No [31m" || m.Channel != "shell" || string(m.Parent) != `{"msg_id":"1"}` || m.Content != nil {
		t.Errorf("got %+v, %v", m, err)
	}
	_, err = wireFrom(frameOf(t, stream.Note, "{}", "{}", "{}", `{"problem":"It %s\nended.","last":true}`)).Receive()
	if e, ok := errors.AsType[*cellhold.Error](err); !ok || e.Kind != cellhold.Unavailable || e.Message != "It %s ended." {
		t.Errorf("the end is %v", err)
	}
	if _, err = wireFrom(nil).Receive(); cellhold.KindOf(err) != cellhold.Unavailable || !errors.Is(err, io.EOF) {
		t.Errorf("an end without a note: %v", err)
	}
}

func TestAClosedWireEndsItsCalls(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	w := &Wire{kernel: &Kernel{id: "k"}, conn: ours, in: stream.New(ours, stream.Options{})}
	w.life, w.end = context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { _, err := w.Receive(); ended <- err }()
	go func() { ended <- w.Send(guestapi.WireMessage{Channel: "shell"}) }()
	for range 2 {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := <-ended; cellhold.KindOf(err) != cellhold.Unavailable {
			t.Errorf("%v, want unavailable", err)
		}
	}
}

// TestALargeMessageThatStopsEndsItsWire: otherwise guests could use up the memory for all wires.
func TestALargeMessageThatStopsEndsItsWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		w := &Wire{kernel: &Kernel{id: "k"}, conn: ours, turn: make(chan struct{}, 1)}
		w.life, w.end = context.WithCancel(t.Context())
		w.in = stream.New(ours, stream.Options{MaxMessage: maxWire, Notes: true, Large: w.large})
		defer w.Close()
		frame := frameOf(t, stream.IOPub, "{}", "{}", "{}", "{}", strings.Repeat("x", 1<<20))
		go theirs.Write(frame[:1<<19])
		begun := time.Now()
		if _, err := w.Receive(); err == nil {
			t.Error("half a message was received")
		}
		if took := time.Since(begun); took > slowStart+time.Second {
			t.Errorf("the wire ended after %s", took)
		}
		all := smaller.Empty()
		if !all.Resize(maxWire) {
			t.Error("the share is not released")
		}
		all.Release()
	})
}

// TestALargeMessageWaitsForMemory: the messages of all wires share it.
func TestALargeMessageWaitsForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		large := frameOf(t, stream.IOPub, "{}", "{}", "{}", "{}", strings.Repeat("x", 1<<19))
		first, second := wireFrom(large), wireFrom(large)
		all := smaller.Empty()
		if !all.Resize(maxWire - 3<<19/2) {
			t.Fatal("no memory")
		}
		defer all.Release()
		if _, err := first.Receive(); err != nil {
			t.Fatal(err)
		}
		got := make(chan error, 1)
		go func() { _, err := second.Receive(); got <- err }()
		synctest.Wait()
		if len(got) != 0 {
			t.Error("the second message took more than the budget")
		}
		if _, err := first.Receive(); err == nil {
			t.Error("want the end")
		}
		if err := <-got; err != nil {
			t.Error(err)
		}
		if _, err := second.Receive(); err == nil {
			t.Error("want the end")
		}
	})
}

// TestAMessageWithoutMemoryIsLeftOut: guests that hold the memory do not end the wires of others.
func TestAMessageWithoutMemoryIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const header, parent = `{"msg_id":"1"}`, `{"msg_id":"2"}`
		all := larger.Empty()
		if !all.Resize(maxWire) {
			t.Fatal("no memory")
		}
		defer all.Release()
		huge := frameOf(t, stream.Shell, header, parent, "{}", "{}", strings.Repeat("x", mediumWire))
		plot := frameOf(t, stream.IOPub, header, parent, "{}", "{}", strings.Repeat("x", 1<<20))
		c := sent{bytes.NewReader(slices.Concat(huge, plot, huge))}
		w := wireFrom(nil)
		w.conn, w.in = c, stream.New(c, stream.Options{MaxMessage: maxWire, Notes: true, Large: w.large})
		if m, err := w.Receive(); err != nil || !strings.Contains(m.Problem, "memory") || m.Channel != "shell" || string(m.Header) != header || string(m.Parent) != parent || m.Content != nil || m.Buffers != nil {
			t.Errorf("got %+v, %v; want a problem", m, err)
		}
		if m, err := w.Receive(); err != nil || m.Problem != "" || len(m.Buffers) != 1 {
			t.Errorf("a plot: %.100s, %v", m.Problem, err)
		}
		all.Release()
		if m, err := w.Receive(); err != nil || m.Problem != "" || len(m.Buffers) != 1 {
			t.Errorf("with memory: %.100s, %v", m.Problem, err)
		}
	})
}

// TestASessionHasTheMemoryOfOneMessage: otherwise its kernels could take all of it.
func TestASessionHasTheMemoryOfOneMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plot := frameOf(t, stream.IOPub, "{}", "{}", "{}", "{}", strings.Repeat("x", 1<<19))
		first, second := wireFrom(plot), wireFrom(plot)
		second.turn = first.turn
		if _, err := first.Receive(); err != nil {
			t.Fatal(err)
		}
		if m, err := second.Receive(); err != nil || m.Problem == "" {
			t.Errorf("a second message: %v", err)
		}
		if _, err := first.Receive(); !errors.Is(err, io.EOF) || len(first.turn) != 0 {
			t.Errorf("at the end: %v, and %d turns are in use", err, len(first.turn))
		}
	})
}

// FuzzWire reads any bytes of an agent.
func FuzzWire(f *testing.F) {
	f.Add(frameOf(f, stream.IOPub, `{"msg_id":"1"}`, "{}", "{}", "{}", "buffer"))
	f.Add(append(frameOf(f, stream.Note, "{}", "{}", "{}", `{"channel":"shell","problem":"x"}`), frameOf(f, stream.Note, "{}", "{}", "{}", `{"problem":"x","last":true}`)...))
	f.Add(frameOf(f, stream.Shell, "null", "{\"\xff\":[]}", "", "[]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		w := wireFrom(b)
		for {
			m, err := w.Receive()
			if err != nil {
				return
			}
			for _, part := range []json.RawMessage{m.Header, m.Parent, m.Metadata, m.Content} {
				if part == nil && m.Problem != "" {
					continue
				}
				var object map[string]json.RawMessage
				if json.Unmarshal(part, &object) != nil || object == nil || !utf8.Valid(part) {
					t.Errorf("a part is %q", part)
				}
			}
			if wireChannels[m.Channel] == 0 || len(m.Header) > guestapi.MaxWireHeader || len(m.Parent) > guestapi.MaxWireHeader {
				t.Errorf("got %+v", m)
			}
		}
	})
}
