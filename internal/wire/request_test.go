package wire

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/record"
	"cellhold/internal/session/terms"
)

func TestOnlyAnswersToItsRequestsReachAClient(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.connect("a"), w.connect("b")
		l := <-w.links
		for _, s := range []struct {
			c       *Wire
			channel string
			id      string
		}{{a, Shell, "1"}, {b, Control, "2"}} {
			if err := s.c.Send(w.ctx, Frame{Channel: s.channel, Header: raw("future_request", s.id)}); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range []guestapi.WireMessage{
			message(Control, "future_reply", "1", 0),  // another channel
			message(Stdin, "input_request", "1", 0),   // the request runs no code
			message(Shell, "future_reply", "none", 0), // no request
			message(Shell, "future_reply", "", 0),     // no parent
			message(Shell, "future_reply", "1", 0),    // the answer
			message(Shell, "future_reply", "1", 0),    // a second one
			message(Control, "future_reply", "2", 0),  // the answer
			{Channel: Shell, Header: []byte(`{"a":1}`), Parent: raw("x", "2"), Content: []byte("{}")},
			{Channel: IOPub, Header: []byte(`{"msg_type":"stream"}`), Content: []byte("{}")}, // without an id
			message(IOPub, "future", "none", 0),
		} {
			l.to <- m
		}
		if got := w.waiting(a); !slices.Equal(got, []string{"shell future_reply", "iopub future"}) {
			t.Errorf("a got %v", got)
		}
		if got := w.waiting(b); !slices.Equal(got, []string{"control future_reply", "iopub future"}) {
			t.Errorf("b got %v", got)
		}
	})
}

func TestMessagesThatNoKernelCouldReadAreRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.connect("a")
		ok := raw("x_request", "1")
		for name, f := range map[string]Frame{
			"iopub":              {Channel: IOPub, Header: ok},
			"no channel":         {Header: ok},
			"no header":          {Channel: Shell},
			"half a header":      {Channel: Shell, Header: []byte(`{"msg_type":"x"`)},
			"a number as type":   {Channel: Shell, Header: []byte(`{"msg_type":1}`)},
			"a list as content":  {Channel: Shell, Header: ok, Content: []byte("[]")},
			"a large header":     {Channel: Shell, Header: []byte(`{"msg_type":"` + strings.Repeat("x", guestapi.MaxWireHeader) + `"}`)},
			"many buffers":       {Channel: Shell, Header: ok, Buffers: make([][]byte, maxBuffers+1)},
			"a large message":    {Channel: Shell, Header: ok, Buffers: [][]byte{make([]byte, guestapi.MaxWireMessage)}},
			"bytes of no letter": {Channel: Shell, Header: ok, Content: []byte("{\"a\":\"\xff\"}")},
		} {
			if err := c.Send(w.ctx, f); err == nil {
				t.Errorf("%s was sent", name)
			}
		}
		if err := c.Send(w.ctx, Frame{Channel: Shell, Header: raw("execute_request", "2"), Content: []byte(`{"code":1}`)}); err != nil {
			t.Error(err)
		}
		if got := w.waiting(c); !slices.Equal(got, []string{"iopub status", "iopub error", "shell execute_reply", "iopub status"}) {
			t.Errorf("the answer to a request without code: %v", got)
		}
	})
}

func TestAProblemAnswersItsRequest(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.connect("a")
		l := <-w.links
		if err := c.Send(w.ctx, Frame{Channel: Shell, Header: raw("x_request", "1")}); err != nil {
			t.Fatal(err)
		}
		l.to <- guestapi.WireMessage{Channel: Stdin, Header: []byte("{}"), Parent: raw("input_reply", "1"), Problem: "Not this one."}
		l.to <- guestapi.WireMessage{Channel: Shell, Header: []byte("{}"), Parent: raw("x_request", "1"), Problem: "No."}
		l.to <- guestapi.WireMessage{Channel: IOPub, Header: []byte("{}"), Parent: []byte("{}"), Problem: "Left out."}
		if got := w.waiting(c); !slices.Equal(got, []string{"iopub status", "shell x_reply", "iopub status", "iopub stream"}) {
			t.Errorf("got %v", got)
		}
	})
}

func TestMessagesWaitForACellOnlyUpToABound(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.connect("a")
		l := <-w.links
		send := func(msgType, id string, size int) {
			if err := c.Send(w.ctx, Frame{Channel: Shell, Header: raw(msgType, id), Content: []byte(`{"code":""}`), Buffers: [][]byte{make([]byte, size)}}); err != nil {
				t.Fatal(err)
			}
		}
		send("execute_request", "1", 0)
		<-w.cells
		for i := range 3 {
			send("x_request", fmt.Sprint("x", i), 12<<20)
		}
		if got := w.waiting(c); len(got) != 3 || got[1] != "shell x_reply" {
			t.Errorf("the message without space got %v", got)
		}
		if len(l.got) != 0 {
			t.Error("a message overtook the cell")
		}
		close(w.accept)
		synctest.Wait()
		if len(l.got) != 2 {
			t.Errorf("%d messages reached the kernel, want 2", len(l.got))
		}
	})
}

func TestACellWaitsForEarlierMessages(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.connect("a")
		l := <-w.links
		for i, kind := range []string{"execute", "complete", "execute"} {
			if err := c.Send(w.ctx, Frame{Channel: Shell, Header: raw(kind+"_request", fmt.Sprint(i)), Content: []byte(`{"code":""}`)}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if len(w.cells) != 1 || len(l.got) != 0 {
			t.Errorf("%d cells and %d messages came before the first cell was accepted", len(w.cells), len(l.got))
		}
		c.Close() // the messages still reach the kernel's queue
		close(w.accept)
		synctest.Wait()
		if len(w.cells) != 2 {
			t.Errorf("%d cells were submitted, want 2", len(w.cells))
		}
	})
}

func TestMissingAnswersOfACellAreSentAfterAMoment(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.connect("a")
		l := <-w.links
		execute := func(id string) cellhold.CellID {
			if err := c.Send(w.ctx, Frame{Channel: Shell, Header: raw("execute_request", id), Content: []byte(`{"code":""}`)}); err != nil {
				t.Fatal(err)
			}
			return (<-w.cells).ID
		}
		close(w.accept)
		first := execute("1")
		l.to <- message(IOPub, "status", "1", 0)
		w.events <- done(first, cellhold.CellDoneContent{Status: cellhold.StatusOK})
		if got := w.waiting(c); len(got) != 1 {
			t.Errorf("at the end of the cell: %v", got)
		}
		l.to <- message(Shell, "execute_reply", "1", 0)
		<-time.After(2 * grace)
		if got := w.waiting(c); !slices.Equal(got, []string{"shell execute_reply", "iopub status"}) {
			t.Errorf("after a moment: %v", got)
		}
		l.to <- message(Shell, "execute_reply", "1", 0) // too late
		if got := w.waiting(c); len(got) != 0 {
			t.Errorf("a second reply: %v", got)
		}
		second := execute("2")
		w.events <- done(second, cellhold.CellDoneContent{Status: cellhold.StatusCancelled})
		if got := w.waiting(c); !slices.Equal(got, []string{"iopub status", "shell execute_reply", "iopub status"}) {
			t.Errorf("a cancelled cell: %v", got)
		}
		w.look(func(k *kernel) {
			if n := len(k.requests); n != 0 {
				t.Errorf("%d requests are left", n)
			}
		})
	})
}

// TestRequestsKeepOnlyTheirHeader: the header is a part of a message of any size.
func TestRequestsKeepOnlyTheirHeader(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.connect("a")
		l := <-w.links
		send := func(msgType, id string) {
			large := make([]byte, 8<<20)
			f := Frame{Channel: Shell, Header: large[:copy(large, raw(msgType, id))], Metadata: large[1<<20:][:copy(large[1<<20:], "{}")],
				Content: large[2<<20:][:copy(large[2<<20:], `{"code":"1","user_expressions":{}}`)], Buffers: [][]byte{large[3<<20:]}}
			if err := c.Send(w.ctx, f); err != nil {
				t.Fatal(err)
			}
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var cells []terms.Cell
		for i := range 8 {
			send("x_request", fmt.Sprint("x", i))
			<-l.got
			send("execute_request", fmt.Sprint(i))
			cells = append(cells, <-w.cells)
			if i == 0 {
				close(w.accept)
			}
			synctest.Wait()
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > 8<<20 {
			t.Errorf("the requests keep %d MiB", used>>20)
		}
		runtime.KeepAlive(cells)
		if err := c.Send(w.ctx, Frame{Channel: Shell, Header: raw("x_request", strings.Repeat("x", guestapi.MaxClientHeader))}); cellhold.KindOf(err) != cellhold.Invalid {
			t.Errorf("a long header: %v", err)
		}
	})
}

func TestTheOldestRequestsOfAClientAreForgotten(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.connect("a")
		l := <-w.links
		for i := range maxRequests + 2 {
			if err := c.Send(w.ctx, Frame{Channel: Control, Header: raw("x_request", fmt.Sprint(i))}); err != nil {
				t.Fatal(err)
			}
			<-l.got
		}
		w.look(func(k *kernel) {
			if len(k.requests) != maxRequests || k.requests["1"] != nil || k.requests["2"] == nil {
				t.Errorf("%d requests are left", len(k.requests))
			}
		})
	})
}

// TestSpacesDoNotHideAPart: a part that seems to be empty would be replaced.
func TestSpacesDoNotHideAPart(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.connect("a")
		<-w.links
		if err := c.Send(w.ctx, Frame{Channel: Shell, Header: raw("execute_request", "1"), Content: []byte(strings.Repeat(" ", 20) + `{"code":"1"}`)}); err != nil {
			t.Fatal(err)
		}
		if cell := <-w.cells; cell.Code != "1" {
			t.Errorf("the code is %q", cell.Code)
		}
	})
}

// TestControlDoesNotWaitForANewProcess: a client can end a restart that takes long.
func TestControlDoesNotWaitForANewProcess(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.connect("a")
		l := <-w.links
		state := func(s cellhold.KernelState) {
			w.events <- record.NewEvent(cellhold.EventKernelState, "k", "", cellhold.KernelStateContent{State: s})
			synctest.Wait()
		}
		state(cellhold.KernelRestarting)
		for _, s := range []struct{ channel, kind string }{{Shell, "execute_request"}, {Shell, "x_request"}, {Control, "shutdown_request"}, {Stdin, "input_reply"}} {
			if err := c.Send(w.ctx, Frame{Channel: s.channel, Header: raw(s.kind, s.kind), Content: []byte(`{"code":""}`)}); err != nil {
				t.Fatal(err)
			}
		}
		if len(l.got) != 2 || (<-l.got).Channel != Control || (<-l.got).Channel != Stdin || len(w.cells) != 0 {
			t.Errorf("%d cells were submitted during the restart", len(w.cells))
		}
		close(w.accept)
		state(cellhold.KernelIdle)
		if len(l.got) != 1 || len(w.cells) != 1 {
			t.Errorf("%d messages and %d cells after the restart", len(l.got), len(w.cells))
		}
	})
}

func TestAnAnswerThatTheAgentRefusedLeavesItsQuestionOpen(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.connect("a")
		l := <-w.links
		w.question = 7
		reply := func(id string) {
			if err := c.Send(w.ctx, Frame{Channel: Stdin, Header: raw("input_reply", id), Content: []byte(`{"value":"y"}`)}); err != nil {
				t.Fatal(err)
			}
			<-l.got
		}
		l.noted = "1"
		reply("1")
		synctest.Wait()
		if len(w.answered) != 0 {
			t.Error("a refused answer was recorded")
		}
		reply("2")
		w.question = 8 // the next one
		synctest.Wait()
		if len(w.answered) != 1 || <-w.answered != 7 {
			t.Error("the answer was not recorded")
		}
	})
}

func TestARequestOfAnEarlierServerIsAnsweredFromItsCell(t *testing.T) {
	inWorld(t, func(w *world) {
		value := "x is not defined"
		for i, c := range []cellhold.Cell{
			{Status: cellhold.StatusOK, ExecutionCount: 4, Ended: time.Now().Add(-2 * keepFor)}, // its client has given up
			{Status: cellhold.StatusOK, ExecutionCount: 5, Ended: time.Now()},
			{Status: cellhold.StatusError, ExecutionCount: 6, Ended: time.Now(), Outputs: []cellhold.Output{{Type: cellhold.EventError, ErrorName: "NameError", ErrorValue: &value}}},
			{State: cellhold.CellRunning},
		} {
			if c.ID, c.Kernel = cellhold.CellID(fmt.Sprint(i)), "k"; c.State == "" {
				c.State = cellhold.CellDone
			}
			cell := record.Cell{Cell: c, Request: &record.Request{Header: fmt.Appendf(nil, `{"msg_id":"m%d","msg_type":"execute_request","session":"a"}`, i)}}
			w.hub.Recover(cell)
			if w.ended = append(w.ended, cell); c.State == cellhold.CellRunning {
				w.pending = append(w.pending, cell)
			}
		}
		if got := w.waiting(w.connect("b")); len(got) != 0 {
			t.Errorf("another client got %v", got)
		}
		c := w.connect("a")
		w.look(func(k *kernel) {
			text := ""
			for _, f := range k.clients["a"].queue {
				text += string(f.Parent) + string(f.Content)
			}
			for _, want := range []string{`"execution_count":5`, `"ename":"NameError"`, value, `"execution_count":6`} {
				if !strings.Contains(text, want) {
					t.Errorf("%s is not in %s", want, text)
				}
			}
			if strings.Contains(text, `"m0"`) || strings.Contains(text, `"m3"`) || k.requests["m3"] == nil {
				t.Errorf("got %s", text)
			}
		})
		if got := w.waiting(c); !slices.Equal(got, []string{"iopub status", "shell execute_reply", "iopub status", "iopub status", "iopub error", "shell execute_reply", "iopub status"}) {
			t.Errorf("got %v", got)
		}
	})
}

// TestMessagesThatWaitAtTheEndTakeNoMemory: inWorld compares the bytes that are counted at the end.
func TestMessagesThatWaitAtTheEndTakeNoMemory(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.connect("a")
		for i, kind := range []string{"execute_request", "x_request"} {
			if err := c.Send(w.ctx, Frame{Channel: Shell, Header: raw(kind, fmt.Sprint(i)), Content: []byte(`{"code":""}`), Buffers: [][]byte{make([]byte, 1<<20)}}); err != nil {
				t.Fatal(err)
			}
		}
		w.look(func(k *kernel) {
			if k.hub.held == 0 {
				t.Error("no message waits")
			}
		})
	})
}

// TestACellAfterAFailureWaitsForItsEnd: the end cancels the queue. Messages on control do not wait.
func TestACellAfterAFailureWaitsForItsEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.connect("a")
		l := <-w.links
		w.running = make(chan struct{})
		close(w.accept)
		send := func(channel, msgType, id string) {
			if err := c.Send(w.ctx, Frame{Channel: channel, Header: raw(msgType, id), Content: []byte(`{"code":""}`)}); err != nil {
				t.Fatal(err)
			}
		}
		send(Shell, "execute_request", "1")
		<-w.cells
		failed := message(Shell, "execute_reply", "1", 0)
		failed.Content = []byte(`{"status":"error"}`)
		l.to <- failed
		synctest.Wait()
		send(Shell, "execute_request", "2")
		send(Control, "x_request", "3")
		synctest.Wait()
		if len(w.cells) != 0 || len(l.got) != 1 {
			t.Errorf("%d cells and %d messages before the end of the failed cell", len(w.cells), len(l.got))
		}
		close(w.running)
		synctest.Wait()
		if len(w.cells) != 1 {
			t.Errorf("%d cells after it", len(w.cells))
		}
	})
}
