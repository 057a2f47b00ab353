package jupyter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"cellhold"
	"cellhold/internal/server/jupyter/framing"
	"cellhold/internal/session"
	"cellhold/internal/session/terms"
)

// wire is a kernel that returns each message on iopub.
type wire struct {
	frames  chan session.Frame
	failed  chan error    // of Receive
	left    chan struct{} // gets a value when the connection has ended
	written chan struct{} // gets a value for each written message
	err     error         // of each Send
}

func newWire() *wire {
	return &wire{frames: make(chan session.Frame, 8), failed: make(chan error, 1), left: make(chan struct{}, 1), written: make(chan struct{}, 8)}
}

func (w *wire) Send(ctx context.Context, f session.Frame) error {
	if w.err != nil {
		return w.err
	}
	f.Channel = "iopub"
	select {
	case w.frames <- f:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *wire) Receive(ctx context.Context) (session.Frame, error) {
	select {
	case f := <-w.frames:
		return f, nil
	case err := <-w.failed:
		return session.Frame{}, err
	case <-ctx.Done():
		return session.Frame{}, ctx.Err()
	}
}

func (w *wire) Written() { w.written <- struct{}{} }
func (w *wire) Detach()  { w.left <- struct{}{} }

// serveWire serves connections to a kernel, all of one caller.
func serveWire(ctx context.Context, t *testing.T, w *wire, all *arrivals, caller string) http.HandlerFunc {
	return func(rw http.ResponseWriter, req *http.Request) {
		c := &channel{wire: w, log: slog.New(slog.DiscardHandler), caller: caller, arrivals: all}
		if err := c.accept(rw, req, acceptOptions(false)); err != nil {
			t.Error(err)
			return
		}
		c.serve(ctx)
	}
}

// rig is a client with its connection to a test server.
type rig struct {
	*wire
	socket   *websocket.Conn
	end      context.CancelCauseFunc // ends the connection from the server's side
	arrivals *arrivals
}

// dial connects a client that offers the given subprotocols.
func dial(t *testing.T, w *wire, protocols ...string) *rig {
	t.Helper()
	r := &rig{wire: w, arrivals: newArrivals()}
	ctx, end := context.WithCancelCause(t.Context())
	r.end = end
	hs := httptest.NewServer(serveWire(ctx, t, w, r.arrivals, "ann"))
	t.Cleanup(hs.Close)
	t.Cleanup(func() { end(nil) })
	socket, _, err := websocket.Dial(t.Context(), hs.URL, &websocket.DialOptions{Subprotocols: protocols})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.CloseNow() })
	socket.SetReadLimit(maxMessage)
	r.socket = socket
	return r
}

func (r *rig) send(t *testing.T, kind websocket.MessageType, p []byte) {
	t.Helper()
	if err := r.socket.Write(t.Context(), kind, p); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) read(t *testing.T) (websocket.MessageType, []byte) {
	t.Helper()
	kind, p, err := r.socket.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return kind, p
}

// closed waits for the end of the connection, and compares its code and text.
func (r *rig) closed(t *testing.T, code websocket.StatusCode, text string) {
	t.Helper()
	for {
		_, _, err := r.socket.Read(t.Context())
		if err == nil {
			continue
		}
		var got websocket.CloseError
		if errors.As(err, &got); got.Code != code || !strings.Contains(got.Reason, text) {
			t.Errorf("the connection ended with %v, want the code %d and the text %q", err, code, text)
		}
		break
	}
	<-r.left
}

var message = framing.Frame{Channel: "shell", Header: json.RawMessage(`{"msg_id":"m","msg_type":"comm_msg"}`), Parent: json.RawMessage(`{}`), Metadata: json.RawMessage(`{}`), Content: json.RawMessage(`{"a": 1}`)}

func TestMessagesPassInTheFormThatTheClientChose(t *testing.T) {
	for _, buffers := range [][][]byte{nil, {[]byte("buffer")}} {
		f := message
		f.Buffers = buffers

		v1 := dial(t, newWire(), framing.Protocol)
		if v1.socket.Subprotocol() != framing.Protocol {
			t.Fatalf("got the subprotocol %q, want the offered one", v1.socket.Subprotocol())
		}
		v1.send(t, websocket.MessageBinary, bytes.Join(framing.EncodeV1(f), nil))
		kind, p := v1.read(t)
		if got, err := framing.DecodeV1(p); err != nil || kind != websocket.MessageBinary || got.Channel != "iopub" || string(got.Content) != `{"a": 1}` || len(got.Buffers) != len(buffers) {
			t.Errorf("subprotocol: got %+v, %v", got, err)
		}

		old := dial(t, newWire())
		if old.socket.Subprotocol() != "" {
			t.Errorf("got the subprotocol %q without an offer", old.socket.Subprotocol())
		}
		text, isBinary, err := framing.EncodeLegacy(f)
		if err != nil {
			t.Fatal(err)
		}
		want := websocket.MessageText
		if isBinary {
			want = websocket.MessageBinary
		}
		old.send(t, want, bytes.Join(text, nil))
		kind, p = old.read(t)
		if kind != want || !strings.Contains(string(p), `"msg_type":"comm_msg","parent_header"`) || !strings.Contains(string(p), `"channel":"iopub"`) {
			t.Errorf("older form: got %q of the kind %d, want the kind %d", p, kind, want)
		}
	}
}

func TestALargeMessagePassesInBothForms(t *testing.T) {
	f := message
	f.Buffers = [][]byte{make([]byte, 2<<20), []byte("end")}
	v1 := dial(t, newWire(), framing.Protocol)
	v1.send(t, websocket.MessageBinary, bytes.Join(framing.EncodeV1(f), nil))
	if got, err := framing.DecodeV1(second(v1.read(t))); err != nil || len(got.Buffers) != 2 || len(got.Buffers[0]) != 2<<20 || string(got.Buffers[1]) != "end" {
		t.Fatalf("subprotocol: got %d buffers, %v", len(got.Buffers), err)
	}
	old := dial(t, newWire())
	pieces, _, err := framing.EncodeLegacy(f)
	if err != nil {
		t.Fatal(err)
	}
	old.send(t, websocket.MessageBinary, bytes.Join(pieces, nil))
	if got, err := framing.DecodeBinary(second(old.read(t))); err != nil || len(got.Buffers) != 2 || len(got.Buffers[0]) != 2<<20 || string(got.Buffers[1]) != "end" {
		t.Fatalf("older form: got %d buffers, %v", len(got.Buffers), err)
	}
}

func TestALargeMessageIsWrittenWithoutACopy(t *testing.T) {
	for _, protocols := range [][]string{{framing.Protocol}, nil} {
		r := dial(t, newWire(), protocols...)
		f := session.Frame{Channel: "iopub", Buffers: [][]byte{make([]byte, 16<<20)}, Content: json.RawMessage(`{"x":"` + strings.Repeat("é", 8<<20) + `"}`)}
		go func() {
			_, body, err := r.socket.Reader(t.Context())
			if err == nil {
				_, _ = io.Copy(io.Discard, body)
			}
		}()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r.frames <- f
		<-r.written
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
			t.Errorf("%v: the write of 32 MiB allocated %d bytes, want less than 1 MiB", protocols, took)
		}
	}
}

func second(_ websocket.MessageType, p []byte) []byte { return p }

func TestEachEndOfAConnectionHasItsCode(t *testing.T) {
	refuse := func(err error) func(*rig) {
		return func(r *rig) {
			r.err = err
			r.send(t, websocket.MessageBinary, bytes.Join(framing.EncodeV1(message), nil))
		}
	}
	large := message
	large.Buffers = [][]byte{make([]byte, terms.MaxFrame)}
	for _, c := range []struct {
		name string
		end  func(*rig)
		code websocket.StatusCode
		text string
	}{
		{"shutdown", func(r *rig) { r.end(errDrain) }, websocket.StatusServiceRestart, "restarts"},
		{"replaced", func(r *rig) { r.failed <- cellhold.Errorf(cellhold.Conflict, "another one") }, websocket.StatusPolicyViolation, "another one"},
		{"the kernel is gone", func(r *rig) { r.failed <- io.EOF }, websocket.StatusInternalError, "The kernel has ended."},
		{"a slow client", func(r *rig) { r.failed <- cellhold.Errorf(cellhold.Exhausted, "slow") }, websocket.StatusTryAgainLater, "slow"},
		{"a damaged message", func(r *rig) { r.send(t, websocket.MessageBinary, []byte("x")) }, websocket.StatusInvalidFramePayloadData, "damaged"},
		{"damaged text", func(r *rig) { r.send(t, websocket.MessageText, []byte("[]")) }, websocket.StatusInvalidFramePayloadData, "damaged"},
		{"too long", func(r *rig) { r.send(t, websocket.MessageBinary, make([]byte, maxMessage+2)) }, websocket.StatusMessageTooBig, ""},
		{"too large", func(r *rig) { r.send(t, websocket.MessageBinary, bytes.Join(framing.EncodeV1(large), nil)) }, websocket.StatusMessageTooBig, "too large"},
		{"a refused message", refuse(cellhold.Errorf(cellhold.Invalid, "no")), websocket.StatusPolicyViolation, "no"},
		{"no capacity", refuse(cellhold.Errorf(cellhold.Exhausted, "%s", strings.Repeat("é", 100))), websocket.StatusTryAgainLater, "éé…"},
		{"a failed kernel", refuse(errors.New("x")), websocket.StatusInternalError, "Connect again."},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := dial(t, newWire(), framing.Protocol)
			c.end(r)
			r.closed(t, c.code, c.text)
		})
	}
}

func TestAClientThatLeftIsDetached(t *testing.T) {
	for _, leave := range []func(*rig){
		func(r *rig) { r.socket.Close(websocket.StatusNormalClosure, "") }, func(r *rig) { r.socket.CloseNow() },
	} {
		r := dial(t, newWire())
		leave(r)
		<-r.left
	}
}

func TestMessagesOnOtherChannelsAreIgnored(t *testing.T) {
	r := dial(t, newWire())
	for _, channel := range []string{"iopub", "hb", "x"} {
		r.send(t, websocket.MessageText, []byte(`{"header":{"msg_id":"`+channel+`"},"channel":"`+channel+`"}`))
	}
	r.send(t, websocket.MessageText, []byte(`{"header":{"msg_id":"last"}}`))
	if _, p := r.read(t); !strings.Contains(string(p), `"msg_id":"last"`) {
		t.Errorf("got %s, want the last message only", p)
	}
}

func TestConnectionsOfAKernelAndOfACallerAreLimited(t *testing.T) {
	var c connections
	enter := func(kernel, client string) (leave func()) {
		t.Helper()
		_, leave, err := c.enter(t.Context(), place{caller: "ann", kernel: kernel, client: client})
		if err != nil {
			t.Fatal(err)
		}
		return leave
	}
	refused := func(kernel, client string) {
		t.Helper()
		if _, _, err := c.enter(t.Context(), place{caller: "ann", kernel: kernel, client: client}); cellhold.KindOf(err) != cellhold.Exhausted {
			t.Errorf("one more connection of %q to %s: got %v, want it refused", client, kernel, err)
		}
	}
	leave := []func(){enter("k", "a")}
	for i := range maxOfKernel - 1 {
		leave = append(leave, enter("k", string(rune('b'+i))))
	}
	refused("k", "z")
	refused("k", "")
	second := enter("k", "a") // replaces the first one, which still ends
	refused("k", "a")
	leave[0]()
	if n := c.of("k"); n != maxOfKernel {
		t.Errorf("got %d connections, want %d", n, maxOfKernel)
	}
	leave[0] = second
	for i := range maxOfCaller - len(leave) {
		leave = append(leave, enter(string(rune(0x4e00+i)), "a"))
	}
	refused("other", "a")
	for _, l := range leave {
		l()
	}
	enter("k", "z")()
}

func TestAtShutdownAllConnectionsEnd(t *testing.T) {
	var c connections
	ctx, leave, err := c.enter(t.Context(), place{})
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() {
		c.close()
		close(closed)
	}()
	<-ctx.Done()
	if context.Cause(ctx) != errDrain {
		t.Errorf("got the cause %v", context.Cause(ctx))
	}
	select {
	case <-closed:
		t.Error("close returned before the connection ended")
	default:
	}
	leave()
	<-closed
	if _, _, err := c.enter(t.Context(), place{}); cellhold.KindOf(err) != cellhold.Unavailable {
		t.Errorf("after shutdown: got %v, want it refused", err)
	}
}

func TestTheContextOfAConnectionOutlivesItsRequest(t *testing.T) {
	var c connections
	request, cancel := context.WithTimeout(t.Context(), time.Hour)
	ctx, leave, err := c.enter(request, place{})
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	if cancel(); ctx.Err() != nil {
		t.Error("the connection ended with the request")
	}
}
