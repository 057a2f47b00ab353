package e2e

import (
	"bytes"
	"strings"
	"syscall"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// awaitCell waits until the outputs of a cell contain a text, and returns the cell. It reads the cell after each
// event.
func (s *server) awaitCell(t *testing.T, id cellhold.SessionID, cell cellhold.CellID, want string) cellhold.Cell {
	t.Helper()
	c, err := s.Cell(t.Context(), id, cell)
	if err == nil && strings.Contains(text(c), want) {
		return c
	}
	for ev, err := range s.Watch(t.Context(), id, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Cell != cell {
			continue
		}
		if c, err = s.Cell(t.Context(), id, cell); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(text(c), want) {
			return c
		}
	}
	t.Fatalf("the events end before the cell has %q: %q", want, text(c))
	return c
}

// later is code that prints text when the file go appears, after the end of its cell.
const later = `import threading, time, os, subprocess
def work():
    while not os.path.exists('go'): time.sleep(0.02)
    print('late one'); print('late two')
threading.Thread(target=work).start()
print('at once')`

func TestOutputAfterTheEndOfItsCellIsInTheCellAndTheNotebook(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	c := s.run(t, id, later)
	if text(c) != "at once\n" {
		t.Fatalf("the cell ended with the output %q, want \"at once\"", text(c))
	}
	s.must(t, id, "open('go', 'w').close()")
	c = s.awaitCell(t, id, c.ID, "late two")
	if want := "at once\nlate one\nlate two\n"; text(c) != want || c.Bytes != int64(len(want)) || len(c.Outputs) != 1 || c.Status != cellhold.StatusOK {
		t.Errorf("got %d outputs, %d bytes and %q; want 1, %d and %q", len(c.Outputs), c.Bytes, text(c), len(want), want)
	}
	list, err := s.Cells(t.Context(), id)
	if err != nil || text(list[0]) != text(c) {
		t.Errorf("the list of cells has %q, %v; want %q", text(list[0]), err, text(c))
	}
	var book bytes.Buffer
	if err := s.Notebook(t.Context(), id, &book); err != nil || !strings.Contains(book.String(), "late two") {
		t.Errorf("got the notebook (%v)\n%s\nwant the late output in it", err, &book)
	}
}

func TestALateUpdateChangesTheDisplaysOfEarlierCells(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	before := s.run(t, id, "shown = display('old', display_id='earlier')")
	c := s.run(t, id, `import threading, os, time
h = display('first', display_id=True)
def work():
    while not os.path.exists('go'): time.sleep(0.02)
    h.update('second'); shown.update('new'); display('third')
threading.Thread(target=work).start()`)
	last := s.run(t, id, "open('go', 'w').close()")
	s.awaitCell(t, id, last.ID, "third") // a thread prints into the last cell
	s.signal(t, syscall.SIGTERM)         // the server writes its buffered output before it ends
	s = serve(t, s.home)
	for cell, want := range map[cellhold.CellID]string{before.ID: "'new'", c.ID: "'second'", last.ID: "'third'"} {
		if now, err := s.Cell(t.Context(), id, cell); err != nil || text(now) != want {
			t.Errorf("the cell shows %q, want %q, %v", text(now), want, err)
		}
	}
}

func TestLateOutputIsKeptWhenTheServerEnds(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	s := serve(t, home)
	id := s.session(t, client.CreateSession{})
	c := s.run(t, id, later)
	s.must(t, id, "open('go', 'w').close()")
	s.awaitCell(t, id, c.ID, "late two")
	s.signal(t, syscall.SIGKILL) // the server would write the record one second later
	s = serve(t, home)
	if c, err := s.Cell(t.Context(), id, c.ID); err != nil || text(c) != "at once\nlate one\nlate two\n" {
		t.Fatalf("after the kill: got %q, %v; want the late output too", text(c), err)
	}
	// The process writes while no server runs. Its output belongs to the last cell.
	s.must(t, id, "subprocess.Popen('echo began; until [ -e stop ]; do sleep 0.05; done; echo ended', shell=True); time.sleep(0.3)")
	c = s.run(t, id, "threading.Timer(1.5, lambda: open('stop', 'w').close()).start()")
	s.signal(t, syscall.SIGTERM)
	s = serve(t, home)
	if c = s.awaitCell(t, id, c.ID, "ended"); text(c) != "ended\n" {
		t.Errorf("the last cell has %q, want the output of the process", text(c))
	}
}

func TestRollbacksAndForksLackOutputAfterTheirCheckpoint(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	c := s.run(t, id, strings.Replace(later, "print('late two')", "print('late', os.environ.get('WHICH'))", 1))
	if _, err := s.Checkpoint(t.Context(), id, "before"); err != nil {
		t.Fatal(err)
	}
	s.must(t, id, "os.environ['WHICH'] = 'undone'; open('go', 'w').close()")
	s.awaitCell(t, id, c.ID, "late undone")
	forks, err := s.Fork(t.Context(), id, 1, "before")
	if err != nil {
		t.Fatal(err)
	}
	if f, err := s.Cell(t.Context(), forks[0].ID, c.ID); err != nil || text(f) != "at once\n" {
		t.Errorf("the fork's cell has %q, %v; want only \"at once\"", text(f), err)
	}
	if _, err := s.Rollback(t.Context(), id, "before"); err != nil {
		t.Fatal(err)
	}
	if c, err = s.Cell(t.Context(), id, c.ID); err != nil || text(c) != "at once\n" {
		t.Errorf("after the rollback the cell has %q, %v; want only \"at once\"", text(c), err)
	}
}

func TestLateOutputIsTruncatedLikeOtherOutput(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	c := s.run(t, id, `import threading
def work():
    for i in range(60): print('x' * 99_999)
    print('the end')
threading.Timer(0.2, work).start()
print('the beginning')`)
	c = s.awaitCell(t, id, c.ID, "the end")
	got := text(c)
	if c.Bytes != 14+6_000_000+8 || !c.Truncated || len(got) > 1<<20+1000 || !strings.HasPrefix(got, "the beginning") {
		t.Errorf("got %d of %d bytes, truncated %t, %.20q…; want at most 1 MiB and the beginning, true", len(got), c.Bytes, c.Truncated, got)
	}
	begun := time.Now()
	s.must(t, id, "1 + 1")
	t.Logf("the next cell took %s", time.Since(begun))
}
