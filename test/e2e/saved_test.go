package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// flipByte changes one byte in the middle of a file. It keeps the file's size and modification time.
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

// checkOnlySandboxLost checks that a hibernated session cannot be resumed, for the reason why, and that it keeps
// its history and output files. Then it checks that the session continues in a new sandbox. The session must have
// run printAndKeep.
func (s *server) checkOnlySandboxLost(t *testing.T, id cellhold.SessionID, why string) {
	t.Helper()
	for range 2 { // a second attempt gives the same error
		_, err := s.Execute(t.Context(), id, client.Code{Code: "x"})
		if cellhold.KindOf(err) != cellhold.Conflict || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), "output files are kept") {
			t.Fatalf("a cell of the session: got %v, want kind conflict with %q", err, why)
		}
	}
	if left := sandboxProcesses(t, s.home); len(left) > 0 {
		t.Errorf("processes of the failed restore:\n%s\nwant no process", strings.Join(left, "\n"))
	}
	if x, err := s.Session(t.Context(), id); err != nil || x.State != cellhold.SessionHibernated {
		t.Errorf("got the session %+v, %v; want hibernated", x, err)
	}
	if _, err := s.Restart(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	if c := s.run(t, id, "x"); c.Status != cellhold.StatusError {
		t.Errorf("a cell that reads x: got %s with %s, want status error", c.Status, text(c))
	}
	if got := s.must(t, id, "open('/mnt/data/output/out.txt').read()"); got != "'kept'" {
		t.Errorf("the output file has %s, want %s", got, "'kept'")
	}
	if cells, err := s.Cells(t.Context(), id); err != nil || len(cells) < 2 || !strings.Contains(text(cells[0]), "hello") {
		t.Errorf("got %d cells, %v; want at least 2, with hello in the first", len(cells), err)
	}
	var notebook bytes.Buffer
	if err := s.Notebook(t.Context(), id, &notebook); err != nil || !strings.Contains(notebook.String(), "hello") {
		t.Errorf("got the notebook (%v)\n%s\nwant hello in it", err, &notebook)
	}
	if n := s.countEvents(t, id)[cellhold.EventSessionHibernated]; n != 1 {
		t.Errorf("got %d events session_hibernated, want 1", n)
	}
	s.awaitNoSnapshots(t)
}

// printAndKeep is code with a variable, an output and an output file.
const printAndKeep = "x = 42; print('hello'); _ = open('/mnt/data/output/out.txt', 'w').write('kept')"

func TestADamagedSnapshotIsNotRestored(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, printAndKeep)
	if _, err := s.Checkpoint(t.Context(), id, "good"); err != nil {
		t.Fatal(err)
	}
	good := sessionSnapshots(t, s.home)[0]
	flipByte(t, filepath.Join(good, "pages.img"))
	_, rolled := s.Rollback(t.Context(), id, "good")
	_, forked := s.Fork(t.Context(), id, 1, "good")
	for what, err := range map[string]error{"rollback": rolled, "fork": forked} {
		if cellhold.KindOf(err) != cellhold.Conflict || !strings.Contains(err.Error(), "damaged on the disk") {
			t.Errorf("%s: got %v, want kind conflict and \"damaged on the disk\"", what, err)
		}
	}
	if got := s.must(t, id, "x"); got != "42" { // the failed rollback must change nothing
		t.Errorf("x is %s, want 42", got)
	}
	if err := s.DeleteCheckpoint(t.Context(), id, "good"); err != nil {
		t.Fatal(err)
	}
	s.hibernate(t, id)
	flipByte(t, filepath.Join(sessionSnapshots(t, s.home)[0], "pages.img"))
	s.checkOnlySandboxLost(t, id, "damaged on the disk")
}

// nextBuild returns the path of a program with another guest binary, as the next release has. Only one unused byte
// of the guest binary differs.
func nextBuild(t *testing.T, home string) string {
	t.Helper()
	program, err := os.ReadFile(binary(t))
	if err != nil {
		t.Fatal(err)
	}
	guest, err := os.ReadFile("../../internal/guestbin/bin/cellhold-guest")
	if err != nil {
		t.Fatal(err)
	}
	const padding = 15 // offset of the last unused byte of the ELF identification
	at := bytes.Index(program, guest)
	if at < 0 || program[at+padding] != 0 {
		t.Fatalf("the guest binary is at offset %d of the program, want it there with an unused byte", at)
	}
	program[at+padding] = 1
	path := filepath.Join(home, "next")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// guests returns the paths of the guest binaries in a home.
func guests(t *testing.T, home string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(home, "guest", "*", "cellhold-guest"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAHibernatedSessionResumesUnderTheNextVersion(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	next := nextBuild(t, home)
	s := serve(t, home)
	saved, running := s.session(t, client.CreateSession{}), s.session(t, client.CreateSession{})
	s.must(t, saved, counter)
	s.must(t, running, "y = 7")
	if _, err := s.Checkpoint(t.Context(), saved, "before"); err != nil {
		t.Fatal(err)
	}
	s.hibernate(t, saved)
	s.signal(t, syscall.SIGTERM)

	s = serveBy(t, next, home)
	if n := len(guests(t, home)); n != 2 {
		t.Errorf("got %d guest binaries, want 2", n)
	}
	for range 2 { // the next version can also hibernate the session again
		if got := s.must(t, saved, "x, open('/workspace/note.txt').read()"); got != "({'a': [1, 2, 3]}, 'on disk')" {
			t.Errorf("the session of the earlier version has %s, want %s", got, "({'a': [1, 2, 3]}, 'on disk')")
		}
		s.must(t, saved, "import sys, subprocess; subprocess.run([sys.executable, '-c', 'pass'], check=True)")
		s.hibernate(t, saved)
	}
	s.must(t, saved, "x = 0")
	if _, err := s.Rollback(t.Context(), saved, "before"); err != nil {
		t.Fatal(err)
	}
	if got := s.must(t, saved, "x"); got != "{'a': [1, 2, 3]}" {
		t.Errorf("x is %s, want %s", got, "{'a': [1, 2, 3]}")
	}
	forks, err := s.Fork(t.Context(), saved, 1, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := s.must(t, forks[0].ID, "next(g)"); got != "2" {
		t.Errorf("the fork has %s, want 2", got)
	}
	// A session that was running during the update keeps its old agent, also after a hibernation.
	s.hibernate(t, running)
	if got := s.must(t, running, "y"); got != "7" {
		t.Errorf("y is %s, want 7", got)
	}
	// The old guest binary stays while such a session exists. Then the server removes it.
	if err := s.DeleteSession(t.Context(), saved); err != nil {
		t.Fatal(err)
	}
	s.signal(t, syscall.SIGTERM)
	s = serveBy(t, next, home)
	if n := len(guests(t, home)); n != 2 {
		t.Errorf("got %d guest binaries, want 2", n)
	}
	if got := s.must(t, running, "y"); got != "7" {
		t.Errorf("y is %s, want 7", got)
	}
	s.endSessions()
	s.signal(t, syscall.SIGTERM)
	s = serveBy(t, next, home)
	if n := len(guests(t, home)); n != 1 {
		t.Errorf("got %d guest binaries, want 1", n)
	}
	id := s.session(t, client.CreateSession{})
	if got := s.must(t, id, "6 * 7"); got != "42" {
		t.Errorf("a new session prints %s, want 42", got)
	}
}

// changeNeed changes a requirement in the record of a snapshot, as if another host had made the snapshot.
func changeNeed(t *testing.T, dir, what, to string) {
	t.Helper()
	path := filepath.Join(dir, "record.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var record map[string]any
	if err := json.Unmarshal(text, &record); err != nil {
		t.Fatal(err)
	}
	record["Needs"].(map[string]any)[what] = to
	if text, err = json.Marshal(record); err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestASessionWithASnapshotOfAnotherGvisorLosesOnlyItsSandbox(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, printAndKeep)
	s.hibernate(t, id)
	changeNeed(t, sessionSnapshots(t, s.home)[0], "gVisor", "v0.0.0")
	s.checkOnlySandboxLost(t, id, "another gVisor")
}
