package registry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/jupyter"
	"cellhold/internal/registry"
	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/fake"
	"cellhold/internal/session"
)

// streamed gives sessions kernels with a stream. They return the header of a request byte for byte.
func streamed(o *registry.Options) { o.Settings.Kernel = fake.Streamed }

// front is a Jupyter client of a session's first kernel.
type front struct {
	*testing.T
	session.Wire
	name string
	sent int
}

func connect(t *testing.T, s *session.Session, name string) *front {
	t.Helper()
	w, err := s.Wire(t.Context(), "", name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return &front{T: t, Wire: w, name: name}
}

// Receive receives a message, and removes it from the client's queue.
func (f *front) Receive(ctx context.Context) (session.Frame, error) {
	m, err := f.Wire.Receive(ctx)
	if err == nil {
		f.Written()
	}
	return m, err
}

// send sends a message, and returns its header. The header has fields and spaces that Go would encode in another way.
func (f *front) send(channel, msgType, content string, buffers ...[]byte) json.RawMessage {
	f.Helper()
	f.sent++
	header := fmt.Appendf(nil, `{"msg_type" : %q,"msg_id":"%s-%d", "session":%q,"username":"<u>","date":1.50,"subshell_id":null}`, msgType, f.name, f.sent, f.name)
	if err := f.Send(f.Context(), session.Frame{Channel: channel, Header: header, Content: json.RawMessage(content), Buffers: buffers}); err != nil {
		f.Fatalf("send %s: %v", msgType, err)
	}
	return header
}

// execute sends an execute_request.
func (f *front) execute(code string, fields ...string) json.RawMessage {
	f.Helper()
	text, _ := json.Marshal(code)
	return f.send("shell", "execute_request", fmt.Sprintf(`{"code":%s%s}`, text, strings.Join(append([]string{""}, fields...), ",")))
}

// heard is a message for a client.
type heard struct {
	session.Frame
	kind, session string // type of the message, and the session in its header
	parent        string // id of the request
	content       string
}

func (h heard) String() string {
	return fmt.Sprintf("%s %s (%s) %.100s", h.Channel, h.kind, h.parent, h.content)
}

// hear receives messages up to and including the first one that fits.
func (f *front) hear(what string, fits func(heard) bool) (list []heard) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), time.Minute)
	defer cancel()
	for {
		m, err := f.Receive(ctx)
		if err != nil {
			f.Fatalf("before %s: %v; heard: %v", what, err, list)
		}
		head, _, err := jupyter.DecodeHeader(m.Header)
		parent, _, err2 := jupyter.DecodeHeader(m.Parent)
		if err != nil || err2 != nil {
			f.Fatal(err, err2)
		}
		h := heard{m, head.MsgType, head.Session, parent.MsgID, string(m.Content)}
		if list = append(list, h); fits(h) {
			return list
		}
	}
}

// answer receives messages until a request has its reply and its idle status, and returns the messages about it.
func (f *front) answer(header json.RawMessage) []heard {
	f.Helper()
	return f.answers(header)[0]
}

// answers is answer for several requests, whose answers can be mixed.
func (f *front) answers(headers ...json.RawMessage) [][]heard {
	f.Helper()
	lists, missing, at := make([][]heard, len(headers)), map[string]bool{}, map[string]int{}
	for i, header := range headers {
		h, _, _ := jupyter.DecodeHeader(header)
		at[h.MsgID], missing[h.MsgID+" reply"], missing[h.MsgID+" idle"] = i, true, true
	}
	f.hear(fmt.Sprintf("the answers to %s", headers), func(h heard) bool {
		i, ours := at[h.parent]
		if !ours {
			return false
		}
		lists[i] = append(lists[i], h)
		if strings.HasSuffix(h.kind, "_reply") {
			delete(missing, h.parent+" reply")
		}
		if strings.Contains(h.content, `"idle"`) {
			delete(missing, h.parent+" idle")
		}
		return len(missing) == 0
	})
	return lists
}

func kinds(list []heard) (k []string) {
	for _, h := range list {
		if h.kind == "status" {
			k = append(k, h.content[len(`{"execution_state":"`):len(h.content)-len(`"}`)])
		} else {
			k = append(k, h.kind)
		}
	}
	return k
}

// wire creates a session with one client.
func wire(t *testing.T) (*session.Session, *front) {
	t.Helper()
	s := newHost(t).serve(t, streamed).create(t, registry.CreateRequest{})
	return s, connect(t, s, "lab")
}

// cellsOf returns the listed cells of a session.
func cellsOf(t *testing.T, s *session.Session) (list []cellhold.Cell) {
	t.Helper()
	for c, err := range s.History().Cells(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	return list
}

func TestAnExecuteRequestIsACellWithTheHeaderOfItsClient(t *testing.T) {
	s, f := wire(t)
	head := f.execute("print hello", `"user_expressions":{"a":"1+1"}`)
	list := f.answer(head)
	for _, h := range list {
		if !bytes.Equal(h.Parent, head) {
			t.Errorf("the parent of %s is %s, want %s", h, h.Parent, head)
		}
	}
	for _, want := range []string{"busy", "execute_input", "stream", "idle", "execute_reply"} {
		if !slices.Contains(kinds(list), want) {
			t.Errorf("no %s among %v", want, list)
		}
	}
	if i := slices.IndexFunc(list, func(h heard) bool { return h.kind == "execute_reply" }); !strings.Contains(list[i].content, `{"text/plain":"1+1"}`) {
		t.Errorf("the reply is %s", list[i])
	}
	cells := cellsOf(t, s)
	if len(cells) != 1 || cells[0].Code != "print hello" {
		t.Fatalf("the cells are %+v", cells)
	}
	c, err := s.History().WaitCell(t.Context(), cells[0].ID)
	if err != nil || c.Status != cellhold.StatusOK || text(c) != "hello\n" {
		t.Errorf("the cell is %+v, %v", c, err)
	}
}

// wait waits until the cells are done.
func wait(t *testing.T, s *session.Session) {
	t.Helper()
	for _, c := range cellsOf(t, s) {
		if _, err := s.History().WaitCell(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
	}
}

func isBusy(header json.RawMessage) func(heard) bool {
	want, _, _ := jupyter.DecodeHeader(header)
	return func(h heard) bool { return h.parent == want.MsgID && h.content == `{"execution_state":"busy"}` }
}

func TestShellMessagesKeepTheirOrderAndControlDoesNotWait(t *testing.T) {
	_, f := wire(t)
	first := f.execute("input x ?")
	f.hear("the question", func(h heard) bool { return h.kind == "input_request" })
	second := f.execute("print second")
	complete := f.send("shell", "complete_request", `{"code":"p"}`)
	third := f.execute("print third")
	inspect := f.send("shell", "inspect_request", `{}`)
	f.answer(f.send("control", "kernel_info_request", `{}`)) // while the first cell runs
	f.send("stdin", "input_reply", `{"value":"y"}`)
	var order []string
	f.hear("all replies", func(h heard) bool {
		if strings.HasSuffix(h.kind, "_reply") {
			order = append(order, h.parent)
		}
		return len(order) == 5
	})
	var want []string
	for _, head := range []json.RawMessage{first, second, complete, third, inspect} {
		h, _, _ := jupyter.DecodeHeader(head)
		want = append(want, h.MsgID)
	}
	if !slices.Equal(order, want) {
		t.Errorf("the replies came for %v, want %v", order, want)
	}
}

func TestAReplyIsOnlyForItsClientAndBuffersAreForAll(t *testing.T) {
	s, f := wire(t)
	other := connect(t, s, "other")
	buffers := [][]byte{{0, 255}, bytes.Repeat([]byte("x"), 100_000)}
	f.answer(f.send("shell", "complete_request", `{"code":"p"}`))
	head := f.send("shell", "comm_msg", `{"comm_id":"c","data":{"n":[1.0]}}`, buffers...)
	for _, c := range []*front{f, other} {
		list := c.hear("the comm message", func(h heard) bool { return h.kind == "comm_msg" })
		m := list[len(list)-1]
		if !bytes.Equal(m.Parent, head) || m.content != `{"comm_id":"c","data":{"n":[1.0]}}` || !slices.EqualFunc(m.Buffers, buffers, bytes.Equal) {
			t.Errorf("%s got %s with %d buffers", c.name, m, len(m.Buffers))
		}
		if i := slices.IndexFunc(list, func(h heard) bool { return h.kind == "complete_reply" }); i >= 0 {
			t.Errorf("%s got the reply %s", c.name, list[i])
		}
	}
}

func TestCellsThatAreCancelledAreAborted(t *testing.T) {
	s, f := wire(t)
	first := f.execute("input x ?\nerror E e", `"stop_on_error":true`)
	f.hear("the question", func(h heard) bool { return h.kind == "input_request" })
	second, third := f.execute("print no"), f.execute("print no")
	f.send("stdin", "input_reply", `{"value":"y"}`)
	lists := f.answers(first, second, third)
	for i, head := range []json.RawMessage{second, third} {
		list := lists[i+1]
		if got := kinds(list); !slices.Equal(got, []string{"busy", "execute_reply", "idle"}) || !strings.Contains(list[1].content, `"status":"aborted"`) || !bytes.Equal(list[1].Parent, head) {
			t.Errorf("a cancelled cell: %v", list)
		}
	}
	if list := f.answer(f.execute("print on", `"stop_on_error":false`)); !slices.Contains(kinds(list), "stream") {
		t.Errorf("the next cell: %v", list)
	}
	if cells := cellsOf(t, s); len(cells) != 4 || cells[1].Status != cellhold.StatusCancelled {
		t.Errorf("the cells are %+v", cells)
	}
}

func TestACellAfterTheReplyOfAFailedCellRuns(t *testing.T) {
	_, f := wire(t)
	for range 20 {
		f.answer(f.execute("error E e", `"stop_on_error":true`))
		if list := f.answer(f.execute("print on")); !slices.Contains(kinds(list), "stream") {
			t.Fatalf("the next cell: %v", list)
		}
	}
}

func TestSilentAndUnstoredCodeLeavesNoCell(t *testing.T) {
	s, f := wire(t)
	f.answer(f.execute("set x 1", `"silent":true`))
	f.answer(f.execute("set y 2", `"store_history":false`))
	list := f.answer(f.execute("get x"))
	if !slices.ContainsFunc(list, func(h heard) bool { return h.kind == "execute_result" && strings.Contains(h.content, "1") }) {
		t.Errorf("after silent code: %v", list)
	}
	if cells := cellsOf(t, s); len(cells) != 1 || cells[0].Code != "get x" {
		t.Errorf("the cells are %+v", cells)
	}
	n, err := s.History().Notebook("")
	var b strings.Builder
	if err == nil {
		err = n.Write(t.Context(), &b)
	}
	if err != nil || strings.Contains(b.String(), "set ") || !strings.Contains(b.String(), "get x") {
		t.Errorf("the notebook is %s, %v", b.String(), err)
	}
}

func TestAllMessagesForAClientHaveOneSessionInTheirHeaders(t *testing.T) {
	s, f := wire(t)
	list := f.answer(f.send("shell", "kernel_info_request", `{}`))
	run(t, s, "print hello")
	got := f.hear("the cell", func(h heard) bool { return h.kind == "stream" })
	if !slices.Contains(kinds(got), "execute_input") || !strings.Contains(got[len(got)-1].content, "hello") {
		t.Errorf("heard %v", got)
	}
	list = append(list, got...)
	list = append(list, f.answer(f.execute("", `"store_history":7`))...) // the server answers: the request is invalid
	for _, h := range list {
		if h.session != list[0].session || h.session == "" {
			t.Errorf("%s has the session %q, others have %q", h, h.session, list[0].session)
		}
	}
}

func TestAClientThatReturnsGetsItsMessages(t *testing.T) {
	s, f := wire(t)
	head := f.execute("input x ?\nprint done")
	f.hear("the question", func(h heard) bool { return h.kind == "input_request" })
	f.Detach()
	if _, err := f.Receive(t.Context()); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("after Detach: %v", err)
	}
	cells := cellsOf(t, s)
	asked(t, s, cells[0])
	if err := s.AnswerInput(t.Context(), cells[0].ID, 0, "y"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.History().WaitCell(t.Context(), cells[0].ID); err != nil {
		t.Fatal(err)
	}
	again := connect(t, s, "lab")
	if got := kinds(again.answer(head)); !slices.Contains(got, "stream") {
		t.Errorf("after its return the client heard %v", got)
	}
	third := connect(t, s, "lab") // replaces it
	if _, err := again.Receive(t.Context()); cellhold.KindOf(err) != cellhold.Conflict || !strings.Contains(err.Error(), "replaced") {
		t.Errorf("the replaced connection: %v", err)
	}
	again.Close() // has no effect on the other one
	third.sent = 100
	third.answer(third.execute("print on"))
}

func TestAHibernatedSessionKeepsItsClients(t *testing.T) {
	s, f := wire(t)
	f.answer(f.execute("set x 42"))
	away := connect(t, s, "away")
	away.answer(away.execute("print before"))
	away.Detach()
	wait(t, s)
	hibernate(t, s)
	run(t, s, "print again") // resumes the session
	for _, c := range []*front{f, connect(t, s, "away")} {
		c.hear("a cell after the resume", func(h heard) bool { return strings.Contains(h.content, "again") })
	}
	hibernate(t, s)
	if list := f.answer(f.execute("get x")); !slices.ContainsFunc(list, func(h heard) bool { return strings.Contains(h.content, "42") }) {
		t.Errorf("a message to a hibernated session: %v", list)
	}
}

func TestADeadKernelIsRestartedForItsClients(t *testing.T) {
	s, f := wire(t)
	for n := range 6 {
		head := f.execute("input go?\nexit 3", `"allow_stdin":true`)
		queued := f.execute("print no")
		f.hear("the question", func(h heard) bool { return h.kind == "input_request" })
		f.send("stdin", "input_reply", `{"value":""}`) // now that the other cell is queued
		list := f.hear("the state", func(h heard) bool {
			return h.content == `{"execution_state":"restarting"}` || h.content == `{"execution_state":"dead"}`
		})
		cause := slices.IndexFunc(list, func(h heard) bool { return h.kind == "stream" && strings.Contains(h.content, "exit status 3") })
		if cause < 0 || !bytes.Equal(list[cause].Parent, head) {
			t.Errorf("death %d has no cause: %v", n, list)
		}
		if state := list[len(list)-1].content; strings.Contains(state, "dead") != (n == 5) {
			t.Fatalf("after death %d the state is %s", n, state)
		}
		replies := map[string]string{}
		f.hear("both replies", func(h heard) bool {
			if h.kind == "execute_reply" {
				replies[h.parent] = h.content
			}
			return len(replies) == 2
		})
		first, _, _ := jupyter.DecodeHeader(head)
		second, _, _ := jupyter.DecodeHeader(queued)
		if !strings.Contains(replies[first.MsgID], "exit status 3") || !strings.Contains(replies[second.MsgID], "aborted") {
			t.Errorf("the replies are %v", replies)
		}
	}
	if list := f.answer(f.execute("print no")); !strings.Contains(list[len(list)-1].content+list[len(list)-2].content+list[1].content, "Restart the kernel") {
		t.Errorf("a cell of the dead kernel: %v", list)
	}
	if err := s.Restart(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	// Front ends read "restarting" as a death of the kernel.
	f.hear("the restart", func(h heard) bool { return h.content == `{"execution_state":"starting"}` })
	if list := f.answer(f.execute("print on")); !slices.Contains(kinds(list), "stream") {
		t.Errorf("after the restart: %v", list)
	}
}

func TestASandboxThatEndsIsReplacedForItsClients(t *testing.T) {
	h := newHost(t)
	s := h.serve(t, streamed).create(t, registry.CreateRequest{})
	f := connect(t, s, "lab")
	head := f.execute("loop")
	f.hear("the start", isBusy(head))
	old := s.Record().Sandbox
	if err := h.world.Kill(sandbox.ID(old), sandbox.Exit{Code: -1, Signal: 9, OOM: true}); err != nil {
		t.Fatal(err)
	}
	list := f.hear("the reply", func(h heard) bool { return h.kind == "execute_reply" })
	if !strings.Contains(list[len(list)-1].content, "more memory") || !slices.Contains(kinds(list), "restarting") {
		t.Errorf("heard %v", list)
	}
	list = f.answer(f.execute("print on"))
	if !slices.Contains(kinds(list), "stream") || s.Record().Sandbox == old {
		t.Errorf("in sandbox %s: %v", s.Record().Sandbox, list)
	}
	run(t, s, "set x 42") // a second restart would lose it
	f.answer(f.send("control", "kernel_info_request", `{}`))
	if c := run(t, s, "get x"); !strings.Contains(text(c), "42") {
		t.Errorf("x is %s", text(c))
	}
}

// rest receives messages until the end of the connection, and returns their contents.
func (f *front) rest() (text string) {
	f.Helper()
	for {
		m, err := f.Receive(f.Context())
		if errors.Is(err, io.EOF) {
			return text
		}
		if err != nil {
			f.Fatal(err)
		}
		text += string(m.Content)
	}
}

func TestARemovedKernelEndsItsClients(t *testing.T) {
	s := newHost(t).serve(t, streamed).create(t, registry.CreateRequest{})
	for range 2 { // a later kernel can have the same id
		k, err := s.AddKernel(t.Context(), attachment.KernelRequest{Spec: "toy", ID: "second"})
		if err != nil {
			t.Fatal(err)
		}
		w, err := s.Wire(t.Context(), k.ID, "lab")
		if err != nil {
			t.Fatal(err)
		}
		f := &front{T: t, Wire: w, name: "lab"}
		head := f.execute("loop")
		f.hear("the start", isBusy(head))
		if err := s.RemoveKernel(t.Context(), k.ID); err != nil {
			t.Fatal(err)
		}
		if got := f.rest(); !strings.Contains(got, "dead") || strings.Contains(got, "restart") || !strings.Contains(got, `"status":"error"`) {
			t.Errorf("before the end came %s", got)
		}
		w.Close()
	}
	if _, err := s.Wire(t.Context(), "second", "lab"); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("a connection to a removed kernel: %v", err)
	}
}

func TestARollbackEndsTheClientsOfKernelsThatItUndoes(t *testing.T) {
	s, first := wire(t)
	first.answer(first.execute("set x 1"))
	wait(t, s)
	_, err := s.Checkpoint(t.Context(), "before")
	if err != nil {
		t.Fatal(err)
	}
	k, err := s.AddKernel(t.Context(), attachment.KernelRequest{Spec: "toy", ID: "second"})
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.Wire(t.Context(), k.ID, "lab")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	f := &front{T: t, Wire: w, name: "lab"}
	if err := s.Rollback(t.Context(), "before"); err != nil {
		t.Fatal(err)
	}
	f.rest()
	if list := first.answer(first.execute("get x")); !slices.ContainsFunc(list, func(h heard) bool { return h.kind == "execute_result" }) {
		t.Errorf("after the rollback: %v", list)
	}
}

func TestTheEndOfTheSessionEndsItsClients(t *testing.T) {
	s, f := wire(t)
	head := f.execute("loop")
	f.hear("the start", isBusy(head))
	if err := s.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := f.rest()
	if !strings.Contains(got, `"status":"error"`) || !strings.Contains(got, `{"execution_state":"dead"}`) {
		t.Errorf("before the end came %s", got)
	}
	if _, err := s.Wire(t.Context(), "", "new"); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("a connection to an ended session: %v", err)
	}
}

func TestAnAnswerOfAClientClosesTheQuestion(t *testing.T) {
	s, f := wire(t)
	head := f.execute("input x ?\nsleep 1h")
	id := asked(t, s, cellsOf(t, s)[0]).Cell
	f.send("stdin", "input_reply", `{"value":"y"}`)
	for ev, err := range s.History().Watch(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Type == cellhold.EventInputReply {
			break
		}
	}
	if c, err := s.History().Cell(t.Context(), id); err != nil || c.Input != nil {
		t.Errorf("the cell is %+v, %v; want no open question", c, err)
	}
	if err := s.Interrupt(t.Context(), "", id); err != nil {
		t.Fatal(err)
	}
	f.answer(head)
}

func TestAMessageIDIsUsedOnce(t *testing.T) {
	_, f := wire(t)
	f.answer(f.execute("print one"))
	f.sent-- // the same id
	head := f.execute("print two")
	list := f.answer(head)
	if got := kinds(list); !slices.Contains(got, "execute_reply") || slices.Contains(got, "stream") {
		t.Errorf("the answer is %v", list)
	}
	f.answer(f.execute("print three"))
}

func TestAClientGetsTheEndOfACellAfterARestartOfTheServer(t *testing.T) {
	h := newHost(t)
	first := h.serve(t, streamed)
	s := first.create(t, registry.CreateRequest{})
	f := connect(t, s, "lab")
	head := f.execute("input x ?\nprint done")
	f.hear("the question", func(h heard) bool { return h.kind == "input_request" })
	first.stop()
	for {
		if _, err := f.Receive(t.Context()); err != nil {
			if cellhold.KindOf(err) != cellhold.Unavailable || errors.Is(err, io.EOF) {
				t.Errorf("the end of the server: %v", err)
			}
			break
		}
	}
	again, err := h.serve(t, streamed).Session(t.Context(), "me", s.ID())
	if err != nil {
		t.Fatal(err)
	}
	f = connect(t, again, "lab")
	f.sent = 100
	f.send("stdin", "input_reply", `{"value":"y"}`)
	if got := f.answer(head); !slices.Contains(kinds(got), "stream") {
		t.Errorf("heard %v", got)
	}
}

// TestAClientThatWasAwayGetsTheReplyOfAnEarlierServer: otherwise its cell would seem to run for ever.
func TestAClientThatWasAwayGetsTheReplyOfAnEarlierServer(t *testing.T) {
	h := newHost(t)
	first := h.serve(t, streamed)
	s := first.create(t, registry.CreateRequest{})
	f := connect(t, s, "lab")
	head := f.execute("print done")
	f.Detach()
	if _, err := s.History().WaitCell(t.Context(), cellsOf(t, s)[0].ID); err != nil {
		t.Fatal(err)
	}
	first.stop()
	again, err := h.serve(t, streamed).Session(t.Context(), "me", s.ID())
	if err != nil {
		t.Fatal(err)
	}
	if got := kinds(connect(t, again, "lab").answer(head)); !slices.Contains(got, "execute_reply") {
		t.Errorf("heard %v", got)
	}
}

func TestACellOfTheToyKernelOverZeroMQHasItsClientsHeader(t *testing.T) {
	s := newHost(t).serve(t).create(t, registry.CreateRequest{})
	f := connect(t, s, "lab")
	f.answer(f.execute("print hello"))
}
