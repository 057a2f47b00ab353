package store

import (
	"bufio"
	"cellhold"
	"cellhold/internal/record"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestMain also runs the other server of a test. That server appends events until it is killed, and prints the number
// of each acknowledged event.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "append-for-ever" {
		appendForEver(os.Args[2], cellhold.SessionID(os.Args[3]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func appendForEver(dir string, id cellhold.SessionID) {
	ctx := context.Background()
	d, err := Open(ctx, Options{Dir: dir})
	for seq := int64(1); err == nil; seq++ {
		if err = d.Append(ctx, id, []record.Event{stream(seq, "tick")}); err == nil {
			fmt.Println(seq)
		}
	}
	fmt.Fprintln(os.Stderr, err)
}

// otherServer starts another server, and returns it with its output.
func otherServer(t *testing.T, dir string, id cellhold.SessionID) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "append-for-ever", dir, string(id))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

func TestTwoServersCannotShareADirectory(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	id := put(t, d)
	_, err := Open(t.Context(), Options{Dir: dir})
	if cellhold.KindOf(err) != cellhold.Conflict || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("got %v, want kind conflict and process %d in the message", err, os.Getpid())
	}
	must(t, d.Append(t.Context(), id, []record.Event{stream(1, "still works")}))
}

func TestAServerThatIsKilledLosesNoAcknowledgedEvent(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	id := put(t, d)
	must(t, d.Close())

	other, lines := otherServer(t, dir, id)
	for range 200 {
		lines.Scan()
	}
	must(t, other.Process.Kill())
	for lines.Scan() { // the rest of the output
	}
	acknowledged, err := strconv.ParseInt(lines.Text(), 10, 64)
	if last := lines.Text(); err != nil && last != "" {
		t.Fatalf("got %q, want a number", last)
	}
	_ = other.Wait()

	d = open(t, dir) // the lock ended with the killed process
	evs := read(t, d, id, 0)
	if n := int64(len(evs)); n < max(200, acknowledged) {
		t.Errorf("got %d events, want at least %d", n, max(200, acknowledged))
	}
	tail, _, err := d.Tail(t.Context(), id)
	must(t, err)
	if c, _ := d.Cursor(t.Context(), id, "python3", "boot1"); c != tail || tail != int64(len(evs)) {
		t.Errorf("got cursor %d, tail %d and %d events, want equal numbers", c, tail, len(evs))
	}
}
