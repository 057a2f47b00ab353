package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded"
	"cellhold/internal/sandbox/embedded/process"
)

// The test binary runs itself as a server that is killed.
var (
	roleFlag  = flag.String("role", "", "role of this process; empty runs the tests")
	idFlag    = flag.String("id", "", "the sandbox that a server makes")
	fromFlag  = flag.String("from", "", "the snapshot that the server restores or makes")
	privately = flag.Bool("private", false, "the server's sandboxes end with it")
)

func play(role string) int {
	ground = *groundFlag
	err := fmt.Errorf("unknown role %q", role)
	switch role {
	case "serve":
		err = serve()
	case "save":
		err = save()
	case "no-namespaces":
		err = withoutNamespaces()
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// serve creates a sandbox and sends requests to it until this process is killed.
func serve() error {
	d, err := embedded.New(embedded.Options{Dir: filepath.Join(*homeFlag, "run"), Guest: guestPath(), Runner: process.Self, Private: *privately})
	if err != nil {
		return err
	}
	fmt.Println("creating")
	s := spec(*idFlag)
	s.From = *fromFlag
	box, err := d.Create(context.Background(), s)
	if err != nil {
		return err
	}
	c := guestClient(box)
	if _, err := c.Get("http://guest/self?what=write&arg=/workspace/mark"); err != nil {
		return err
	}
	for {
		resp, err := c.Get("http://guest/health")
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		fmt.Println("busy")
	}
}

func guestClient(box sandbox.Sandbox) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return box.Dial(ctx) },
	}}
}

// startServer starts a server and waits for a line of its output.
func startServer(t *testing.T, id, line string) *exec.Cmd {
	t.Helper()
	return startRole(t, line, "-role=serve", "-id="+id)
}

func startRole(t *testing.T, line string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", append([]string{"-ground=" + ground, "-home=" + home(t)}, args...)...)
	cmd.Args[0] = os.Args[0]
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(stdout); ; {
		if !lines.Scan() {
			t.Fatalf("the server ended before it said %q", line)
		}
		if lines.Text() == line {
			break
		}
		t.Logf("server: %s", lines.Text())
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	return cmd
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the error says that it was killed
	awaitNewCommands(t)
}

// awaitNewCommands waits for commands that a server started just before it was killed, and that do not have their own name
// yet. They have become children of this process. They notice the death of their server and end.
func awaitNewCommands(t *testing.T) {
	t.Helper()
	for _, c := range childrenOf(os.Getpid()) {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", c.pid))
		if err != nil || len(line) == 0 || strings.HasPrefix(string(line), "runsc") {
			continue // it is ending, or has its name
		}
		if err := unix.Waitid(unix.P_PID, c.pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
			t.Errorf("wait for a command of the killed server: %v", err)
		}
	}
}

// TestACommandWhoseServerHasDiedDoesNothing: it would create the folder of a removed sandbox again.
func TestACommandWhoseServerHasDiedDoesNothing(t *testing.T) {
	root := filepath.Join(home(t), "gvisor")
	cmd := exec.Command("/proc/self/exe", "--root="+root, "run", "--bundle", home(t), "x")
	cmd.Args[0] = "runsc-of-" + strconv.Itoa(os.Getppid()) // not the process that starts the command
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "the server that started this command has died") {
		t.Errorf("the command ended with %v and printed %s", err, out)
	}
	if _, err := os.Stat(root); err == nil {
		t.Error("the command created a folder")
	}
}

func TestAKilledServerLosesNoSandbox(t *testing.T) {
	d := open(t)
	defer d.Close()
	before := leftovers(t)
	for i := range 3 {
		id := name(fmt.Sprintf("killed-%d", i))
		kill(t, startServer(t, id, "busy"))
		box, err := d.Adopt(t.Context(), sandbox.ID(id))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := guestClient(box).Get("http://guest/self?what=read&arg=/workspace/mark")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if want := `{"Text":"x","Err":""}` + "\n"; string(body) != want {
			t.Errorf("the file is %s, want %s", body, want)
		}
		if err := box.Destroy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(before, leftovers(t)); diff != "" {
		t.Errorf("left behind (-before +after):\n%s", diff)
	}
}

func TestASandboxHasOneOwner(t *testing.T) {
	d := open(t)
	defer d.Close()
	server := startServer(t, name("owned"), "busy")
	if _, err := d.Adopt(t.Context(), sandbox.ID(name("owned"))); err == nil {
		t.Error("the sandbox of a running server was adopted")
	}
	if err := d.Remove(t.Context(), sandbox.ID(name("owned"))); err == nil {
		t.Error("the sandbox of a running server was removed")
	}
	kill(t, server)
	if err := d.Remove(t.Context(), sandbox.ID(name("owned"))); err != nil {
		t.Error(err)
	}
}

func TestACreationKilledAnywhereLeavesNothingAfterRemove(t *testing.T) {
	d := open(t)
	defer d.Close()
	const step, last = 7 * time.Millisecond, 220 * time.Millisecond // a creation takes about 150
	killAnywhere(t, d, step, last, "-role=serve", "-id="+name("half-made"))
}

func TestARestoreKilledAnywhereLeavesNothingAfterRemove(t *testing.T) {
	d := open(t)
	defer d.Close()
	box, err := d.Create(t.Context(), spec(name("origin")))
	if err != nil {
		t.Fatal(err)
	}
	snapshot := name("kept")
	if err := errors.Join(box.Snapshot(t.Context(), snapshot), box.Destroy(t.Context())); err != nil {
		t.Fatal(err)
	}
	defer d.RemoveSnapshot(t.Context(), snapshot)
	const step, last = 16 * time.Millisecond, 320 * time.Millisecond // a restore takes about 200
	killAnywhere(t, d, step, last, "-role=serve", "-id="+name("half-made"), "-from="+snapshot)
}

// killAnywhere kills servers after increasing delays, and removes their remains.
func killAnywhere(t *testing.T, d *embedded.Driver, step, last time.Duration, args ...string) {
	t.Helper()
	before := leftovers(t)
	before["zombies"] = zombies()
	for delay := time.Duration(0); delay < last; delay += step {
		server := startRole(t, "creating", args...)
		<-time.After(delay)
		kill(t, server)
		removeAll(t, d)
		after := leftovers(t)
		after["zombies"] = zombies()
		if diff := cmp.Diff(before, after); diff != "" {
			t.Fatalf("killed after %v, left behind (-before +after):\n%s", delay, diff)
		}
	}
}

func removeAll(t testing.TB, d *embedded.Driver) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	infos, err := d.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range infos {
		if err := d.Remove(ctx, i.ID); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
}

// save saves a sandbox again and again until this process is killed.
func save() error {
	d, err := embedded.New(embedded.Options{Dir: filepath.Join(*homeFlag, "run"), Guest: guestPath(), Runner: process.Self})
	if err != nil {
		return err
	}
	box, err := d.Create(context.Background(), spec(*idFlag))
	if err != nil {
		return err
	}
	fmt.Println("saving")
	for {
		if err := box.Snapshot(context.Background(), *fromFlag); err != nil {
			return err
		}
	}
}

// TestAKilledSnapshotIsCompleteOrMissing: the sandbox, which is paused during the save, must run again.
func TestAKilledSnapshotIsCompleteOrMissing(t *testing.T) {
	first := open(t)
	defer first.Close()
	before := leftovers(t)
	const step, last = 13 * time.Millisecond, 130 * time.Millisecond // saving once takes about 80
	for delay := time.Duration(0); delay < last; delay += step {
		id := name("saved")
		server := startRole(t, "saving", "-role=save", "-id="+id, "-from="+id)
		<-time.After(delay)
		kill(t, server)
		d := open(t) // removes incomplete sandboxes
		box, err := d.Adopt(t.Context(), sandbox.ID(id))
		if err != nil {
			t.Fatalf("killed after %v: %v", delay, err)
		}
		if _, err := guestClient(box).Get("http://guest/health"); err != nil {
			t.Errorf("killed after %v: %v", delay, err)
		}
		s := spec(name("next"))
		s.From = id
		again, err := d.Create(t.Context(), s)
		if err == nil {
			err = again.Destroy(t.Context())
		} else if all, _ := d.Snapshots(t.Context()); errors.Is(err, sandbox.ErrSnapshot) && len(all) == 0 {
			err = nil
		}
		if err := errors.Join(err, box.Destroy(t.Context()), d.RemoveSnapshot(t.Context(), id), d.Close()); err != nil {
			t.Errorf("killed after %v: %v", delay, err)
		}
		if diff := cmp.Diff(before, leftovers(t)); diff != "" {
			t.Fatalf("killed after %v, left behind (-before +after):\n%s", delay, diff)
		}
	}
}

// zombies counts dead children of this process.
func zombies() int {
	n := 0
	for _, pid := range childrenOf(os.Getpid()) {
		if pid.state == "Z" {
			fmt.Println("zombie:", pid.stat)
			n++
		}
	}
	return n
}
