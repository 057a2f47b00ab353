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
	// kills is the number of kills of a server in one test, and killTime its time limit. On a busy machine a
	// run has fewer kills.
	kills    = 7
	killTime = 12 * time.Second
)

// killDuring lets a server start an operation and kills the server after a random part of its duration. It
// returns the next server on the same home with the sandboxes that it found. part says which of the `kills`
// parts of the duration it is.
func (s *server) killDuring(t testing.TB, part int, takes time.Duration, begin func()) (next *server, found []string) {
	t.Helper()
	wait := time.Duration((float64(part) + rand.Float64()) / kills * float64(takes))
	t.Logf("killed after %s of %s", wait, takes)
	done := make(chan struct{})
	go func() { // the operation breaks off
		begin()
		close(done)
	}()
	select {
	case <-time.After(wait):
	case <-t.Context().Done():
	}
	s.signal(t, syscall.SIGKILL)
	<-done
	found = slices.Sorted(maps.Keys(s.remains(t, nil)))
	return serve(t, s.home), found
}

// sandboxID matches the ids of the sandboxes of sessions.
var sandboxID = regexp.MustCompile(`\bs[a-z2-7]{16}-[0-9a-f]{4}\b`)

// remains describes the leftovers of each sandbox of a home: files, processes, and control groups, including
// those named in others.
func (s *server) remains(t testing.TB, others []string) map[string]string {
	t.Helper()
	of := map[string]string{}
	dirs, err := os.ReadDir(filepath.Join(s.home, "run"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		of[d.Name()] += " files"
	}
	for _, line := range traces(t, s.home) {
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

// sound checks that a home has exactly what its sessions need: one sandbox for each running session, one
// snapshot for each hibernated session, and the checkpoints.
func (s *server) sound(t testing.TB, found []string) {
	t.Helper()
	list, err := s.Sessions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	awake, saved := map[string]bool{}, 0
	for _, x := range list {
		checkpoints, err := s.Checkpoints(t.Context(), x.ID)
		if err != nil {
			t.Fatal(err)
		}
		saved += len(checkpoints)
		switch x.State {
		case cellhold.SessionReady:
			awake[string(x.ID)] = true
		case cellhold.SessionHibernated:
			saved++
		default:
			t.Errorf("session %s is %s, %s", x.ID, x.State, x.Reason)
		}
	}
	want := " files process"
	if os.Geteuid() == 0 {
		want += " cgroup"
	}
	for name, what := range s.remains(t, found) {
		session, _, _ := strings.Cut(name, "-")
		if !awake[session] {
			t.Errorf("nobody's:%s of %s", what, name)
		} else if what != want {
			t.Errorf("of the sandbox %s there is:%s, and not:%s", name, what, want)
		}
		delete(awake, session) // a second sandbox would be a stray
	}
	if len(awake) > 0 {
		t.Errorf("without a sandbox: %v", awake)
	}
	entries, err := os.ReadDir(filepath.Join(s.home, "snapshots"))
	if err != nil || len(entries) != saved {
		t.Errorf("%d saved states are needed, and there are %v, %v", saved, entries, err)
	}
}

func TestForksOfAKilledServerAreCompleteOrAbsent(t *testing.T) {
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
		s.sound(t, found)
		list, err := s.Sessions(t.Context())
		if err != nil || len(list) > 1+n {
			t.Fatalf("%d sessions, %v", len(list), err)
		}
		for _, f := range list {
			if f.ID == id {
				continue
			}
			s.whole(t, f, id, fmt.Sprint(round))
			if err := s.DeleteSession(t.Context(), f.ID); err != nil {
				t.Error(err)
			}
		}
		if got := s.must(t, id, "x += 1; x"); got != fmt.Sprint(round+1) {
			t.Fatalf("x of the parent is %s, want %d", got, round+1)
		}
		s.sound(t, found)
	}
}

// whole checks that a session is a complete fork.
func (s *server) whole(t testing.TB, f cellhold.Session, parent cellhold.SessionID, x string) {
	t.Helper()
	if f.Parent != parent || f.State != cellhold.SessionReady {
		t.Errorf("%+v", f)
		return
	}
	if got := s.file(t, f.ID, "o.txt"); got != "kept" {
		t.Errorf("the output file of a fork has %q", got)
	}
	if got := s.must(t, f.ID, "x"); got != x {
		t.Errorf("x of a fork is %s, and not %s", got, x)
	}
	if n := s.countEvents(t, f.ID); n[cellhold.EventSessionForked] != 1 {
		t.Errorf("the events of a fork: %v", n)
	}
	if book := s.book(t, f.ID); !strings.Contains(book, "'kept'") {
		t.Errorf("the notebook of a fork:\n%s", book)
	}
}

func TestARollbackOfAKilledServerIsDoneOrNotStarted(t *testing.T) {
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
		s.sound(t, found)
		done += s.oneOfTwo(t, id, gone.ID, fmt.Sprintf("# round %d.", round))
		s.sound(t, found)
	}
	if got := s.countEvents(t, id)[cellhold.EventSessionRolledBack]; got != done {
		t.Errorf("the session was rolled back %d times by its events, and %d times by its state", got, done)
	}
}

// oneOfTwo checks that a session has the complete state before a cell, and returns 1, or the complete state
// after it, and returns 0.
func (s *server) oneOfTwo(t testing.TB, id cellhold.SessionID, cell cellhold.CellID, mark string) int {
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
			t.Errorf("rolled back, and it has %s, and not %s", has, want)
		}
		return 1
	case "after after new.txt o.txt":
		if want := "[new.txt o.txt] after false true"; has != want {
			t.Errorf("not rolled back, and it has %s, and not %s", has, want)
		}
		return 0
	}
	t.Fatalf("in between: %s, with %s", inside, has)
	return 0
}
