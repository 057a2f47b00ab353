package kernels_test

import (
	"encoding/json"
	"io"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/agent/kernels"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
	"cellhold/internal/jupyter/stream"
)

// TestAKernelThatStopsReadingBlocksNothing: its code forges the end of a cell whose request it does not read.
func TestAKernelThatStopsReadingBlocksNothing(t *testing.T) {
	var kernel sync.WaitGroup
	began, forge := make(chan struct{}), make(chan struct{})
	r := newRig(t, kernels.Timing{Shutdown: 10 * time.Millisecond, Interrupt: 10 * time.Millisecond}, "", func() (kernels.Process, error) {
		b := newBroken(t)
		kernel.Go(func() { b.readOne(t, began, forge) })
		return b, nil
	})
	r.states(cellhold.KernelIdle)
	var executed sync.WaitGroup
	executed.Go(func() {
		if _, err := r.Execute(guestapi.Execute{Cell: "c1", Code: strings.Repeat("x", guestapi.MaxCode), Timeout: patience}); err != nil {
			t.Error(err)
		}
	})
	<-began
	r.Interrupt("c1")
	close(forge)
	kernel.Wait()
	r.done("c1")
	r.Delete() // the request to end cannot be sent either
	executed.Wait()
}

// unread starts a kernel that answers only the first request, and reads nothing after it.
func unread(t *testing.T, info string) *rig {
	t.Helper()
	var kernel sync.WaitGroup
	t.Cleanup(kernel.Wait)
	return newRig(t, kernels.Timing{Shutdown: 10 * time.Millisecond, Interrupt: 10 * time.Millisecond}, "", func() (kernels.Process, error) {
		b := newBroken(t)
		kernel.Go(func() { _ = b.becomeReady(stream.New(b.theirs, stream.Options{}), info) }) // a later process can end before
		return b, nil
	})
}

// wire opens a wire, and returns the host's end.
func (r *rig) wire() (host *stream.Conn, ended <-chan struct{}) {
	r.Helper()
	w, err := r.OpenWire()
	if err != nil {
		r.Fatal(err)
	}
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer w.Close()
		w.Serve(ours, ours, r.SendRaw)
	}()
	host = stream.New(theirs, stream.Options{Notes: true})
	r.Cleanup(func() { host.Close(); <-done })
	return host, done
}

// TestALargeMessageOfAWireBlocksNothing: the kernel does not read it.
func TestALargeMessageOfAWireBlocksNothing(t *testing.T) {
	r := unread(t, "{}")
	r.states(cellhold.KernelIdle)
	host, _ := r.wire()
	empty := []byte("{}")
	large := make([]byte, guestapi.WireBytes/4*3)
	for _, id := range []string{"first", "second"} { // the first one waits for the kernel, and the second one does not fit
		if err := host.Send(stream.Shell, []byte(`{"msg_type":"comm_msg","msg_id":"`+id+`"}`), empty, empty, empty, large); err != nil {
			t.Fatal(err)
		}
	}
	note, err := host.Recv()
	if err != nil || note.Channel != stream.Note || !strings.Contains(string(note.Parts[1]), "second") || !strings.Contains(string(note.Parts[3]), "The kernel does not read its messages") {
		t.Fatalf("the answer is %q, %v; want a note about the second message", note.Parts, err)
	}
	if _, err := r.Execute(guestapi.Execute{Cell: "c1", Code: strings.Repeat("x", guestapi.MaxCode), Timeout: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	r.Interrupt("c1")
	r.done("c1") // at its deadline
}

// asking starts a kernel that runs cell c1, and reads nothing after the cell's request. ask makes it ask a question, and
// returns an answer.
func asking(t *testing.T) (r *rig, ask func(answer string) guestapi.InputReply) {
	t.Helper()
	var kernel sync.WaitGroup
	t.Cleanup(kernel.Wait)
	next := make(chan struct{})
	t.Cleanup(func() { close(next) })
	r = newRig(t, kernels.Timing{Shutdown: 10 * time.Millisecond}, "", func() (kernels.Process, error) {
		b := newBroken(t)
		kernel.Go(func() {
			end := stream.New(b.theirs, stream.Options{})
			err := b.becomeReady(end, "{}")
			m, _ := end.Recv()
			for range next {
				if err == nil {
					err = end.Send(stream.Stdin, []byte(`{"msg_type":"input_request"}`), m.Parts[0], []byte("{}"), []byte(`{"prompt":"?"}`))
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
		return b, nil
	})
	r.states(cellhold.KernelIdle)
	if _, err := r.Execute(guestapi.Execute{Cell: "c1", Code: "ask", Timeout: patience, AllowStdin: true}); err != nil {
		t.Fatal(err)
	}
	return r, func(answer string) guestapi.InputReply {
		next <- struct{}{}
		r.await(func(e guestapi.Event) bool { return e.Type == cellhold.EventInputRequest }, func() { t.Fatal("the cell asks no question") })
		return guestapi.InputReply{Cell: "c1", Request: r.last, Value: answer}
	}
}

// largeRaw returns a message of a wire that fits into an empty queue, but not after another one.
func largeRaw(ch jupyter.Channel, msgType string) jupyter.Message {
	return jupyter.Message{Channel: ch, Header: jupyter.Header{MsgType: msgType}, Buffers: [][]byte{make([]byte, guestapi.WireBytes/4*3)}}
}

// TestAQuestionStaysOpenIfAWireCannotAnswerIt: otherwise the cell would wait for its deadline.
func TestAQuestionStaysOpenIfAWireCannotAnswerIt(t *testing.T) {
	r, ask := asking(t)
	answer := ask("x")
	if err := r.SendRaw(largeRaw(jupyter.Shell, "comm_msg")); err != nil { // it waits for the kernel
		t.Fatal(err)
	}
	if err := r.SendRaw(largeRaw(jupyter.Stdin, "input_reply")); cellhold.KindOf(err) != cellhold.Unavailable {
		t.Fatalf("an answer that does not fit: %v; want unavailable", err)
	}
	if err := r.Input(answer); err != nil {
		t.Errorf("an answer after the one that did not fit: %v", err)
	}
	if err := r.Input(answer); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("a second answer: %v; want conflict", err)
	}
}

// TestAnAnswerThatCannotBeSentIsAnError: the host would otherwise wait for a cell that has no answer.
func TestAnAnswerThatCannotBeSentIsAnError(t *testing.T) {
	r, ask := asking(t)
	if err := r.SendRaw(largeRaw(jupyter.Shell, "comm_msg")); err != nil {
		t.Fatal(err)
	}
	for range 64 { // more answers than fit
		answer := ask(strings.Repeat("x", guestapi.MaxAnswer))
		err := r.Input(answer)
		if err == nil {
			continue
		}
		if cellhold.KindOf(err) != cellhold.Conflict || !strings.Contains(err.Error(), "does not read") {
			t.Errorf("an answer that does not fit: %v; want a conflict", err)
		}
		if answer.Value = "x"; r.Input(answer) != nil {
			t.Error("the question is not open for a shorter answer")
		}
		return
	}
	t.Error("all answers were accepted")
}

func TestAWireThatTheHostClosesIsFreeAlthoughTheKernelDoesNotRead(t *testing.T) {
	r := unread(t, "{}")
	r.states(cellhold.KernelIdle)
	empty := []byte("{}")
	for range 2 * guestapi.MaxWires {
		host, ended := r.wire()
		for range 3 {
			if err := host.Send(stream.Shell, []byte(`{"msg_type":"comm_msg"}`), empty, empty, empty, make([]byte, 1<<20)); err != nil {
				t.Fatal(err)
			}
		}
		host.Drain()
		host.Close()
		<-ended
	}
}

// TestALargeDescriptionOfAKernelIsCut: the host reads no events after one that is too large.
func TestALargeDescriptionOfAKernelIsCut(t *testing.T) {
	r := unread(t, `{"language_info":{"name":"odd","codemirror_mode":"`+strings.Repeat("x", guestapi.MaxEvent)+`"}}`)
	r.await(func(e guestapi.Event) bool {
		var s cellhold.KernelStateContent
		if json.Unmarshal(e.Content, &s) != nil || s.State != cellhold.KernelIdle {
			return false
		}
		if string(s.Info.LanguageInfo) != `{"name":"odd"}` {
			t.Errorf("the language is %.100s", s.Info.LanguageInfo)
		}
		return true
	}, func() { t.Fatal("the kernel is not idle") })
}

// done waits for the end of a cell.
func (r *rig) done(id cellhold.CellID) {
	r.Helper()
	r.await(func(e guestapi.Event) bool { return e.Type == cellhold.EventCellDone && e.Cell == id }, func() {
		r.Helper()
		r.Fatalf("cell %s did not end", id)
	})
}

// becomeReady answers the first request with a description of the kernel.
func (b *broken) becomeReady(end *stream.Conn, info string) error {
	m, err := end.Recv()
	if err != nil {
		return err
	}
	return end.Send(stream.Shell, []byte(`{"msg_type":"kernel_info_reply"}`), m.Parts[0], []byte("{}"), []byte(info))
}

// readOne answers one request, and reads the beginning of another one. When it must forge, it sends the end of that.
func (b *broken) readOne(t *testing.T, began chan<- struct{}, forge <-chan struct{}) {
	end := stream.New(b.theirs, stream.Options{})
	if err := b.becomeReady(end, "{}"); err != nil {
		t.Error(err)
		return
	}
	answer := func(ch stream.Channel, msgType string, parent []byte, content string) {
		if err := end.Send(ch, []byte(`{"msg_type":"`+msgType+`"}`), parent, []byte("{}"), []byte(content)); err != nil {
			t.Error(err)
		}
	}
	head := make([]byte, 200)
	if _, err := io.ReadFull(b.theirs, head); err != nil {
		t.Error(err)
		return
	}
	close(began)
	<-forge
	parent := append(regexp.MustCompile(`{"msg_id":"[^"]*"`).Find(head), '}')
	answer(stream.Shell, "execute_reply", parent, `{"status":"ok"}`)
	answer(stream.IOPub, "status", parent, `{"execution_state":"idle"}`)
}
