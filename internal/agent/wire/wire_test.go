package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
	"cellhold/internal/jupyter/stream"
)

func always() error { return nil }

func open(t testing.TB, h *Hub) *Wire {
	t.Helper()
	w, err := h.Open(always)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// serve serves a wire, and returns the host's end.
func serve(t testing.TB, w *Wire, take func(jupyter.Message) error) (host *stream.Conn, done <-chan struct{}) {
	t.Helper()
	ours, theirs := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Serve(ours, ours, take)
	}()
	t.Cleanup(func() { theirs.Close(); <-ended })
	return stream.New(theirs, stream.Options{Notes: true}), ended
}

func output(size int) jupyter.Message {
	return jupyter.Message{Channel: jupyter.IOPub, RawHeader: json.RawMessage(`{"msg_type":"stream"}`), Buffers: [][]byte{make([]byte, size)}}
}

// reason reads the host's end until its end, and returns the last note.
func reason(t testing.TB, host *stream.Conn) (n guestapi.WireNote) {
	t.Helper()
	for {
		m, err := host.Recv()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		if m.Channel == stream.Note {
			if err := json.Unmarshal(m.Parts[3], &n); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestMessagesComeInOrderAndAreJoined(t *testing.T) {
	var h Hub
	host, _ := serve(t, open(t, &h), nil)
	sizes := []int{0, 1, oneWrite, 3, 5 * oneWrite, 7, 8}
	for _, size := range sizes {
		h.Publish(output(size))
	}
	for _, size := range sizes {
		if m, err := host.Recv(); err != nil || m.Channel != stream.IOPub || len(m.Parts[4]) != size {
			t.Fatalf("got %d parts, %v, want a buffer of %d bytes", len(m.Parts), err, size)
		}
	}
}

func TestAFullQueueIsFreedAndItsReasonArrives(t *testing.T) {
	var h Hub
	slow, other := open(t, &h), open(t, &h)
	host, done := serve(t, slow, nil)
	quick, _ := serve(t, other, nil)
	for range guestapi.WireBytes/(1<<20) + 2 {
		h.Publish(output(1 << 20))
		if m, err := quick.Recv(); err != nil || m.Channel != stream.IOPub {
			t.Fatalf("the other wire: %+v, %v", m, err)
		}
	}
	slow.mu.Lock()
	if len(slow.queue) != 1 || !slow.ended {
		t.Errorf("%d frames wait, ended: %v; want only the note", len(slow.queue), slow.ended)
	}
	slow.mu.Unlock()
	if n := reason(t, host); !n.Last || n.Problem != tooSlow {
		t.Errorf("the last note is %+v", n)
	}
	<-done
}

func TestManySmallMessagesAreBounded(t *testing.T) {
	var h Hub
	w := open(t, &h) // is not served
	m := output(0)
	for range guestapi.WireBytes / frameCost {
		if h.Publish(m); w.ended {
			return
		}
	}
	t.Errorf("%d frames wait", len(w.queue))
}

func TestTheEndHasItsReason(t *testing.T) {
	var h Hub
	early := open(t, &h)
	h.Publish(output(10))
	h.End("It is renewed.")
	host, done := serve(t, early, nil) // ended before it was served
	if n := reason(t, host); !n.Last || n.Problem != "It is renewed." {
		t.Errorf("the last note is %+v", n)
	}
	<-done
	refuse := errors.New("not now")
	if _, err := h.Open(func() error { return refuse }); !errors.Is(err, refuse) {
		t.Errorf("a wire that the check refuses: %v", err)
	}
	host, _ = serve(t, open(t, &h), nil)
	h.Close("It was deleted.")
	if n := reason(t, host); n.Problem != "It was deleted." {
		t.Errorf("the last note is %+v", n)
	}
	if _, err := h.Open(always); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("after Close: %v", err)
	}
}

func TestAHostThatNeverReadsGetsNoReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Hub
		_, done := serve(t, open(t, &h), nil)
		h.Publish(output(1))
		synctest.Wait() // the write of the message waits
		start := time.Now()
		h.End("It is renewed.")
		<-done
		if took := time.Since(start); took != lastTime {
			t.Errorf("the wire ended after %s, want %s", took, lastTime)
		}
	})
}

func TestAHostThatDisconnectsEndsTheWire(t *testing.T) {
	var h Hub
	host, done := serve(t, open(t, &h), nil)
	host.Close()
	<-done
}

// TestAHostThatDisconnectsFreesItsPlaceAtOnce: the host has not read what waits for it.
func TestAHostThatDisconnectsFreesItsPlaceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Hub
		host, done := serve(t, open(t, &h), nil)
		h.Publish(output(1 << 20))
		synctest.Wait() // the write waits
		start := time.Now()
		host.Close()
		<-done
		if took := time.Since(start); took != 0 || !h.empty() {
			t.Errorf("after %s, without a wire: %v; want no wire at once", took, h.empty())
		}
	})
}

// halfClosed is a connection of a host that sends nothing more and does not read.
type halfClosed struct{ net.Conn }

func (halfClosed) Read([]byte) (int, error) { return 0, io.EOF }

func TestAHostThatHalfClosesDoesNotKeepItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Hub
		w := open(t, &h)
		h.Publish(output(1 << 20))
		ours, theirs := net.Pipe()
		defer theirs.Close()
		start := time.Now()
		w.Serve(halfClosed{ours}, halfClosed{ours}, nil)
		if took := time.Since(start); took != 0 || !h.empty() {
			t.Errorf("after %s, without a wire: %v; want no wire at once", took, h.empty())
		}
	})
}

// TestAMessageThatTheHostWouldRefuseBecomesANote: otherwise code in a kernel could end all wires by one message.
func TestAMessageThatTheHostWouldRefuseBecomesANote(t *testing.T) {
	var h Hub
	host, _ := serve(t, open(t, &h), nil)
	small := jupyter.Header{MsgType: "x"}
	for name, test := range map[string]struct {
		m              jupyter.Message
		header, parent string // in the note
	}{
		"headers of the agent": {jupyter.Message{Header: jupyter.Header{Username: strings.Repeat("<", 4<<10)}, RawParent: json.RawMessage(`{"a":1}`)}, "{}", `{"a":1}`},
		"a parent that grows":  {jupyter.Message{RawHeader: json.RawMessage(`{"a":1}`), RawParent: json.RawMessage(`{"a":"` + strings.Repeat("\xff.", 8000) + `"}`)}, `{"a":1}`, "{}"},
		"content that grows": {jupyter.Message{RawHeader: json.RawMessage("{\"a\":\"\xff\"}"), Content: json.RawMessage(`{"a":"` + strings.Repeat("\xff.", guestapi.MaxWireMessage/2-8) + `"}`)},
			"{\"a\":\"\uFFFD\"}", "{}"},
	} {
		test.m.Channel = jupyter.IOPub
		h.Publish(test.m)
		h.Publish(jupyter.Message{Channel: jupyter.Control, Header: small, Content: json.RawMessage("{\"a\":\"\xff\"}")})
		var n guestapi.WireNote
		m, err := host.Recv()
		if err != nil || json.Unmarshal(m.Parts[3], &n) != nil || n.Channel != "iopub" || n.Last || !strings.Contains(n.Problem, "left out, because") {
			t.Fatalf("%s: the note is %+v, %v", name, n, err)
		}
		if string(m.Parts[0]) != test.header || string(m.Parts[1]) != test.parent {
			t.Errorf("%s: the note has the headers %.50q and %.50q, want %q and %q", name, m.Parts[0], m.Parts[1], test.header, test.parent)
		}
		if m, err = host.Recv(); err != nil || m.Channel != stream.Control || string(m.Parts[3]) != "{\"a\":\"\uFFFD\"}" {
			t.Fatalf("%s: the next message is %q, %v", name, m.Parts, err)
		}
	}
}

func TestTheHostsMessagesArriveWithTheirHeaders(t *testing.T) {
	var h Hub
	var got jupyter.Message
	host, _ := serve(t, open(t, &h), func(m jupyter.Message) error {
		got = m
		return cellhold.Errorf(cellhold.Conflict, "The kernel is busy.")
	})
	const header = `{ "msg_id":"1", "msg_type":"comm_msg", "new":1}`
	if err := host.Send(stream.Shell, []byte(header), []byte("{}"), []byte("{}"), []byte(`{"a": 1}`), []byte("b")); err != nil {
		t.Fatal(err)
	}
	note, err := host.Recv()
	if err != nil || note.Channel != stream.Note || string(note.Parts[1]) != header || string(note.Parts[3]) != `{"channel":"shell","problem":"The kernel is busy."}` {
		t.Errorf("the answer is %+v, %v", note, err)
	}
	if string(got.RawHeader) != header || got.Channel != jupyter.Shell || string(got.Buffers[0]) != "b" || string(got.Content) != `{"a": 1}` {
		t.Errorf("got %+v", got)
	}
}

// heard is the host's end of a connection with given bytes. It reads everything.
type heard struct {
	*bytes.Reader
	mu   sync.Mutex
	read bytes.Buffer
}

func (h *heard) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.read.Write(b)
}
func (*heard) Close() error                     { return nil }
func (*heard) LocalAddr() net.Addr              { return nil }
func (*heard) RemoteAddr() net.Addr             { return nil }
func (*heard) SetDeadline(time.Time) error      { return nil }
func (*heard) SetReadDeadline(time.Time) error  { return nil }
func (*heard) SetWriteDeadline(time.Time) error { return nil }

// invalid reports whether the bytes have an invalid frame.
func invalid(b []byte) bool {
	in := stream.New(&heard{Reader: bytes.NewReader(b)}, stream.Options{MaxMessage: maxFrame})
	for {
		if _, err := in.Recv(); err != nil {
			return errors.Is(err, stream.ErrProtocol)
		}
	}
}

// FuzzServe serves a wire for any bytes of the host.
func FuzzServe(f *testing.F) {
	frame := func(ch stream.Channel, parts ...string) []byte {
		list := make([][]byte, len(parts))
		for i, p := range parts {
			list[i] = []byte(p)
		}
		b, err := stream.Frame(ch, list...)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	f.Add(frame(stream.Shell, `{"msg_type":"comm_msg","msg_id":"1"}`, "{}", "{}", "{}", "buffer"))
	f.Add(append(frame(stream.Stdin, "null", "{}", "[]", "{}"), frame(stream.IOPub, `{"msg_type":"x"}`, "{}", "{}", strings.Repeat("[", 1000))...))
	f.Add(frame(stream.Note, "{}", "{}", "{}", "{}"))
	f.Add([]byte("\xff\xff\xff\xff\x01\x00\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Hub
		w := open(t, &h)
		c := &heard{Reader: bytes.NewReader(b)}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w.Serve(c, c, func(m jupyter.Message) error {
			if m.Header.MsgType == "" || m.RawHeader[0] == 'n' || !json.Valid(m.Content) {
				t.Errorf("took %+v", m)
			}
			return errors.New("refused")
		})
		runtime.ReadMemStats(&after)
		if used, limit := after.TotalAlloc-before.TotalAlloc, uint64(2<<20+200*len(b)); used > limit {
			t.Errorf("%d bytes were allocated for %d, want at most %d", used, len(b), limit)
		}
		host := stream.New(&heard{Reader: bytes.NewReader(c.read.Bytes())}, stream.Options{Notes: true})
		if n := reason(t, host); n.Last != invalid(b) {
			t.Errorf("the last note is %+v; an invalid frame: %v", n, invalid(b))
		}
	})
}
