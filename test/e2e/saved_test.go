package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// flipByte changes one byte in the middle of a file, whose size and time of change stay.
func flipByte(t testing.TB, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, info.Size()/2); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, info.Size()/2); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, info.ModTime()); err != nil {
		t.Fatal(err)
	}
}

// lostButKept expects that a session that sleeps cannot be woken for a reason, that nothing else of it is
// lost, and that it goes on in a new sandbox. It has printed "hello" and has written "kept" to out.txt.
func (s *server) lostButKept(t *testing.T, id cellhold.SessionID, why string) {
	t.Helper()
	for range 2 { // it stays as it is
		_, err := s.Execute(t.Context(), id, client.Code{Code: "x"})
		if cellhold.KindOf(err) != cellhold.Conflict || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), "output files are kept") {
			t.Fatalf("got %v", err)
		}
	}
	if left := traces(t, s.home); len(left) > 0 {
		t.Errorf("left of what went on from it:\n%s", strings.Join(left, "\n"))
	}
	if x, err := s.Session(t.Context(), id); err != nil || x.State != cellhold.SessionSuspended {
		t.Errorf("%+v, %v", x, err)
	}
	if _, err := s.Restart(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	if c := s.run(t, id, "x"); c.Status != cellhold.StatusError {
		t.Errorf("x is %s", text(c))
	}
	if got := s.must(t, id, "open('/mnt/data/output/out.txt').read()"); got != "'kept'" {
		t.Errorf("the output file has %s", got)
	}
	if cells, err := s.Cells(t.Context(), id); err != nil || len(cells) < 2 || !strings.Contains(text(cells[0]), "hello") {
		t.Errorf("%d cells, %v", len(cells), err)
	}
	var notebook bytes.Buffer
	if err := s.Notebook(t.Context(), id, &notebook); err != nil || !strings.Contains(notebook.String(), "hello") {
		t.Errorf("notebook: %v\n%s", err, &notebook)
	}
	if n := s.countEvents(t, id)[cellhold.EventSessionSuspended]; n != 1 {
		t.Errorf("%d events of its sleep", n)
	}
	s.awaitNothingSaved(t)
}

const printAndKeep = "x = 42; print('hello'); _ = open('/mnt/data/output/out.txt', 'w').write('kept')"

func TestAByteThatChangesOnTheDiskIsNeverGoneOnFrom(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, printAndKeep)
	if _, err := s.Checkpoint(t.Context(), id, "good"); err != nil {
		t.Fatal(err)
	}
	good := saved(t, s.home)[0]
	flipByte(t, filepath.Join(good, "pages.img"))
	_, rolled := s.Rollback(t.Context(), id, "good")
	_, forked := s.Fork(t.Context(), id, 1, "good")
	for what, err := range map[string]error{"rollback": rolled, "fork": forked} {
		if cellhold.KindOf(err) != cellhold.Conflict || !strings.Contains(err.Error(), "damaged on the disk") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got := s.must(t, id, "x"); got != "42" { // a rollback that fails changes nothing
		t.Errorf("x is %s", got)
	}
	if err := s.DeleteCheckpoint(t.Context(), id, "good"); err != nil {
		t.Fatal(err)
	}
	s.hibernate(t, id)
	flipByte(t, filepath.Join(saved(t, s.home)[0], "pages.img"))
	s.lostButKept(t, id, "damaged on the disk")
}
