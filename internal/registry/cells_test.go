package registry_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"cellhold"
	"cellhold/internal/registry"
	"cellhold/internal/session"
)

func submit(t *testing.T, s *session.Session, r session.ExecuteRequest) cellhold.Cell {
	t.Helper()
	c, err := s.Execute(t.Context(), r)
	if err != nil {
		t.Fatalf("%s: %v", r.Code, err)
	}
	return c
}

// end waits for a cell.
func end(t *testing.T, s *session.Session, id cellhold.CellID) cellhold.Cell {
	t.Helper()
	c, err := s.History().WaitCell(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAQueuedCellShowsItsPositionAndCanBeCancelled(t *testing.T) {
	ses := newHost(t).serve(t).create(t, registry.CreateRequest{})
	first := submit(t, ses, session.ExecuteRequest{Code: "loop"})
	awaitStart(t, ses, first) // a queued cell would be cancelled, not interrupted
	second := submit(t, ses, session.ExecuteRequest{Code: "set x second"})
	third := submit(t, ses, session.ExecuteRequest{Code: "print third"})
	if c, _ := ses.History().Cell(t.Context(), third.ID); c.State != cellhold.CellQueued || c.Position != 2 {
		t.Errorf("the third cell is %s at position %d", c.State, c.Position)
	}
	c, err := ses.CancelCell(t.Context(), second.ID)
	if err != nil || c.State != cellhold.CellDone || c.Status != cellhold.StatusCancelled {
		t.Fatalf("the cancelled cell is %s, %s (%v)", c.State, c.Status, err)
	}
	if c, _ := ses.History().Cell(t.Context(), third.ID); c.Position != 1 {
		t.Errorf("without the second cell, the third is at position %d", c.Position)
	}
	if _, err := ses.CancelCell(t.Context(), second.ID); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("cancelling twice: %v", err)
	}
	if _, err := ses.CancelCell(t.Context(), "c0000000000000000"); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("cancelling an unknown cell: %v", err)
	}
	if _, err := ses.CancelCell(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	if c := end(t, ses, first.ID); c.Status != cellhold.StatusInterrupted {
		t.Errorf("the running cell ended with %s", c.Status)
	}
	if c := end(t, ses, third.ID); text(c) != "third\n" {
		t.Errorf("the next cell ended with %s: %q", c.Status, text(c))
	}
	if c := run(t, ses, "get x"); c.Status != cellhold.StatusError {
		t.Errorf("the cancelled cell ran: x is %s", text(c))
	}
}

func TestRequestsWithOneKeyGiveOneCell(t *testing.T) {
	h := newHost(t)
	s := h.serve(t)
	ses := s.create(t, registry.CreateRequest{})
	run(t, ses, "set x 0")
	r := session.ExecuteRequest{Code: "add x 1", Key: "k1"}
	var wg sync.WaitGroup
	ids := make([]cellhold.CellID, 8)
	for i := range ids {
		wg.Go(func() {
			if c, err := ses.Execute(t.Context(), r); err == nil {
				ids[i] = c.ID
			}
		})
	}
	wg.Wait()
	if ids[0] == "" || len(slices.Compact(slices.Clone(ids))) != 1 {
		t.Fatalf("eight requests with one key gave the cells %v", ids)
	}
	end(t, ses, ids[0])
	if c := run(t, ses, "get x"); text(c) != `"1"` {
		t.Errorf("the cell ran more than once, x is %s", text(c))
	}
	other := r
	other.Code = "add x 2"
	if _, err := ses.Execute(t.Context(), other); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("the key with different code: %v", err)
	}
	s.stop()

	s = h.serve(t, func(o *registry.Options) { o.CellTimeout *= 2 })
	ses, err := s.Session(t.Context(), "me", ses.Info().ID)
	if err != nil {
		t.Fatal(err)
	}
	if c := submit(t, ses, r); c.ID != ids[0] || c.State != cellhold.CellDone {
		t.Errorf("after a restart the key gives cell %s, %s", c.ID, c.State)
	}
	if c := submit(t, ses, session.ExecuteRequest{Code: "get x"}); text(end(t, ses, c.ID)) != `"1"` {
		t.Errorf("the cell ran again: %s", text(c))
	}
}

func TestOnErrorContinuesOrCancelsTheQueuedCells(t *testing.T) {
	ses := newHost(t).serve(t).create(t, registry.CreateRequest{})
	for _, x := range []struct {
		choice cellhold.OnError
		want   cellhold.CellStatus
	}{
		{"", cellhold.StatusOK}, {cellhold.OnErrorContinue, cellhold.StatusOK}, {cellhold.OnErrorCancel, cellhold.StatusCancelled},
	} {
		gate := submit(t, ses, session.ExecuteRequest{Code: "loop"})
		awaitStart(t, ses, gate)
		bad := submit(t, ses, session.ExecuteRequest{Code: "error Oh no", OnError: x.choice})
		rest := []cellhold.Cell{submit(t, ses, session.ExecuteRequest{Code: "print a"}), submit(t, ses, session.ExecuteRequest{Code: "print b"})}
		if err := ses.Interrupt(t.Context(), "", gate.ID); err != nil {
			t.Fatal(err)
		}
		if c := end(t, ses, bad.ID); c.Status != cellhold.StatusError {
			t.Fatalf("the failing cell ended with %s", c.Status)
		}
		for _, c := range rest {
			if c := end(t, ses, c.ID); c.Status != x.want {
				t.Errorf("on_error %q: a queued cell ended with %s (%s), want %s", x.choice, c.Status, c.Cause, x.want)
			}
		}
		if c := run(t, ses, "print after"); text(c) != "after\n" {
			t.Errorf("on_error %q: a later cell ended with %s", x.choice, c.Status)
		}
	}
}

func TestFiftyConcurrentCellsKeepTheirOrder(t *testing.T) {
	ses := newHost(t).serve(t).create(t, registry.CreateRequest{})
	gate := submit(t, ses, session.ExecuteRequest{Code: "loop"})
	awaitStart(t, ses, gate)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if _, err := ses.Execute(t.Context(), session.ExecuteRequest{Code: fmt.Sprintf("print %d", i)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, err := ses.CancelCell(t.Context(), gate.ID); err != nil {
		t.Fatal(err)
	}
	var accepted []cellhold.CellID
	for c, err := range ses.History().Cells(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		accepted = append(accepted, c.ID)
	}
	if len(accepted) != 51 {
		t.Fatalf("%d cells, want 51", len(accepted))
	}
	end(t, ses, accepted[50])
	order := map[cellhold.EventType][]cellhold.CellID{}
	for ev, err := range ses.History().Events(t.Context(), 0, 5000) {
		if err != nil {
			t.Fatal(err)
		}
		order[ev.Type] = append(order[ev.Type], ev.Cell)
	}
	for _, x := range []cellhold.EventType{cellhold.EventCellQueued, cellhold.EventCellStarted, cellhold.EventCellDone} {
		if !slices.Equal(order[x], accepted) {
			t.Errorf("the order of %s differs from the order of submission", x)
		}
	}
}

func TestAnInterruptOfOneCellNeverInterruptsTheNext(t *testing.T) {
	ses := newHost(t).serve(t).create(t, registry.CreateRequest{})
	for range 30 {
		first := submit(t, ses, session.ExecuteRequest{Code: "sleep 1ms"})
		second := submit(t, ses, session.ExecuteRequest{Code: "sleep 3ms\nprint whole"})
		end(t, ses, first.ID)
		if err := ses.Interrupt(t.Context(), "", first.ID); err != nil {
			t.Fatal(err)
		}
		if c := end(t, ses, second.ID); text(c) != "whole\n" {
			t.Fatalf("the next cell ended with %s", c.Status)
		}
	}
}

// asked waits until a cell asks for input.
func asked(t *testing.T, s *session.Session, c cellhold.Cell) cellhold.Event {
	t.Helper()
	for ev, err := range s.History().Watch(t.Context(), c.First) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Cell == c.ID && ev.Type == cellhold.EventInputRequest {
			return ev
		}
	}
	t.Fatal("the cell never asked for input")
	return cellhold.Event{}
}

func TestInputIsAnsweredOnceAlsoAfterARestart(t *testing.T) {
	h := newHost(t)
	s := h.serve(t)
	ses := s.create(t, registry.CreateRequest{})
	if c := run(t, ses, "input x Name?"); c.Status != cellhold.StatusError {
		t.Errorf("a cell without allow_stdin ended with %s", c.Status)
	}
	cell := submit(t, ses, session.ExecuteRequest{Code: "input x Name?\ninput y And?\nget x", AllowStdin: true})
	first := asked(t, ses, cell)
	s.stop()

	s = h.serve(t)
	ses, err := s.Session(t.Context(), "me", ses.Info().ID)
	if err != nil {
		t.Fatal(err)
	}
	if c, _ := ses.History().Cell(t.Context(), cell.ID); c.Input == nil || c.Input.Prompt != "Name?" || c.Input.Request != first.Seq {
		t.Fatalf("after a restart the cell asks %+v", c.Input)
	}
	if err := ses.AnswerInput(t.Context(), cell.ID, first.Seq+1000, "x"); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("an answer to an unknown question: %v", err)
	}
	if err := ses.AnswerInput(t.Context(), cell.ID, first.Seq, "Ann"); err != nil {
		t.Fatal(err)
	}
	cell.First = first.Seq
	second := asked(t, ses, cell)
	if err := ses.AnswerInput(t.Context(), cell.ID, first.Seq, "Bob"); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("a second answer to the first question: %v", err)
	}
	if err := ses.AnswerInput(t.Context(), cell.ID, second.Seq, "no"); err != nil {
		t.Fatal(err)
	}
	if c := end(t, ses, cell.ID); text(c) != `"Ann"` || c.Input != nil {
		t.Errorf("the cell ended with %s and %q, asking %+v", c.Status, text(c), c.Input)
	}
	if err := ses.AnswerInput(t.Context(), cell.ID, 0, "x"); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("an answer to a cell that is done: %v", err)
	}
}
