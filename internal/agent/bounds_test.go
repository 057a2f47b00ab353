package agent_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/guestapi/boundstest"
	"cellhold/internal/jupyter/jupytertest"
	"cellhold/internal/sandbox/fake"
)

// sender is a kernel that sends a message of a test in each cell.
type sender struct {
	*rig
	message atomic.Pointer[message]
}

type message struct {
	typ     cellhold.EventType
	content string
}

func newSender(t *testing.T) *sender {
	s := &sender{}
	s.rig = withKernel(t, fake.Options{Script: func() jupytertest.Script {
		return func(c *jupytertest.Cell) {
			m := s.message.Load()
			c.Send(string(m.typ), json.RawMessage(m.content))
		}
	}})
	return s
}

// send runs a cell that sends a message. It returns the events of the message as the host gets them.
func (s *sender) send(t *testing.T, typ cellhold.EventType, content string) []guestapi.Event {
	s.message.Store(&message{typ, content})
	o := s.run("send")
	s.wantStatus(o, cellhold.StatusOK)
	var outputs []guestapi.Event
	for _, e := range o.events {
		if e.Type != cellhold.EventCellStarted && e.Type != cellhold.EventCellDone {
			outputs = append(outputs, e)
		}
	}
	if len(outputs) == 0 {
		t.Fatalf("no event of the message: %s", show(o.events))
	}
	return outputs
}

// TestTheHostRefusesNoOutputOfTheAgent: the agent cuts what is above a bound, and the host changes nothing.
func TestTheHostRefusesNoOutputOfTheAgent(t *testing.T) {
	s := newSender(t)
	boundstest.Run(t, func(t *testing.T, c boundstest.Case, size int, kept bool) {
		total := 0
		outputs := s.send(t, c.Type, c.Content(size))
		for _, e := range outputs {
			got := c.Size(e.Content)
			if total += got; e.Type != c.Type || got > c.Limit || strings.Contains(string(e.Content), "left out, because it has") {
				t.Errorf("an output of size %d became a %s of size %d: %.200s", size, e.Type, got, e.Content)
			}
		}
		if kept && (len(outputs) != 1 || total != size) {
			t.Errorf("an output of size %d became %d events of size %d", size, len(outputs), total)
		}
	})
}

func TestTheLargestDisplayReachesTheHost(t *testing.T) {
	s := newSender(t)
	for _, more := range []int{0, 1} {
		begin, end := `{"data":{"text/plain":"`, `"},"metadata":{}}`
		content := begin + strings.Repeat("x", guestapi.MaxContent+more-len(begin)-len(end)) + end
		e := s.send(t, cellhold.EventDisplayData, content)[0]
		if note := strings.Contains(string(e.Content), fmt.Sprintf("left out; the limit is %d bytes", guestapi.MaxContent)); note != (more > 0) {
			t.Errorf("a content of %d bytes became %.200s", len(content), e.Content)
		}
		if err := s.kernel.Ack(s.ctx, e.Seq); err != nil { // frees the spool
			t.Fatal(err)
		}
	}
}

func TestAQuestionReachesTheHostUpToItsBound(t *testing.T) {
	r := newRig(t, fake.Options{Script: func() jupytertest.Script {
		return func(c *jupytertest.Cell) { _, _ = c.Input(strings.Repeat("é", len(c.Code))) } // waits for the answer
	}})
	r.spec = fake.Streamed // over ZeroMQ the reply can overtake the question
	r.start("")
	r.untilState(cellhold.KernelIdle)
	for i, size := range []int{guestapi.MaxPrompt/2 - 1, guestapi.MaxPrompt / 2, guestapi.MaxPrompt/2 + 1} { // a letter has two bytes
		id := cellhold.CellID(fmt.Sprintf("q%d", i))
		if err := r.kernel.Execute(r.ctx, guestapi.Execute{Cell: id, Code: strings.Repeat("#", size), Timeout: patience, AllowStdin: true}); err != nil {
			t.Fatal(err)
		}
		asked := r.until("the question", func(e guestapi.Event) bool { return e.Type == cellhold.EventInputRequest })
		question := asked[len(asked)-1]
		var c cellhold.InputRequestContent
		decode(t, question, &c)
		if want := strings.Repeat("é", min(size, guestapi.MaxPrompt/2)); c.Prompt != want {
			t.Errorf("a question of %d bytes has %d bytes at the host, want %d", 2*size, len(c.Prompt), len(want))
		}
		if err := r.kernel.Input(r.ctx, guestapi.InputReply{Cell: id, Request: question.Seq}); err != nil {
			t.Fatal(err)
		}
		r.finish(id)
	}
}
