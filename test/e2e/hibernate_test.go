package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// hibernate hibernates a session. The request must succeed.
func (s *server) hibernate(t testing.TB, id cellhold.SessionID) {
	t.Helper()
	x, err := s.Hibernate(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if x.State != cellhold.SessionHibernated {
		t.Fatalf("the session is %s, want hibernated", x.State)
	}
}

// sandboxProcesses returns the command lines of the runsc processes of a home.
func sandboxProcesses(t testing.TB, home string) []string {
	t.Helper()
	var found []string
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		line, err := os.ReadFile(p)
		if err == nil && bytes.Contains(line, []byte("runsc")) && bytes.Contains(line, []byte(home+"/")) {
			found = append(found, string(bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
		}
	}
	return found
}

// sessionSnapshots returns the snapshots of sessions in a home, but not the snapshots of templates.
func sessionSnapshots(t testing.TB, home string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(home, "snapshots", "s*-[hcf]-*"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// counter is code with state of each kind: a thread, a generator, an open file, variables and files.
const counter = `
import threading, time, random
ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        time.sleep(0.02)
threading.Thread(target=tick, daemon=True).start()
def numbers():
    n = 0
    while True:
        n += 1
        yield n
g = numbers()
next(g)
handle = open('/workspace/open.txt', 'w')
handle.write('before ')
x = {'a': [1, 2, 3]}
open('/workspace/note.txt', 'w').write('on disk')
open('/tmp/t.txt', 'w').write('in tmp')
open('/mnt/data/output/out.txt', 'w').write('kept')
'ready'`

func TestAHibernatedSessionContinuesUnchanged(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	if _, err := s.AddKernel(t.Context(), id, "bash", ""); err != nil {
		t.Fatal(err)
	}
	s.must(t, id, counter)
	shell := func(code string) string {
		t.Helper()
		c, err := s.Execute(t.Context(), id, client.Code{Code: code, Kernel: "bash"})
		if err != nil || c.Status != cellhold.StatusOK {
			t.Fatalf("%s: %s %s, %v", code, c.Status, text(c), err)
		}
		return strings.TrimSpace(text(c))
	}
	shell("WORD=kept; cd /tmp")
	before := s.must(t, id, "ticks")
	s.hibernate(t, id)
	if left := sandboxProcesses(t, s.home); len(left) > 0 {
		t.Errorf("processes of a hibernated session:\n%s\nwant no process", strings.Join(left, "\n"))
	}
	if list, err := s.Sessions(t.Context()); err != nil || list[0].State != cellhold.SessionHibernated || list[0].Kernels[0].State != cellhold.KernelIdle {
		t.Errorf("got the sessions %+v, %v; want a hibernated one with an idle kernel", list, err)
	}
	// Reads do not resume the session.
	if cells, err := s.Cells(t.Context(), id); err != nil || len(cells) == 0 {
		t.Errorf("got %d cells, %v; want at least 1", len(cells), err)
	}
	if err := s.Notebook(t.Context(), id, new(bytes.Buffer)); err != nil {
		t.Error(err)
	}
	if x, err := s.Session(t.Context(), id); err != nil || x.State != cellhold.SessionHibernated {
		t.Errorf("after the reads the session is %s (%v), want hibernated", x.State, err)
	}
	begun := time.Now()
	if got := s.must(t, id, "next(g), x, open('/workspace/note.txt').read(), open('/tmp/t.txt').read()"); got != "(2, {'a': [1, 2, 3]}, 'on disk', 'in tmp')" {
		t.Errorf("after the hibernation: %s, want %s", got, "(2, {'a': [1, 2, 3]}, 'on disk', 'in tmp')")
	}
	t.Logf("the first answer took %s", time.Since(begun))
	if got := shell("echo $WORD $PWD"); got != "kept /tmp" {
		t.Errorf("Bash prints %q, want %q", got, "kept /tmp")
	}
	if got := s.must(t, id, "handle.write('after'); handle.flush(); open('/workspace/open.txt').read()"); got != "'before after'" {
		t.Errorf("the open file has %s, want %s", got, "'before after'")
	}
	s.must(t, id, fmt.Sprintf("import time\nwhile ticks < %s + 5: time.sleep(0.01)", before)) // the thread continues
	if len(sessionSnapshots(t, s.home)) > 0 {
		s.awaitNoSnapshots(t)
	}
}

// awaitNoSnapshots waits until the home has no snapshots of sessions. The server removes them after its answer.
func (s *server) awaitNoSnapshots(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if len(sessionSnapshots(t, s.home)) == 0 {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
	t.Errorf("got the snapshots %v after 20 s, want 0", sessionSnapshots(t, s.home))
}

func TestAHibernatedSessionResumesAfterAKillOfTheServer(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	first := serve(t, home)
	id := first.session(t, client.CreateSession{})
	first.must(t, id, "x = 42; open('/mnt/data/output/f.txt', 'w').write('f')")
	first.hibernate(t, id)
	first.signal(t, syscall.SIGKILL)
	second := serve(t, home)
	if x, err := second.Session(t.Context(), id); err != nil || x.State != cellhold.SessionHibernated || x.Kernels[0].State != cellhold.KernelIdle {
		t.Fatalf("got the session %+v, %v; want a hibernated one with an idle kernel", x, err)
	}
	if got := second.must(t, id, "x"); got != "42" {
		t.Errorf("x is %s, want 42", got)
	}
	second.hibernate(t, id)
	if err := second.DeleteSession(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	second.awaitNoSnapshots(t)
}

func TestConcurrentRequestsResumeASessionOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "n = 0")
	s.hibernate(t, id)
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			c, err := s.Execute(t.Context(), id, client.Code{Code: "n += 1"})
			if err != nil || c.Status != cellhold.StatusOK {
				t.Errorf("a cell ended with %s (%v), want ok", c.Status, err)
			}
		})
	}
	wg.Wait()
	if got := s.must(t, id, "n"); got != "12" {
		t.Errorf("n is %s, want 12", got)
	}
	if n := s.countEvents(t, id)[cellhold.EventSessionResumed]; n != 1 {
		t.Errorf("the session was resumed %d times, want 1", n)
	}
}

// countEvents runs a last cell, and counts the events of the session by type up to this cell. The numbers of the
// events must have no gap.
func (s *server) countEvents(t testing.TB, id cellhold.SessionID) map[cellhold.EventType]int {
	t.Helper()
	last := s.must(t, id, "'the end'")
	n, next := map[cellhold.EventType]int{}, int64(1)
	for ev, err := range s.Watch(t.Context(), id, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Seq != next {
			t.Fatalf("got event %d, want %d", ev.Seq, next)
		}
		next++
		n[ev.Type]++
		if ev.Type == cellhold.EventExecuteResult && bytes.Contains(ev.Content, []byte(strings.Trim(last, "'"))) {
			return n
		}
	}
	return n
}

func TestAWatchThroughHibernationsGetsEveryEventOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	// A thread continues to print, with or without a reader.
	s.must(t, id, `
import threading, time
stop = False
def talk():
    i = 0
    while not stop:
        print('line', i, flush=True)
        i += 1
        time.sleep(0.005)
    print('said', i, flush=True)
t = threading.Thread(target=talk); t.start()`)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	printed := make(chan string, 1)
	go func() {
		var out strings.Builder
		next := int64(1)
		for ev, err := range s.Watch(ctx, id, 0) {
			if err != nil || ev.Seq != next {
				t.Errorf("got event %d, %v; want %d", ev.Seq, err, next)
				break
			}
			next++
			var c cellhold.StreamContent
			if ev.Type == cellhold.EventStream && json.Unmarshal(ev.Content, &c) == nil {
				out.WriteString(c.Text)
			}
			if text := out.String(); strings.Contains(text, "said") && strings.HasSuffix(text, "\n") {
				break // the last line can be split over events
			}
		}
		printed <- out.String()
	}()
	for range 3 {
		s.hibernate(t, id)
		s.must(t, id, "time.sleep(0.2)")
	}
	s.must(t, id, "stop = True; t.join()")
	out := <-printed
	var want strings.Builder
	n := strings.Count(out, "line ")
	for i := range n {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	fmt.Fprintf(&want, "said %d\n", n)
	if out != want.String() {
		t.Errorf("got %d lines\n%s\nwant each line once and in order", n, out)
	}
}

func TestABusySessionDoesNotHibernate(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t), "--hibernate-after", "1s")
	id := s.session(t, client.CreateSession{})
	c, err := s.Submit(t.Context(), id, client.Code{Code: "import time\nprint('begun', flush=True)\ntime.sleep(3)"})
	if err != nil {
		t.Fatal(err)
	}
	s.awaitText(t, c)
	if _, err := s.Hibernate(t.Context(), id); cellhold.KindOf(err) != cellhold.Conflict || !strings.Contains(err.Error(), "is running or queued") {
		t.Errorf("the hibernation of a busy session: got %v, want kind conflict and \"is running or queued\"", err)
	}
	if c, err = s.Wait(t.Context(), id, c.ID); err != nil || c.Status != cellhold.StatusOK {
		t.Fatalf("the cell ended with %s, %v; want ok", c.Status, err)
	}
	// Without use, the session hibernates after the time of --hibernate-after.
	var idle cellhold.SessionHibernatedContent
	for ev, err := range s.Watch(t.Context(), id, c.Last) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Type == cellhold.EventSessionHibernated {
			if err := ev.Decode(&idle); err != nil || !idle.Idle {
				t.Errorf("the event is %s (%v), want idle true", ev.Content, err)
			}
			break
		}
	}
	if got := s.must(t, id, "1 + 1"); got != "2" {
		t.Errorf("after the idle hibernation: %s, want 2", got)
	}
}

func TestAHibernatedSessionThatExpiresLeavesNoSnapshot(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t), "--idle-timeout", "12s")
	id := s.session(t, client.CreateSession{})
	if _, err := s.Checkpoint(t.Context(), id, "one"); err != nil {
		t.Fatal(err)
	}
	s.hibernate(t, id)
	if n := len(sessionSnapshots(t, s.home)); n != 2 {
		t.Errorf("got %d snapshots, want 2", n)
	}
	for ev, err := range s.Watch(t.Context(), id, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Type == cellhold.EventSessionEnded && !bytes.Contains(ev.Content, []byte("expired")) {
			t.Errorf("the session ended with %s, want expired", ev.Content)
		}
	}
	s.awaitNoSnapshots(t)
}

func TestASessionIsKeptIfTheServerIsKilledDuringHibernateOrResume(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	s := serve(t, home)
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "x = 0")
	for i, wait := range []time.Duration{5, 40, 80, 120, 180, 250, 350} {
		wait *= time.Millisecond
		for _, act := range []func(context.Context, cellhold.SessionID) (cellhold.Session, error){s.Hibernate, s.Resume} {
			done := make(chan struct{})
			go func() {
				_, _ = act(t.Context(), id) // the kill breaks the connection
				close(done)
			}()
			select {
			case <-time.After(wait):
			case <-t.Context().Done():
			}
			s.signal(t, syscall.SIGKILL)
			<-done
			s = serve(t, home)
			if i%2 == 1 { // also test two kills without a check between them
				break
			}
		}
		if got := s.must(t, id, "x += 1; x"); got != fmt.Sprint(i+1) {
			t.Fatalf("after %s: x is %s, want %d", wait, got, i+1)
		}
		if n := len(sessionSnapshots(t, home)); n > 1 {
			t.Errorf("got %d snapshots, want at most 1", n)
		}
	}
	s.awaitNoSnapshots(t)
	if n := len(sandboxProcesses(t, home)); n == 0 {
		t.Error("got 0 runsc processes of the ready session, want at least 1: otherwise the next check cannot fail")
	}
	if err := s.DeleteSession(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if left := sandboxProcesses(t, home); len(left) > 0 {
		t.Errorf("processes of a deleted session:\n%s\nwant no process", strings.Join(left, "\n"))
	}
}
