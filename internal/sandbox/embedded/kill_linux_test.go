package embedded_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/embedded"
)

// The test runs itself as a server to be killed.
var (
	roleFlag = flag.String("role", "", "what to be, other than a test")
	idFlag   = flag.String("id", "", "the sandbox that a server makes")
)

func play(role string) int {
	ground = *groundFlag
	err := fmt.Errorf("unknown role %q", role)
	switch role {
	case "serve":
		err = serve()
	case "no-namespaces":
		err = withoutNamespaces()
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// serve is a server that makes a sandbox and then talks to it until it is killed.
func serve() error {
	d, err := embedded.New(embedded.Options{Dir: ground + "/run", Guest: ground + "/bin/guest"})
	if err != nil {
		return err
	}
	fmt.Println("creating")
	box, err := d.Create(context.Background(), spec(*idFlag))
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

// startServer starts a server and waits for a line of its.
func startServer(t *testing.T, id, line string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-role=serve", "-ground="+ground, "-id="+id)
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
	_ = cmd.Wait() // says that it was killed
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
		t.Error("it was adopted from a living server")
	}
	if err := d.Remove(t.Context(), sandbox.ID(name("owned"))); err == nil {
		t.Error("it was removed from a living server")
	}
	kill(t, server)
	if err := d.Remove(t.Context(), sandbox.ID(name("owned"))); err != nil {
		t.Error(err)
	}
}

func TestACreationKilledAnywhereLeavesNothingAfterRemove(t *testing.T) {
	d := open(t)
	defer d.Close()
	before := leftovers(t)
	before["zombies"] = zombies()
	const step, last = 7 * time.Millisecond, 220 * time.Millisecond // a creation takes about 150
	for delay := time.Duration(0); delay < last; delay += step {
		server := startServer(t, name("half-made"), "creating")
		<-time.After(delay)
		kill(t, server)
		infos, err := d.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range infos {
			if err := d.Remove(t.Context(), i.ID); err != nil {
				t.Errorf("killed after %v: %v", delay, err)
			}
		}
		after := leftovers(t)
		after["zombies"] = zombies()
		if diff := cmp.Diff(before, after); diff != "" {
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
