package e2e

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// submit submits a cell, and does not wait for it.
func (s *server) submit(t testing.TB, id cellhold.SessionID, c client.Code) cellhold.Cell {
	t.Helper()
	cell, err := s.Submit(t.Context(), id, c)
	if err != nil {
		t.Fatalf("%s: %v", c.Code, err)
	}
	return cell
}

// done waits until a cell is done, and returns it.
func (s *server) done(t testing.TB, c cellhold.Cell) cellhold.Cell {
	t.Helper()
	c, err := s.Wait(t.Context(), c.Session, c.ID)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// await returns the first event of a cell that has the type.
func (s *server) await(t testing.TB, c cellhold.Cell, typ cellhold.EventType) cellhold.Event {
	t.Helper()
	for ev, err := range s.Watch(t.Context(), c.Session, c.First) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Cell == c.ID && ev.Type == typ {
			return ev
		}
	}
	t.Fatalf("the watch ended without the event %s of the cell", typ)
	return cellhold.Event{}
}

// Fifty callers submit cells at the same time. The server must run the cells in the order in which it accepted them,
// also after a kill of the server.
func TestTheQueueKeepsItsOrderAndShowsPositions(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	s := serve(t, home)
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "seen = []; import time")
	gate := s.submit(t, id, client.Code{Code: "print('go', flush=True); time.sleep(600)"})
	s.awaitText(t, gate)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			r := client.Code{Code: fmt.Sprintf("seen.append(%d)", i), Key: fmt.Sprint("key ", i)}
			one, err := s.Submit(t.Context(), id, r)
			two, err2 := s.Submit(t.Context(), id, r)
			if err != nil || err2 != nil || one.ID != two.ID {
				t.Errorf("a request and its repetition: got the cells %s and %s (%v, %v), want the same cell", one.ID, two.ID, err, err2)
			}
		})
	}
	wg.Wait()
	if c := s.submit(t, id, client.Code{Code: "0"}); c.Position != 51 {
		t.Errorf("after 51 cells the position is %d, want 51", c.Position)
	} else if c, err := s.Cancel(t.Context(), id, c.ID); err != nil || c.Status != cellhold.StatusCancelled {
		t.Errorf("the cancelled cell has status %s (%v), want cancelled", c.Status, err)
	}
	s.signal(t, syscall.SIGKILL)

	s = serve(t, home) // the keys and the queue are stored
	if c, err := s.Submit(t.Context(), id, client.Code{Code: "seen.append(7)", Key: "key 7"}); err != nil || c.Position == 0 {
		t.Errorf("after a kill of the server: the key gives a cell at position %d (%v), want a queued cell", c.Position, err)
	}
	if _, err := s.Submit(t.Context(), id, client.Code{Code: "another", Key: "key 7"}); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("the key with another request: got %v, want kind conflict", err)
	}
	if c, err := s.Cancel(t.Context(), id, gate.ID); err != nil || c.State != cellhold.CellRunning {
		t.Errorf("cancel the running cell: got state %s (%v), want running", c.State, err)
	}
	if c := s.done(t, gate); c.Status != cellhold.StatusInterrupted {
		t.Errorf("the cancelled running cell ended with %s, want interrupted", c.Status)
	}
	got := s.must(t, id, "print(seen)")
	cells, err := s.Cells(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var accepted []int
	for _, c := range cells {
		var n int
		if _, err := fmt.Sscanf(c.Code, "seen.append(%d)", &n); err == nil {
			accepted = append(accepted, n)
		}
	}
	if want := strings.ReplaceAll(fmt.Sprintln(accepted), " ", ", "); len(accepted) != 50 || got != want {
		t.Errorf("the cells ran in the order %s, want the 50 cells in the accepted order %s", got, want)
	}
	last := cellhold.Event{}
	for ev, err := range s.Watch(t.Context(), id, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Seq != last.Seq+1 {
			t.Fatalf("got event %d after event %d, want %d", ev.Seq, last.Seq, last.Seq+1)
		}
		if last = ev; ev.Cell == cells[len(cells)-1].ID && ev.Type == cellhold.EventCellDone {
			break
		}
	}
}

// The choice of the caller is like Jupyter's stop_on_error.
func TestAFailingCellCancelsTheQueueOnRequest(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	for choice, want := range map[cellhold.OnError]cellhold.CellStatus{cellhold.OnErrorContinue: cellhold.StatusOK, cellhold.OnErrorCancel: cellhold.StatusCancelled} {
		gate := s.submit(t, id, client.Code{Code: "print('go', flush=True)\nimport time; time.sleep(600)"})
		s.awaitText(t, gate)
		bad := s.submit(t, id, client.Code{Code: "1/0", OnError: choice})
		rest := s.submit(t, id, client.Code{Code: "1"})
		if err := s.InterruptCell(t.Context(), id, "", gate.ID); err != nil {
			t.Fatal(err)
		}
		if c := s.done(t, bad); c.Status != cellhold.StatusError {
			t.Errorf("the failing cell ended with %s, want error", c.Status)
		}
		if c := s.done(t, rest); c.Status != want {
			t.Errorf("with %s the queued cell ended with %s (%s), want %s", choice, c.Status, c.Cause, want)
		}
	}
}

// An interrupt names a cell. If the interrupt arrives after the end of that cell, the next cell must continue.
func TestAnInterruptOfACellNeverInterruptsTheNextCell(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "import time")
	statuses := map[cellhold.CellStatus]int{}
	for i := range 30 {
		first := s.submit(t, id, client.Code{Code: fmt.Sprintf("time.sleep(%f)", 0.003*float64(i))})
		second := s.submit(t, id, client.Code{Code: "time.sleep(0.02); 'whole'"})
		s.await(t, first, cellhold.EventCellStarted)
		if err := s.InterruptCell(t.Context(), id, "", first.ID); err != nil {
			t.Fatal(err)
		}
		statuses[s.done(t, first).Status]++
		if c := s.done(t, second); text(c) != "'whole'" {
			t.Fatalf("round %d: the next cell ended with %s and %s, want the result 'whole'", i, c.Status, text(c))
		}
	}
	t.Logf("the interrupted cells ended with %v", statuses)
}

// The cell asks with input() and getpass. The server is killed before the first answer.
func TestACallerAnswersQuestionsOfACellThroughTheAPI(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	s := serve(t, home)
	id := s.session(t, client.CreateSession{})
	begun := time.Now()
	if c := s.run(t, id, "input('Name? ')"); c.Status != cellhold.StatusError || time.Since(begun) > 20*time.Second {
		t.Errorf("input() without allow_stdin ended with %s after %s, want error within 20s", c.Status, time.Since(begun))
	}
	cell := s.submit(t, id, client.Code{Code: "import getpass\na = input('Name? ')\nb = getpass.getpass('Secret: ')\nprint(a, len(b))", AllowStdin: true})
	ask := s.await(t, cell, cellhold.EventInputRequest)
	s.signal(t, syscall.SIGKILL)

	s = serve(t, home)
	c, err := s.Cell(t.Context(), id, cell.ID)
	if err != nil || c.Input == nil || *c.Input != (cellhold.InputRequest{Request: ask.Seq, Prompt: "Name? "}) {
		t.Fatalf("after a kill of the server the cell asks %+v (%v), want request %d with the prompt Name?", c.Input, err, ask.Seq)
	}
	if err := s.Answer(t.Context(), id, cell.ID, ask.Seq, "Ænne 漢"); err != nil {
		t.Fatal(err)
	}
	cell.First = ask.Seq
	ask = s.await(t, cell, cellhold.EventInputRequest)
	var q cellhold.InputRequestContent
	if err := ask.Decode(&q); err != nil || !q.Password || q.Prompt != "Secret: " {
		t.Errorf("getpass asks %+v (%v), want a password with the prompt Secret:", q, err)
	}
	if err := s.Answer(t.Context(), id, cell.ID, cell.First, "again"); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("answer the first question again: got %v, want kind conflict", err)
	}
	if err := s.Answer(t.Context(), id, cell.ID, 0, "12345"); err != nil {
		t.Fatal(err)
	}
	if c := s.done(t, cell); text(c) != "Ænne 漢 5\n" {
		t.Errorf("the cell ended with %s and %q, want \"Ænne 漢 5\"", c.Status, text(c))
	}
}
