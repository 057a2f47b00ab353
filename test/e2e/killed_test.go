package e2e

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

const (
	// kills is the number of times that one test kills its server. After killTime, on a slow machine, the test
	// stops earlier.
	kills    = 7
	killTime = 12 * time.Second
)

// killDuring lets a server begin an operation, and kills the server before the operation ends. The duration of
// the operation has `kills` equal parts. The kill comes at a random time in the part with the index part. The
// function returns a new server on the same home, and the sandboxes that the old server left.
func (s *server) killDuring(t testing.TB, part int, takes time.Duration, begin func()) (next *server, found []string) {
	t.Helper()
	wait := time.Duration((float64(part) + rand.Float64()) / kills * float64(takes))
	t.Logf("killed after %s of %s", wait, takes)
	done := make(chan struct{})
	go func() { // returns when the kill breaks the connection
		begin()
		close(done)
	}()
	select {
	case <-time.After(wait):
	case <-t.Context().Done():
	}
	s.signal(t, syscall.SIGKILL)
	<-done
	found = slices.Sorted(maps.Keys(s.leftovers(t, nil)))
	return serve(t, s.home), found
}

// sandboxID matches the ids of the sandboxes of sessions.
var sandboxID = regexp.MustCompile(`\bs[a-z2-7]{16}-[0-9a-f]{4}\b`)

// leftovers returns the kinds of leftovers of each sandbox of a home: files, processes and control groups. others
// are the ids of sandboxes whose control groups it also searches.
func (s *server) leftovers(t testing.TB, others []string) map[string]string {
	t.Helper()
	of := map[string]string{}
	dirs, err := os.ReadDir(filepath.Join(s.home, "run"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		of[d.Name()] += " files"
	}
	for _, line := range sandboxProcesses(t, s.home) {
		name := sandboxID.FindString(line)
		if name == "" {
			name = line
		}
		if !strings.Contains(of[name], "process") {
			of[name] += " process"
		}
	}
	others = append(slices.Collect(maps.Keys(of)), others...)
	_ = filepath.WalkDir("/sys/fs/cgroup", func(p string, d fs.DirEntry, err error) error {
		name := filepath.Base(p)
		if err == nil && d.IsDir() && slices.Contains(others, name) && !strings.Contains(of[name], "cgroup") {
			of[name] += " cgroup"
		}
		return nil
	})
	return of
}

// lastLeftovers returns the leftovers when the sandboxes of all other sessions than the ready ones are gone, or after
// the time that the server gives a destruction. The server is ready before the destruction of a slow sandbox is over.
func (s *server) lastLeftovers(t testing.TB, found []string, ready map[string]bool) map[string]string {
	t.Helper()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	late := time.After(30 * time.Second)
	for {
		left := s.leftovers(t, found)
		stray := func(name string) bool {
			session, _, _ := strings.Cut(name, "-")
			return !ready[session]
		}
		if !slices.ContainsFunc(slices.Collect(maps.Keys(left)), stray) {
			return left
		}
		select {
		case <-again.C:
		case <-late:
			return left
		}
	}
}

// checkHome checks that a home has exactly what its sessions need: one sandbox for each running session, one
// snapshot for each hibernated session, and the checkpoints.
func (s *server) checkHome(t testing.TB, found []string) {
	t.Helper()
	list, err := s.Sessions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ready, saved := map[string]bool{}, 0
	for _, x := range list {
		checkpoints, err := s.Checkpoints(t.Context(), x.ID)
		if err != nil {
			t.Fatal(err)
		}
		saved += len(checkpoints)
		switch x.State {
		case cellhold.SessionReady:
			ready[string(x.ID)] = true
		case cellhold.SessionHibernated:
			saved++
		default:
			t.Errorf("session %s is %s (%s), want ready or hibernated", x.ID, x.State, x.Reason)
		}
	}
	want := " files process"
	if os.Geteuid() == 0 {
		want += " cgroup"
	}
	for name, what := range s.lastLeftovers(t, found, ready) {
		session, _, _ := strings.Cut(name, "-")
		if !ready[session] {
			t.Errorf("the sandbox %s of no running session has%s, want no leftovers", name, what)
		} else if what != want {
			t.Errorf("the sandbox %s has%s, want%s", name, what, want)
		}
		delete(ready, session) // a second sandbox of the session is an error
	}
	if len(ready) > 0 {
		t.Errorf("got the ready sessions %v without a sandbox, want one sandbox for each", ready)
	}
	entries, err := os.ReadDir(filepath.Join(s.home, "snapshots"))
	if err != nil || len(entries) != saved {
		t.Errorf("the home has the snapshots %v (%v), want %d", entries, err, saved)
	}
}

func TestAKilledServerLeavesCompleteForksOrNone(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "x = 0; open('/mnt/data/output/o.txt', 'w').write('kept')")
	const n = 2
	begun := time.Now()
	forks, err := s.Fork(t.Context(), id, n, "")
	if err != nil {
		t.Fatal(err)
	}
	takes := time.Since(begun)
	for _, f := range forks {
		if err := s.DeleteSession(t.Context(), f.ID); err != nil {
			t.Fatal(err)
		}
	}
	for round, part := range rand.Perm(kills) {
		if time.Since(begun) > killTime {
			break
		}
		var found []string
		old := s
		s, found = s.killDuring(t, part, takes, func() { _, _ = old.Fork(t.Context(), id, n, "") })
		s.checkHome(t, found)
		list, err := s.Sessions(t.Context())
		if err != nil || len(list) > 1+n {
			t.Fatalf("got %d sessions, %v; want at most %d", len(list), err, 1+n)
		}
		for _, f := range list {
			if f.ID == id {
				continue
			}
			s.checkFork(t, f, id, fmt.Sprint(round))
			if err := s.DeleteSession(t.Context(), f.ID); err != nil {
				t.Error(err)
			}
		}
		if got := s.must(t, id, "x += 1; x"); got != fmt.Sprint(round+1) {
			t.Fatalf("x of the parent is %s, want %d", got, round+1)
		}
		s.checkHome(t, found)
	}
}

// checkFork checks that a session is a complete fork.
func (s *server) checkFork(t testing.TB, f cellhold.Session, parent cellhold.SessionID, x string) {
	t.Helper()
	if f.Parent != parent || f.State != cellhold.SessionReady {
		t.Errorf("the session is %+v, want a ready fork of %s", f, parent)
		return
	}
	if got := s.file(t, f.ID, "o.txt"); got != "kept" {
		t.Errorf("the output file of a fork has %q, want kept", got)
	}
	if got := s.must(t, f.ID, "x"); got != x {
		t.Errorf("x of a fork is %s, want %s", got, x)
	}
	if n := s.countEvents(t, f.ID); n[cellhold.EventSessionForked] != 1 {
		t.Errorf("got the events %v of a fork, want one session_forked", n)
	}
	if book := s.book(t, f.ID); !strings.Contains(book, "'kept'") {
		t.Errorf("got the notebook of a fork\n%s\nwant 'kept' in it", book)
	}
}

func TestAKilledServerCompletesARollbackOrChangesNothing(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "x = 'before'; open('/mnt/data/output/o.txt', 'w').write(x)")
	if _, err := s.Checkpoint(t.Context(), id, "c"); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if _, err := s.Rollback(t.Context(), id, "c"); err != nil {
		t.Fatal(err)
	}
	takes, done := time.Since(begun), 1
	for round, part := range rand.Perm(kills) {
		if time.Since(begun) > killTime {
			break
		}
		gone := s.run(t, id, fmt.Sprintf("x = 'after'; open('/mnt/data/output/o.txt', 'w').write(x); open('/mnt/data/output/new.txt', 'w').write(x) # round %d.", round))
		if round%3 == 2 {
			s.hibernate(t, id)
		}
		var found []string
		old := s
		s, found = s.killDuring(t, part, takes, func() { _, _ = old.Rollback(t.Context(), id, "c") })
		s.checkHome(t, found)
		done += s.checkRollback(t, id, gone.ID, fmt.Sprintf("# round %d.", round))
		s.checkHome(t, found)
	}
	if got := s.countEvents(t, id)[cellhold.EventSessionRolledBack]; got != done {
		t.Errorf("got %d events session_rolled_back, want %d as in the states of the session", got, done)
	}
}

// checkRollback checks that a session is rolled back completely, and returns 1, or that it is unchanged, and
// returns 0. cell is the cell that the rollback undoes. mark is a text of its code.
func (s *server) checkRollback(t testing.TB, id cellhold.SessionID, cell cellhold.CellID, mark string) int {
	t.Helper()
	files, err := s.Files(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Path)
	}
	kept, book := s.file(t, id, "o.txt"), s.book(t, id)
	c, err := s.Cell(t.Context(), id, cell)
	if err != nil {
		t.Fatal(err)
	}
	has := fmt.Sprintf("%v %s %t %t", names, kept, c.Undone, strings.Contains(book, mark))
	inside := s.must(t, id, "import os; print(x, open('/mnt/data/output/o.txt').read(), *sorted(os.listdir('/mnt/data/output')))")
	switch strings.TrimSpace(inside) {
	case "before before o.txt":
		if want := "[o.txt] before true false"; has != want {
			t.Errorf("after a complete rollback the session has %s, want %s", has, want)
		}
		return 1
	case "after after new.txt o.txt":
		if want := "[new.txt o.txt] after false true"; has != want {
			t.Errorf("without a rollback the session has %s, want %s", has, want)
		}
		return 0
	}
	t.Fatalf("the code sees %s and the API has %s, want the state before or after the rollback", inside, has)
	return 0
}
