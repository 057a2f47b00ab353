package agent_test

import (
	"testing"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/sandbox/fake"
)

// reserve is the space above the limit of a spool that questions can use.
const reserve = 1 << 19

// asks submits a cell that can ask for input.
func (r *rig) asks(code string) cellhold.CellID {
	r.Helper()
	if err := r.byClient("c1", code, guestapi.ExecuteRequest{}); err != nil {
		r.Fatal(err)
	}
	return "c1"
}

// TestQuestionsAreBounded: code can ask without waiting for answers, and would fill the memory.
func TestQuestionsAreBounded(t *testing.T) {
	const spool, size = 64 << 10, 3 * guestapi.MaxPrompt
	r := withKernel(t, fake.Options{Spool: spool})
	r.asks("ask 1000 12288")
	waitDone(r)
	r.watch(0)
	kept, total := 0, 0
	for _, e := range r.finish("c1").events {
		total += len(e.Content)
		if e.Type == cellhold.EventInputRequest {
			var q cellhold.InputRequestContent
			if decode(t, e, &q); len(q.Prompt) != guestapi.MaxPrompt {
				t.Errorf("a prompt of %d bytes, want %d", len(q.Prompt), guestapi.MaxPrompt)
			}
			kept++
		}
	}
	if total > spool+reserve || kept == 0 {
		t.Errorf("%d bytes with %d questions were kept, the limit is %d bytes", total, kept, spool+reserve)
	}
}

func TestAQuestionAfterAFloodArrivesAndIsAnswered(t *testing.T) {
	r := withKernel(t, fake.Options{Spool: 64 << 10})
	id := r.asks("flood 5000\ninput x name?\nset x done")
	list := r.until("the question", func(e guestapi.Event) bool { return e.Type == cellhold.EventInputRequest })
	if err := r.kernel.Input(r.ctx, guestapi.InputReply{Cell: id, Request: list[len(list)-1].Seq, Value: "Ann"}); err != nil {
		t.Fatal(err)
	}
	r.wantStatus(r.finish(id), cellhold.StatusOK)
}
