package agent_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
	"cellhold/internal/sandbox/fake"

	"github.com/google/go-cmp/cmp"
)

// wire is an open wire of the rig's kernel.
type wire struct {
	*rig
	*guest.Wire
	sent int
}

func (r *rig) wire() *wire {
	r.Helper()
	w, err := r.kernel.OpenWire(r.ctx)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { w.Close() })
	return &wire{r, w, 0}
}

// header returns a client's header with fields, spaces and characters that Go would encode in another way.
func header(id, msgType string) []byte {
	return fmt.Appendf(nil, `{"msg_type" : %q,"msg_id":%q, "session":"<s>","date":1.50,"subshell_id":null}`, msgType, id)
}

// send sends a message, and returns its header.
func (w *wire) send(ch, msgType string, m guestapi.WireMessage) []byte {
	w.Helper()
	w.sent++
	m.Channel, m.Header = ch, header(fmt.Sprintf("raw-%d", w.sent), msgType)
	if err := w.Send(m); err != nil {
		w.Fatal(err)
	}
	return m.Header
}

// seen is a message of a wire, with its parsed headers.
type seen struct {
	guestapi.WireMessage
	typ, parent string // the type, and the id of the parent
	content     string
}

func (s seen) String() string { return fmt.Sprintf("%s %s %.60s", s.Channel, s.typ, s.content) }

// receive reads messages up to and including the first one that fits.
func (w *wire) receive(what string, fits func(seen) bool) []seen {
	w.Helper()
	var list []seen
	for {
		m, err := w.Receive()
		if err != nil {
			w.Fatalf("the wire ended before %s: %v; seen: %v", what, err, list)
		}
		var h, p jupyter.Header
		for to, raw := range map[*jupyter.Header][]byte{&h: m.Header, &p: m.Parent} {
			if *to, _, err = jupyter.DecodeHeader(raw); err != nil {
				w.Fatal(err)
			}
		}
		s := seen{m, h.MsgType, p.MsgID, string(m.Content)}
		if list = append(list, s); fits(s) {
			return list
		}
	}
}

// last is the last message of receive.
func (w *wire) last(what string, fits func(seen) bool) seen {
	w.Helper()
	list := w.receive(what, fits)
	return list[len(list)-1]
}

// wantParent checks that a message has the header of its request. Over ZeroMQ kernels encode it again.
func (w *wire) wantParent(m seen, want []byte) {
	w.Helper()
	if overStream(w) && string(m.Parent) != string(want) {
		w.Errorf("the parent of %s is %s, want %s", m, m.Parent, want)
	}
	var got, expected any
	json.Unmarshal(m.Parent, &got)
	json.Unmarshal(want, &expected)
	if d := cmp.Diff(expected, got); d != "" {
		w.Errorf("the parent of %s lost a field: %s", m, d)
	}
}

// problem waits for the note about a message.
func (w *wire) problem(header []byte, want string) {
	w.Helper()
	m := w.last("a note", func(s seen) bool { return s.Problem != "" })
	if string(m.Parent) != string(header) || !strings.Contains(m.Problem, want) {
		w.Errorf("the note about %s is %q, want %q about %s", m.Parent, m.Problem, want, header)
	}
}

// ended reads the wire to its end, and checks the reason.
func (w *wire) ended(want string) {
	w.Helper()
	for {
		if _, err := w.Receive(); err != nil {
			if cellhold.KindOf(err) != cellhold.Unavailable || !strings.Contains(err.Error(), want) {
				w.Errorf("the wire ended with %v, want %q", err, want)
			}
			return
		}
	}
}

func ofType(typ string) func(seen) bool { return func(s seen) bool { return s.typ == typ } }

func TestUnknownRequestsAreAnsweredOnAWire(t *testing.T) {
	w := withKernel(t, fake.Options{}).wire()
	for _, ch := range []string{"shell", "control"} {
		for _, kind := range []string{"complete", "inspect", "is_complete", "history", "future"} {
			sent := w.send(ch, kind+"_request", guestapi.WireMessage{Content: []byte(`{"code" : "<p","cursor_pos":2.0}`)})
			id := fmt.Sprintf("raw-%d", w.sent)
			got := map[string]bool{}
			for !got[kind+"_reply"] || !got[`{"execution_state":"busy"}`] || !got[`{"execution_state":"idle"}`] {
				m := w.last("an answer", func(s seen) bool { return s.parent == id })
				w.wantParent(m, sent)
				if got[m.typ], got[m.content] = true, true; m.typ == kind+"_reply" && (m.content != `{"code" : "<p","cursor_pos":2.0}` || m.Channel != ch) {
					t.Errorf("the reply to %s is %s", kind, m)
				}
			}
		}
	}
	w.send("shell", "kernel_info_request", guestapi.WireMessage{})
	w.receive("the kernel's description", func(s seen) bool {
		return s.typ == "kernel_info_reply" && strings.Contains(s.content, `"name":"toy"`)
	})
}

func TestCommMessagesKeepTheirBuffers(t *testing.T) {
	r := withKernel(t, fake.Options{})
	w, other := r.wire(), r.wire()
	sent := guestapi.WireMessage{
		Metadata: []byte(`{"version": "2.1.0"}`), Content: []byte(`{"comm_id":"c","data":{"n":[1.0]}}`),
		Buffers: [][]byte{{0, 1, 255}, slices.Repeat([]byte("<IDS|MSG>"), 20_000)}, // two large messages of a session are not in memory at once
	}
	head := w.send("shell", "comm_msg", sent)
	for _, w := range []*wire{w, other} {
		m := w.last("the message", ofType("comm_msg"))
		w.wantParent(m, head)
		if m.Channel != "iopub" || string(m.Metadata) != string(sent.Metadata) || m.content != string(sent.Content) || !slices.EqualFunc(m.Buffers, sent.Buffers, bytes.Equal) {
			t.Errorf("got %s with %d buffers, want the sent message", m, len(m.Buffers))
		}
	}
	if info, err := r.client.Info(r.ctx); err != nil || info.Kernels[0].Strange != 0 {
		t.Errorf("%+v %v, want no strange messages", info, err)
	}
}

// byClient submits a cell that comes from a client.
func (r *rig) byClient(id cellhold.CellID, code string, q guestapi.ExecuteRequest) error {
	return r.kernel.Execute(r.ctx, guestapi.Execute{Cell: id, Code: code, Timeout: patience, AllowStdin: true, Request: &q})
}

func TestACellOfAClientHasItsHeader(t *testing.T) {
	r := withKernel(t, fake.Options{})
	w := r.wire()
	head := header("client-1", "execute_request")
	err := r.byClient("c1", "print hello", guestapi.ExecuteRequest{
		Header: head, Metadata: []byte(`{"cellId":"x"}`), StoreHistory: true, UserExpressions: []byte(`{"a":"1+1"}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	o := r.finish("c1")
	r.wantStatus(o, cellhold.StatusOK)
	if r.wantText(o, "hello\n"); o.done.ExecutionCount != 1 || count(o.events, cellhold.EventCellStarted) != 1 {
		t.Errorf("the events are %s", show(o.events))
	}
	want := map[string]bool{"execute_input": true, "stream": true, "execute_reply": true, `{"execution_state":"busy"}`: true, `{"execution_state":"idle"}`: true}
	for len(want) > 0 {
		m := w.last("the messages of the cell", func(s seen) bool { return s.parent == "client-1" })
		w.wantParent(m, head)
		delete(want, m.typ)
		delete(want, m.content)
		if m.typ == "execute_reply" && !strings.Contains(m.content, `{"text/plain":"1+1"}`) {
			t.Errorf("the reply has no user expressions: %s", m.content)
		}
	}
}

func TestASilentCellStartsAndEndsWithoutACount(t *testing.T) {
	r := withKernel(t, fake.Options{})
	if err := r.byClient("c1", "set x 1\nblurt on\nsleep 1h", guestapi.ExecuteRequest{Silent: true}); err != nil {
		t.Fatal(err)
	}
	r.until("the start", func(e guestapi.Event) bool { return e.Type == cellhold.EventCellStarted })
	if err := r.kernel.Interrupt(r.ctx, "c1"); err != nil {
		t.Fatal(err)
	}
	o := r.finish("c1")
	if r.wantStatus(o, cellhold.StatusInterrupted); o.done.ExecutionCount != 0 {
		t.Errorf("its count is %d, want none", o.done.ExecutionCount)
	}
	if err := r.byClient("c2", "set x 1", guestapi.ExecuteRequest{Silent: true}); err != nil {
		t.Fatal(err)
	}
	if o = r.finish("c2"); o.done.Status != cellhold.StatusOK || o.done.ExecutionCount != 0 || count(o.events, cellhold.EventCellStarted) != 1 {
		t.Errorf("a silent cell without output: %s", show(o.events))
	}
	r.cells = 2
	if o = r.run("get x"); o.done.ExecutionCount != 1 {
		t.Errorf("the next count is %d, want 1", o.done.ExecutionCount)
	}
}

func TestAClientsRequestIsChecked(t *testing.T) {
	r := withKernel(t, fake.Options{})
	if err := r.byClient("c1", "print on", guestapi.ExecuteRequest{Header: header("client-1", "execute_request")}); err != nil {
		t.Fatal(err)
	}
	r.finish("c1")
	long := []byte(`{"a":"` + strings.Repeat("x", guestapi.MaxClientPart) + `"}`)
	for name, test := range map[string]struct {
		q    guestapi.ExecuteRequest
		want cellhold.Kind
	}{
		"an id that was used":       {guestapi.ExecuteRequest{Header: header("client-1", "execute_request")}, cellhold.Invalid},
		"an id of the agent":        {guestapi.ExecuteRequest{Header: header("own-1", "execute_request")}, cellhold.Invalid},
		"no id":                     {guestapi.ExecuteRequest{Header: header("", "execute_request")}, cellhold.Invalid},
		"another type":              {guestapi.ExecuteRequest{Header: header("client-2", "comm_msg")}, cellhold.Invalid},
		"a name twice":              {guestapi.ExecuteRequest{Header: []byte(`{"msg_id":"client-2","msg_type":"comm_msg","msg_type":"execute_request"}`)}, cellhold.Invalid},
		"a header that is no JSON":  {guestapi.ExecuteRequest{Header: []byte("{")}, cellhold.Invalid},
		"a header that is null":     {guestapi.ExecuteRequest{Header: []byte("null")}, cellhold.Invalid},
		"a long header":             {guestapi.ExecuteRequest{Header: header(strings.Repeat("x", guestapi.MaxClientHeader), "execute_request")}, cellhold.Exhausted},
		"metadata that is a list":   {guestapi.ExecuteRequest{Metadata: []byte("[]")}, cellhold.Invalid},
		"long metadata":             {guestapi.ExecuteRequest{Metadata: long}, cellhold.Exhausted},
		"expressions that are text": {guestapi.ExecuteRequest{UserExpressions: []byte(`"a"`)}, cellhold.Invalid},
	} {
		if err := r.byClient("c2", "print no", test.q); cellhold.KindOf(err) != test.want {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
	r.cells = 1
	r.wantStatus(r.run("print on"), cellhold.StatusOK)
}

func TestTheAgentsRequestsAreNotOnAWire(t *testing.T) {
	r := withKernel(t, fake.Options{})
	w := r.wire()
	r.prepare(guestapi.Prepare{Code: "blurt secret\nprint secret"})
	id := r.submit("print first\nloop")
	r.until("the output", func(e guestapi.Event) bool { return e.Type == cellhold.EventStream })
	if err := r.kernel.Interrupt(r.ctx, id); err != nil {
		t.Fatal(err)
	}
	r.finish(id)
	r.prepare(guestapi.Prepare{Code: "blurt secret"})
	w.send("control", "marker_request", guestapi.WireMessage{})
	w.send("shell", "marker_request", guestapi.WireMessage{})
	replies, idle := 0, 0
	list := w.receive("the markers", func(s seen) bool {
		if s.typ == "marker_reply" {
			replies++
		} else if s.typ == "status" && strings.HasPrefix(s.parent, "raw-") && strings.Contains(s.content, "idle") {
			idle++
		}
		return replies == 2 && idle == 2
	})
	got := map[string]int{}
	for _, m := range list {
		got[m.typ]++
		if jupyter.IsOwn(m.parent) || strings.Contains(m.content, "secret") || m.typ == "interrupt_reply" {
			t.Errorf("%s is an answer to the agent", m)
		}
	}
	// busy and idle of the cell, and of two markers
	if got["stream"] != 1 || got["execute_reply"] != 1 || got["execute_input"] != 1 || got["error"] != 1 || got["status"] != 6 {
		t.Errorf("got %v, want all messages of the cell and the markers", got)
	}
}

func TestAWireRefusesSomeMessages(t *testing.T) {
	r := withKernel(t, fake.Options{})
	w := r.wire()
	sent := w.send("shell", "execute_request", guestapi.WireMessage{Content: []byte(`{"code":"print no"}`)})
	w.problem(sent, "Submit the code as a cell")
	sent = w.send("control", "execute_request", guestapi.WireMessage{})
	w.problem(sent, "Submit the code as a cell")
	for _, m := range []struct{ header, content, want, parent string }{
		{`{"msg_type":"comm_msg","msg_id":"own-1"}`, `{}`, "reserved", `{"msg_type":"comm_msg","msg_id":"own-1"}`},
		{`{"msg_id":"1"}`, `{}`, "form", `{"msg_id":"1"}`},
		{`[]`, `{}`, "form", `{}`},
		{`{"msg_type":"x"}`, `[]`, "form", `{"msg_type":"x"}`},
		{`{"msg_type":"x"`, `{}`, "form", `{}`},
	} {
		if err := w.Send(guestapi.WireMessage{Channel: "shell", Header: []byte(m.header), Content: []byte(m.content)}); err != nil {
			t.Fatal(err)
		}
		w.problem([]byte(m.parent), m.want)
	}
	for _, ch := range []string{"iopub", "", "note"} {
		if err := w.Send(guestapi.WireMessage{Channel: ch}); cellhold.KindOf(err) != cellhold.Invalid {
			t.Errorf("a message on %q: %v, want a refusal", ch, err)
		}
	}
	if err := w.Send(guestapi.WireMessage{Channel: "shell", Buffers: [][]byte{make([]byte, guestapi.MaxWireMessage)}}); cellhold.KindOf(err) != cellhold.Exhausted {
		t.Errorf("a message that is too large: %v", err)
	}
	id := r.submit("print on")
	r.finish(id)
	cell := w.last("the start of the cell", ofType("execute_input"))
	if err := w.Send(guestapi.WireMessage{Channel: "shell", Header: header(cell.parent, "comm_msg")}); err != nil {
		t.Fatal(err)
	}
	w.problem(header(cell.parent, "comm_msg"), "belongs to a cell")
}

// TestAWireRefusesAHeaderWithANameTwice: the agent and the kernel could use different ones.
func TestAWireRefusesAHeaderWithANameTwice(t *testing.T) {
	r := withKernel(t, fake.Options{})
	w := r.wire()
	for _, h := range []string{
		`{"msg_type":"execute_request","msg_id":"1","msg_type":"comm_msg"}`,
		`{"msg_type":"comm_msg","msg_id":"1","MSG_TYPE":"execute_request"}`,
		`{"msg_type":"comm_msg","m\u0073g_type":"execute_request"}`,
		"{\"msg_type\":\"comm_msg\",\"m\u017fg_type\":\"execute_request\"}",
		`{"msg_type":"comm_msg","msg_id":"1","Msg_Id":"own-1"}`,
		`{"msg_type":"comm_msg","session":"1","session":"1"}`,
	} {
		if err := w.Send(guestapi.WireMessage{Channel: "shell", Header: []byte(h)}); err != nil {
			t.Fatal(err)
		}
		w.problem([]byte(h), "twice")
	}
	if err := w.Send(guestapi.WireMessage{Channel: "shell", Header: []byte(`{"MSG_TYPE":"x","msg_id":"1"}`)}); err != nil {
		t.Fatal(err)
	}
	w.problem([]byte(`{"MSG_TYPE":"x","msg_id":"1"}`), "form")
	w.send("shell", "marker_request", guestapi.WireMessage{}) // the wire still works
	w.last("the reply", ofType("marker_reply"))
}

func TestAnswersToInputPassOverAWire(t *testing.T) {
	r := withKernel(t, fake.Options{})
	w := r.wire()
	head := header("client-1", "execute_request")
	if err := r.byClient("c1", "input x name?\nget x", guestapi.ExecuteRequest{Header: head}); err != nil {
		t.Fatal(err)
	}
	m := w.last("the question", ofType("input_request"))
	if w.wantParent(m, head); m.Channel != "stdin" {
		t.Errorf("the question came on %s", m.Channel)
	}
	w.send("stdin", "input_reply", guestapi.WireMessage{Content: []byte(`{"value":"Ann"}`)})
	r.wantText(r.finish("c1"), `"Ann"`)
}

func TestASlowWireIsClosedAndTheKernelContinues(t *testing.T) {
	r := withKernel(t, fake.Options{})
	slow, w := r.wire(), r.wire()
	part := make([]byte, guestapi.WireBytes/5)
	for range 5 { // slow is not read, and the last part does not fit
		w.send("shell", "comm_msg", guestapi.WireMessage{Buffers: [][]byte{part}})
		w.receive("the message", ofType("comm_msg"))
		r.wantText(r.run("print on"), "on\n")
	}
	slow.ended("did not read")
	w.send("shell", "future_request", guestapi.WireMessage{})
	w.receive("the reply", ofType("future_reply"))
	r.wantText(r.run("print on"), "on\n")
	again := r.wire()
	again.send("shell", "future_request", guestapi.WireMessage{})
	again.receive("the reply", ofType("future_reply"))
}

func TestAMessageThatIsTooLargeBecomesANote(t *testing.T) {
	r := withKernel(t, fake.Options{})
	w := r.wire()
	head := header("client-1", "execute_request")
	if err := r.byClient("c1", fmt.Sprintf("big %d", guestapi.MaxWireMessage+1), guestapi.ExecuteRequest{Header: head}); err != nil {
		t.Fatal(err)
	}
	replied := false // on another channel, maybe before the note
	m := w.last("the note", func(s seen) bool {
		replied = replied || s.typ == "execute_reply"
		return s.Problem != ""
	})
	if w.wantParent(m, head); m.typ != "stream" || m.Channel != "iopub" || !strings.Contains(m.Problem, "too large") {
		t.Errorf("the note is %+v", m)
	}
	if !replied {
		w.receive("the reply", ofType("execute_reply"))
	}
	r.finish("c1")
}

// TestAnOddMessageDoesNotEndAWire: the host refuses such headers and bytes.
func TestAnOddMessageDoesNotEndAWire(t *testing.T) {
	r := withKernel(t, fake.Options{})
	w := r.wire()
	r.wantStatus(r.run("odd large\nodd bytes\nprint on"), cellhold.StatusOK)
	m := w.last("the note about a large header", func(s seen) bool { return s.Problem != "" })
	if string(m.Header) != "{}" || m.Channel != "iopub" || !strings.Contains(m.Problem, "a header is too large") {
		t.Errorf("the note is %.200q about %.50q", m.Problem, m.Header)
	}
	m = w.last("the message with other bytes", ofType("odd"))
	if m.content != "{\"text\":\"\uFFFD\"}" || !strings.Contains(string(m.Header), "\uFFFD.") {
		t.Errorf("the message is %q with the header %.100q", m.content, m.Header)
	}
	w.send("shell", "future_request", guestapi.WireMessage{})
	w.receive("the reply", ofType("future_reply"))
}

func TestAnInvalidFrameEndsOnlyItsWire(t *testing.T) {
	r := withKernel(t, fake.Options{})
	other := r.wire()
	for name, frame := range map[string]string{
		"a channel that does not exist": "\x14\x00\x00\x00\x09\x00\x04\x00",
		"a note of the host":            "\x14\x00\x00\x00\x05\x00\x04\x00",
		"another protocol":              "GET / HTTP/1.1\r\n\r\n",
	} {
		conn, err := r.dial(r.ctx)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET /v1/kernels/toy/wire HTTP/1.1\r\nHost: agent\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", guestapi.WireUpgrade)
		in := bufio.NewReader(conn)
		if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("the answer to the upgrade: %+v, %v", resp, err)
		}
		go io.WriteString(conn, frame) // ends with the connection
		rest, err := io.ReadAll(in)
		if conn.Close(); err != nil || !strings.Contains(string(rest), "a frame that is not valid") {
			t.Errorf("%s: %q, %v; want the reason", name, rest, err)
		}
	}
	other.send("shell", "future_request", guestapi.WireMessage{})
	other.receive("the reply", ofType("future_reply"))
}

func TestWiresEndAtARenewalAndWithTheKernel(t *testing.T) {
	r := withKernel(t, fake.Options{})
	w := r.wire()
	r.renew()
	w.ended("is being renewed")
	w = r.wire()
	w.send("shell", "future_request", guestapi.WireMessage{})
	for _, m := range w.receive("the reply", ofType("future_reply")) {
		if jupyter.IsOwn(m.parent) {
			t.Errorf("%s belongs to the renewal", m)
		}
	}
	if err := r.kernel.Delete(r.ctx); err != nil {
		t.Fatal(err)
	}
	w.ended("was shut down")
}

func TestTheLastOutputOfADeadKernelHasTheHeadersOfItsCell(t *testing.T) {
	r := newRig(t, fake.Options{})
	r.spec = fake.Streamed
	r.start("")
	r.untilState(cellhold.KernelIdle)
	w := r.wire()
	head := header("client-1", "execute_request")
	if err := r.byClient("c1", "queue last words\nexit 3", guestapi.ExecuteRequest{Header: head}); err != nil {
		t.Fatal(err)
	}
	list := w.receive("the last words", ofType("stream"))
	var first, last jupyter.Header
	json.Unmarshal(list[0].Header, &first)
	json.Unmarshal(list[len(list)-1].Header, &last)
	if m := list[len(list)-1]; string(m.Parent) != string(head) || last.MsgID == "" || last.Session == "" || last.Session != first.Session {
		t.Errorf("the last words are %s with the headers %s and %s; the session is %q", m, m.Header, m.Parent, first.Session)
	}
}

func TestAWireStaysOpenWhenTheKernelRestarts(t *testing.T) {
	r := withKernel(t, fake.Options{})
	w := r.wire()
	r.run("exit 1")
	sent := w.send("shell", "future_request", guestapi.WireMessage{})
	w.problem(sent, "The kernel is dead")
	if err := r.kernel.Restart(r.ctx); err != nil {
		t.Fatal(err)
	}
	r.untilState(cellhold.KernelIdle)
	w.send("shell", "future_request", guestapi.WireMessage{})
	w.receive("the reply", ofType("future_reply"))
}

func TestTheNumberOfWiresIsBounded(t *testing.T) {
	r := withKernel(t, fake.Options{})
	first := r.wire()
	for range guestapi.MaxWires - 1 {
		r.wire()
	}
	if _, err := r.kernel.OpenWire(r.ctx); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("one more: %v, want a conflict", err)
	}
	first.Close()
	for { // the agent removes the wire when it has seen the end
		w, err := r.kernel.OpenWire(r.ctx)
		if err == nil {
			w.Close()
			break
		}
		if cellhold.KindOf(err) != cellhold.Conflict {
			t.Fatal(err)
		}
	}
	if _, err := r.client.Kernel("none").OpenWire(r.ctx); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("a kernel that does not exist: %v", err)
	}
}
