package install

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cellhold/internal/guestapi"
)

// serveCode serves an installer's socket for code. It returns a function that sends a request there, and returns
// the answer.
func serveCode(t *testing.T) (*Installer, func(text string) string) {
	t.Helper()
	r, _ := newInstaller(t, func(context.Context, map[string]string) Ended { return Ended{} })
	at := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { r.ServeCode(ctx, ln) })
	t.Cleanup(func() { cancel(); run.Wait() })
	return r, func(text string) string {
		c, err := net.Dial("unix", at)
		if err != nil {
			t.Error(err)
			return ""
		}
		defer c.Close()
		if _, err := io.WriteString(c, text); err != nil {
			return "not taken"
		}
		answer, _ := io.ReadAll(c)
		return string(answer)
	}
}

// host returns the agent's end of a connection of the host, which answers one request.
func host(run *sync.WaitGroup, answer string) net.Conn {
	ours, theirs := net.Pipe()
	run.Go(func() {
		defer ours.Close()
		if line, err := bufio.NewReader(ours).ReadString('\n'); err == nil {
			fmt.Fprintf(ours, answer, strings.TrimSpace(line))
		}
	})
	return theirs
}

func TestARequestOfCodeReachesTheHostAndItsLinesComeBack(t *testing.T) {
	r, ask := serveCode(t)
	var run sync.WaitGroup
	defer run.Wait()
	r.relay.offer(host(&run, "{\"wait\":true}\n{\"done\":%s}\n"))
	if got := ask("{}\n"); got != "{\"wait\":true}\n{\"done\":{}}\n" {
		t.Errorf("the program got %q, want both lines of the host", got)
	}
	dead, theirs := net.Pipe() // the host of this connection has ended; the next offer replaces the connection
	dead.Close()
	r.relay.offer(theirs)
	r.relay.offer(host(&run, "{\"done\":%s}\n"))
	if got := ask("[1]\n"); got != "{\"done\":[1]}\n" {
		t.Errorf("the program got %q, want the answer of the new host", got)
	}
	if got := ask(strings.Repeat("x", guestapi.MaxCodeRequest+1) + "\n"); got != "not taken" && !strings.Contains(got, "must be one line") {
		t.Errorf("a request that is too long: %.80q", got)
	}
}

func TestAProgramGetsAnErrorWithoutAHostAndWithASilentHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, silent := range []bool{false, true} {
			d := newRelay()
			if silent {
				ours, theirs := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, ours) }()
				defer ours.Close()
				d.offer(theirs)
			}
			program, theirs := net.Pipe()
			begun := time.Now()
			done := make(chan struct{})
			go func() { defer close(done); d.serve(t.Context(), theirs); theirs.Close() }()
			_, _ = io.WriteString(program, "{}\n")
			var line guestapi.CodeLine
			if err := json.NewDecoder(program).Decode(&line); err != nil || line.Done == nil || line.Done.Error != noHost {
				t.Errorf("the program got %+v, %v, want the error that no host answers", line, err)
			}
			if took := time.Since(begun); took < hostTime || took > guestapi.CodeSilence {
				t.Errorf("the answer took %v", took)
			}
			program.Close()
			<-done
		}
	})
}

func TestOnlyModulesOfOtherPackagesAreReportedForAFailedImport(t *testing.T) {
	changes := []guestapi.PackageChange{{Name: "new", After: "1", Modules: []string{"new", "_new"}}, {Name: "old", Before: "1", After: "2", Modules: []string{"old"}}}
	found := failedImports(changes, map[string][]string{"new": {"_new.core", "lib.sub", "lib.other", "bad name"}, "_new": {"lib"}, "old": {"lib"}, "none": {"lib"}})
	if len(found) != 1 || found[0] != (guestapi.LoadedModule{Package: "new", Module: "lib", Absent: true}) {
		t.Errorf("found %+v, want only lib", found)
	}
}
