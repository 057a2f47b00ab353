package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cellhold"
	"cellhold/client"
)

// sandboxRecord is what the driver records about a sandbox.
type sandboxRecord struct {
	Sentry, Gofer struct{ PID int }
}

// onlySandbox returns the record of the only sandbox in a folder of sandboxes.
func onlySandbox(t testing.TB, run string) (r sandboxRecord) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(run, "*", "record.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("got the records %v, %v; want one", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil || r.Sentry.PID == 0 || r.Gofer.PID == 0 {
		t.Fatalf("got the record %s, %v; want two processes", text, err)
	}
	return r
}

// watchProcess returns a function that waits for the end of a process.
func watchProcess(t testing.TB, pid int) (await func()) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		defer unix.Close(fd)
		for end := time.Now().Add(time.Minute); ; {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Until(end).Milliseconds()))
			if n == 1 {
				return
			}
			if !errors.Is(err, unix.EINTR) || time.Now().After(end) {
				t.Fatalf("process %d has not ended within a minute (%v)", pid, err)
			}
		}
	}
}

// killProcess kills a process of a sandbox, and waits for its end.
func killProcess(t testing.TB, pid int) {
	t.Helper()
	await := watchProcess(t, pid)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	await()
}

// A process on the host serves the files to gVisor. Without it, each access to a file is an error.
func TestASandboxThatCannotReadItsFilesEnds(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	s := serve(t, home)
	id := s.session(t, client.CreateSession{})
	run := filepath.Join(home, "run")
	s.hibernate(t, id) // gVisor itself ends only sandboxes that were not restored
	c, err := s.Submit(t.Context(), id, client.Code{Code: "print(1, flush=True); import time; time.sleep(600)"})
	if err != nil {
		t.Fatal(err)
	}
	s.awaitText(t, c)
	killProcess(t, onlySandbox(t, run).Gofer.PID)
	if c, err = s.Wait(t.Context(), id, c.ID); err != nil || c.Status != cellhold.StatusLost || !strings.Contains(c.Cause, "file proxy") {
		t.Errorf("the cell ended with %s (%s), %v; want lost, because of the files", c.Status, c.Cause, err)
	}
	if _, err := s.Restart(t.Context(), id, ""); err != nil {
		t.Fatal(err)
	}
	s.must(t, id, "import os; os.listdir('/mnt/data')")
	s.hibernate(t, id)
	s.must(t, id, "os.listdir('/mnt/data')")

	// The same while no server runs.
	s.signal(t, syscall.SIGKILL)
	left := onlySandbox(t, run)
	killProcess(t, left.Gofer.PID)
	ended := watchProcess(t, left.Sentry.PID)
	s = serve(t, home)
	ended()
	if x, err := s.Session(t.Context(), id); err != nil || x.State != cellhold.SessionEnded || x.Reason != cellhold.EndLost {
		t.Errorf("the session is %s (%s), %v; want ended (lost)", x.State, x.Reason, err)
	}
	if !strings.Contains(s.log.String(), "file proxy") {
		t.Errorf("the log does not name the reason: %s", s.log)
	}
	if left := s.leftovers(t, []string{string(id) + "-0001", string(id) + "-0002", string(id) + "-0003"}); len(left) > 0 {
		t.Errorf("got the leftovers %v, want none", left)
	}
}

// The folder of a sandbox can be deleted by hand. The processes and the control group then still name the sandbox.
func TestASandboxWhoseFolderWasDeletedIsRemovedAtTheNextStart(t *testing.T) {
	t.Parallel()
	home, other := newHome(t), newHome(t)
	s, neighbour := serve(t, home), serve(t, other)
	s.session(t, client.CreateSession{})
	theirs := neighbour.session(t, client.CreateSession{})
	run := filepath.Join(home, "run")
	ended := watchProcess(t, onlySandbox(t, run).Sentry.PID)
	s.signal(t, syscall.SIGKILL)
	var found []string
	for name := range s.leftovers(t, nil) {
		found = append(found, name)
	}
	if err := os.RemoveAll(run); err != nil {
		t.Fatal(err)
	}
	s = serve(t, home)
	ended()
	if left := s.leftovers(t, found); len(left) > 0 {
		t.Errorf("got the leftovers %v, want none", left)
	}
	neighbour.must(t, theirs, "1")

	// If the processes ended too, only the control group is left.
	s.session(t, client.CreateSession{})
	of := onlySandbox(t, run)
	s.signal(t, syscall.SIGKILL)
	for name := range s.leftovers(t, nil) {
		found = append(found, name)
	}
	goferEnds := watchProcess(t, of.Gofer.PID)
	killProcess(t, of.Sentry.PID)
	goferEnds()
	if err := os.RemoveAll(run); err != nil {
		t.Fatal(err)
	}
	s = serve(t, home)
	if left := s.leftovers(t, found); len(left) > 0 {
		t.Errorf("got the leftovers %v, want none", left)
	}
}
