package sandboxtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cellhold/internal/sandbox"
)

// stepTime bounds each step. A loaded machine with two cores creates a sandbox in one or two seconds; a step that
// takes longer than this hangs.
const stepTime = 60 * time.Second

type suite struct {
	Harness
	wrap func(sandbox.Driver) sandbox.Driver // nil: the driver itself
}

var serial atomic.Int64

// newID returns ids of the same length, as the contract requires.
func newID() sandbox.ID {
	return sandbox.ID(fmt.Sprintf("t%05d-%04d", os.Getpid()%100000, serial.Add(1)))
}

func (s *suite) spec() sandbox.Spec {
	spec := s.Spec
	spec.ID = newID()
	return spec
}

// open returns a driver and closes it at the end of the test.
func (s *suite) open(t *testing.T) sandbox.Driver {
	t.Helper()
	d := s.Open(t)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close driver: %v", err)
		}
	})
	if s.wrap != nil {
		return s.wrap(d)
	}
	return d
}

// create creates a sandbox and destroys it at the end of the test.
func create(t *testing.T, d sandbox.Driver, spec sandbox.Spec) sandbox.Sandbox {
	t.Helper()
	box, err := d.Create(within(t), spec)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	t.Cleanup(func() { destroy(t, box) })
	return box
}

func destroy(t *testing.T, box sandbox.Sandbox) {
	t.Helper()
	if err := box.Destroy(within(t)); err != nil {
		t.Errorf("destroy: %v", err)
	}
}

// within returns a context for one step. It outlives t.Context, for the use in cleanup functions.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), stepTime)
	t.Cleanup(cancel)
	return ctx
}

// client returns a client of the agent with its own connections.
func client(t *testing.T, box sandbox.Sandbox) *http.Client {
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return box.Dial(ctx)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// get sends a request to the agent and returns the body of the answer.
func get(ctx context.Context, c *http.Client, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://guest"+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", resp.Status)
	}
	return string(body), err
}

func mustBeHealthy(t *testing.T, box sandbox.Sandbox) {
	t.Helper()
	if _, err := get(within(t), client(t, box), "/health"); err != nil {
		t.Fatalf("ask the agent of %s: %v", box.ID(), err)
	}
}

// attempt makes the probe try something under the user's uid.
func attempt(t *testing.T, box sandbox.Sandbox, what, arg string) Attempt {
	t.Helper()
	return ask(t, box, "/try", what, arg)
}

func ask(t *testing.T, box sandbox.Sandbox, path, what, arg string) Attempt {
	t.Helper()
	query := url.Values{"what": {what}, "arg": {arg}}
	body, err := get(within(t), client(t, box), path+"?"+query.Encode())
	if err != nil {
		t.Fatalf("probe %s %s: %v", what, arg, err)
	}
	var a Attempt
	if err := json.Unmarshal([]byte(body), &a); err != nil {
		t.Fatalf("probe %s %s: %v", what, arg, err)
	}
	return a
}

// end waits for the sandbox's end.
func end(t *testing.T, box sandbox.Sandbox) sandbox.Exit {
	t.Helper()
	exit, err := box.Wait(within(t))
	if err != nil {
		t.Fatalf("wait for %s: %v", box.ID(), err)
	}
	return exit
}

// listed returns the entry of a sandbox in List.
func listed(t *testing.T, d sandbox.Driver, id sandbox.ID) (sandbox.Info, bool) {
	t.Helper()
	infos, err := d.List(within(t))
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	for _, i := range infos {
		if i.ID == id {
			return i, true
		}
	}
	return sandbox.Info{}, false
}

// BuildProbe builds the probe as dir/guest.
func BuildProbe(dir string) (string, error) {
	path := filepath.Join(dir, "guest")
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, "cellhold/internal/sandbox/sandboxtest/probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build probe: %w\n%s", err, out)
	}
	return path, nil
}

// OnHost makes the probe try something on the host: the negative control of an isolation test.
func OnHost(t *testing.T, probe, what, arg string) Attempt {
	t.Helper()
	out, err := exec.CommandContext(within(t), probe, "try", what, arg).Output()
	if err != nil {
		t.Fatalf("probe %s %s on the host: %v", what, arg, err)
	}
	var a Attempt
	if err := json.Unmarshal(out, &a); err != nil {
		t.Fatalf("probe %s %s on the host: %v", what, arg, err)
	}
	return a
}

// TinyRootfs creates the smallest possible root file system: it has only the mount points.
func TinyRootfs(dir string) error {
	for _, d := range strings.Fields("opt/cellhold/bin mnt/data workspace home/user tmp run dev/shm proc sys") {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	return nil
}
