package e2e

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"cellhold"
	"cellhold/client"
)

func TestForksContinueFromTheSameMemoryAndThenDiffer(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{Metadata: map[string]string{"k": "v"}})
	s.must(t, id, "import random, numpy, uuid\nx = [1, 2, 3]\nopen('/workspace/f.txt', 'w').write('shared')\nopen('/mnt/data/output/o.txt', 'w').write('out')")
	const n = 8
	forks, err := s.Fork(t.Context(), id, n, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(forks) != n {
		t.Fatalf("got %d forks, want %d", len(forks), n)
	}
	random := map[string]bool{s.must(t, id, "random.random(), numpy.random.rand(), uuid.uuid4()"): true}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, f := range forks {
		if f.Parent != id || f.Meta["k"] != "v" || f.State != cellhold.SessionReady {
			t.Errorf("fork %d is %+v, want a ready session with the parent %s and its metadata", i, f, id)
		}
		wg.Go(func() {
			r := s.must(t, f.ID, "random.random(), numpy.random.rand(), uuid.uuid4()")
			mu.Lock()
			random[r] = true
			mu.Unlock()
			code := fmt.Sprintf("x.append(%d); open('/workspace/f.txt', 'a').write(' %d'); open('/mnt/data/output/o.txt', 'w').write('%d'); x, open('/workspace/f.txt').read()", i, i, i)
			if got, want := s.must(t, f.ID, code), fmt.Sprintf("([1, 2, 3, %d], 'shared %d')", i, i); got != want {
				t.Errorf("fork %d: got %s, want %s", i, got, want)
			}
			var book bytes.Buffer
			if err := s.Notebook(t.Context(), f.ID, &book); err != nil || !strings.Contains(book.String(), "import random, numpy") {
				t.Errorf("got the notebook of a fork (%v)\n%s\nwant the parent's cell in it", err, &book)
			}
			if got := s.file(t, f.ID, "o.txt"); got != fmt.Sprint(i) {
				t.Errorf("the output file of fork %d has %q, want %q", i, got, fmt.Sprint(i))
			}
			events := s.countEvents(t, f.ID)
			if events[cellhold.EventSessionForked] != 1 || events[cellhold.EventCellQueued] != 4 {
				t.Errorf("got the events %v of a fork, want 1 session_forked and 4 cell_queued", events)
			}
		})
	}
	wg.Wait()
	if len(random) != n+1 {
		t.Errorf("%d sessions have %d different random values, want %d", n+1, len(random), n+1)
	}
	if got := s.must(t, id, "x, open('/workspace/f.txt').read()"); got != "([1, 2, 3], 'shared')" {
		t.Errorf("the parent has %s, want %s", got, "([1, 2, 3], 'shared')")
	}
	if got := s.file(t, id, "o.txt"); got != "out" {
		t.Errorf("the parent's output file has %q, want out", got)
	}
	s.awaitNoSnapshots(t)
	// A fork continues after the end of its parent.
	if err := s.DeleteSession(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if got := s.must(t, forks[0].ID, "x[-1]"); got != "0" {
		t.Errorf("after the end of the parent, x[-1] of a fork is %s, want 0", got)
	}
}

// file returns the content of an output file.
func (s *server) file(t testing.TB, id cellhold.SessionID, name string) string {
	t.Helper()
	f, err := s.OpenFile(t.Context(), id, name)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

func TestAForkRequestCreatesAllForksOrNone(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t), "--max-sessions", "3")
	id := s.session(t, client.CreateSession{})
	if _, err := s.Fork(t.Context(), id, 3, ""); cellhold.KindOf(err) != cellhold.Exhausted {
		t.Errorf("3 forks with room for 2: got %v, want kind exhausted", err)
	}
	if list, err := s.Sessions(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("got %d sessions (%v) after the refused request, want 1", len(list), err)
	}
	if _, err := s.Fork(t.Context(), id, 2, ""); err != nil {
		t.Error(err)
	}
}

func TestARollbackRestoresVariablesAndFiles(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "x = 1\nopen('/workspace/f.txt', 'w').write('first')\nopen('/mnt/data/output/o.txt', 'w').write('first')")
	c, err := s.Checkpoint(t.Context(), id, "first")
	if err != nil || c.Size == 0 || c.Last == 0 {
		t.Fatalf("got the checkpoint %+v, %v; want a size and a last event", c, err)
	}
	if _, err := s.Checkpoint(t.Context(), id, "first"); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("a second checkpoint with the same name: got %v, want kind conflict", err)
	}
	gone := s.run(t, id, "x = 2\nopen('/workspace/f.txt', 'w').write('second')\nopen('/mnt/data/output/o.txt', 'w').write('second')\nopen('/mnt/data/output/new.txt', 'w').write('new')")
	if _, err := s.Checkpoint(t.Context(), id, "second"); err != nil {
		t.Fatal(err)
	}
	x, err := s.Rollback(t.Context(), id, "first")
	if err != nil || x.Checkpoint != "first" {
		t.Fatalf("got the session %+v, %v; want the checkpoint \"first\"", x, err)
	}
	if got := s.must(t, id, "x += 10; x, open('/workspace/f.txt').read()"); got != "(11, 'first')" {
		t.Errorf("after the rollback: %s, want %s", got, "(11, 'first')")
	}
	if got := s.file(t, id, "o.txt"); got != "first" {
		t.Errorf("the output file has %q, want first", got)
	}
	if files, err := s.Files(t.Context(), id); err != nil || len(files) != 1 {
		t.Errorf("got the output files %v, %v; want 1", files, err)
	}
	if c, err := s.Cell(t.Context(), id, gone.ID); err != nil || !c.Undone || c.Status != cellhold.StatusOK {
		t.Errorf("got the cell %+v, %v; want Undone true and status ok", c, err)
	}
	book := s.book(t, id)
	if strings.Contains(book, "second") || !strings.Contains(book, "x += 10") {
		t.Errorf("got the notebook after the rollback\n%s\nwant x += 10 and not the undone cell", book)
	}
	if n := s.countEvents(t, id); n[cellhold.EventSessionRolledBack] != 1 {
		t.Errorf("got the events %v, want one session_rolled_back", n)
	}

	// A rollback of the hibernated session to the later checkpoint restores the undone cell.
	s.hibernate(t, id)
	if _, err := s.Rollback(t.Context(), id, "second"); err != nil {
		t.Fatal(err)
	}
	if got := s.must(t, id, "x, open('/workspace/f.txt').read()"); got != "(2, 'second')" {
		t.Errorf("after the second rollback: %s, want %s", got, "(2, 'second')")
	}
	book = s.book(t, id)
	if !strings.Contains(book, "second") || strings.Contains(book, "x += 10") {
		t.Errorf("got the notebook after the second rollback\n%s\nwant the restored cell and not x += 10", book)
	}

	// A run of the notebook in a new session gives the same state.
	again := s.session(t, client.CreateSession{})
	cells, err := s.Import(t.Context(), again, []byte(book), true)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := s.Wait(t.Context(), again, cells[len(cells)-1]); err != nil || text(c) != "(2, 'second')" {
		t.Errorf("the last cell of the run notebook: got %s and %q, %v; want (2, 'second')", c.Status, text(c), err)
	}

	// A fork from a checkpoint has the state of the checkpoint.
	forks, err := s.Fork(t.Context(), id, 1, "first")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.must(t, forks[0].ID, "x"); got != "1" {
		t.Errorf("the fork of the first checkpoint has %s, want 1", got)
	}
	if got := s.file(t, forks[0].ID, "o.txt"); got != "first" {
		t.Errorf("the output file of the fork has %q, want first", got)
	}
}

// book returns the notebook of a session.
func (s *server) book(t testing.TB, id cellhold.SessionID) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.Notebook(t.Context(), id, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCheckpointsAreLimitedAndEndWithTheirSession(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t), "--max-checkpoints", "2")
	id := s.session(t, client.CreateSession{})
	for _, name := range []string{"a", "b"} {
		if _, err := s.Checkpoint(t.Context(), id, name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Checkpoint(t.Context(), id, "c"); cellhold.KindOf(err) != cellhold.Exhausted {
		t.Errorf("a third checkpoint: got %v, want kind exhausted", err)
	}
	if err := s.DeleteCheckpoint(t.Context(), id, "a"); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Checkpoints(t.Context(), id); err != nil || len(list) != 1 || list[0].Name != "b" {
		t.Errorf("got the checkpoints %+v, %v; want only b", list, err)
	}
	if _, err := s.Rollback(t.Context(), id, "a"); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("a rollback to a deleted checkpoint: got %v, want kind not_found", err)
	}
	if n := len(sessionSnapshots(t, s.home)); n != 1 {
		t.Errorf("got %d snapshots, want 1", n)
	}
	if err := s.DeleteSession(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	s.awaitNoSnapshots(t)
}
