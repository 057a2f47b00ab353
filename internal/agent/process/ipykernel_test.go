package process_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/agent"
	"cellhold/internal/agent/command"
	"cellhold/internal/agent/kernels"
	"cellhold/internal/agent/process"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
)

const patience = time.Minute

// findPython returns a Python that has ipykernel, or skips the test.
func findPython(t *testing.T) string {
	t.Helper()
	python := os.Getenv("CELLHOLD_TEST_PYTHON")
	if python == "" {
		python, _ = filepath.Abs("../../../build/testvenv/bin/python")
	}
	if out, err := exec.Command(python, "-c", "import ipykernel").CombinedOutput(); err != nil {
		t.Skipf("no Python with ipykernel: %v %s; set CELLHOLD_TEST_PYTHON, or make build/testvenv", err, out)
	}
	return python
}

// rig is one ipykernel behind a real agent and a real client.
type rig struct {
	*testing.T
	ctx      context.Context
	run      string
	launcher *process.Launcher
	client   *guest.Client
	kernel   *guest.Kernel
	last     int64
	cells    int
	unsigned atomic.Int64 // messages that were dropped because of their signature
}

// hasty has short times from the interrupt message to the signal and to the kill.
var hasty = kernels.Timing{Interrupt: 500 * time.Millisecond, Kill: 500 * time.Millisecond}

func newRig(t *testing.T) *rig {
	t.Helper()
	return newRigWith(t, hasty)
}

// newRigWith is newRig with other timeouts.
func newRigWith(t *testing.T, timing kernels.Timing) *rig {
	t.Helper()
	python := findPython(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	run, err := os.MkdirTemp("", "run") // short, because Unix limits the paths of sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	home := filepath.Join(run, "home")
	if err := os.Mkdir(home, 0o755); err != nil {
		t.Fatal(err)
	}
	configure(t, home)
	prefix := install(t, run, python)
	launcher, err := process.New(process.Options{
		Run: filepath.Join(run, "k"), Dir: home, Home: home, User: "user",
		Path: filepath.Join(prefix, "bin") + ":" + filepath.Dir(python) + ":/usr/bin:/bin",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(launcher.Close)
	r := &rig{T: t, ctx: ctx, run: run, launcher: launcher}
	a, err := agent.New(agent.Options{
		Logger:   slog.New(signatures{slog.DiscardHandler, &r.unsigned}),
		Launcher: launcher, Commands: command.Options{Spawner: launcher}, Output: filepath.Join(run, "output"),
		Timing: timing,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.serve(a)
	r.kernel = r.client.Kernel("python3")
	if err := r.kernel.Start(ctx, guestapi.StartKernel{Spec: "python3", Startup: "ready = 'yes'"}); err != nil {
		t.Fatal(err)
	}
	r.untilState(cellhold.KernelIdle)
	return r
}

// install writes the stock image's kernelspec below a directory. The kernelspec uses the given Python, and the
// modules of the image. It has no command for a stream, so these tests are about ipykernel over ZeroMQ. Package
// test/e2e tests the kernel on the stream, which needs the Python of the image. It returns the prefix of the
// kernelspec.
func install(t *testing.T, dir, python string) string {
	t.Helper()
	text, err := os.ReadFile(image + "/usr/local/share/jupyter/kernels/python3/kernel.json")
	if err != nil {
		t.Fatal(err)
	}
	modules, err := filepath.Abs(image + "/usr/local/lib/python3.13/dist-packages")
	if err != nil {
		t.Fatal(err)
	}
	var spec map[string]any
	if err := json.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	spec["argv"].([]any)[0] = python
	delete(spec["metadata"].(map[string]any)["cellhold"].(map[string]any), "stream")
	spec["env"] = map[string]string{"PYTHONPATH": modules, "PYTHONDONTWRITEBYTECODE": "1"}
	if text, err = json.Marshal(spec); err != nil {
		t.Fatal(err)
	}
	prefix := filepath.Join(dir, "prefix")
	to := filepath.Join(prefix, "share", "jupyter", "kernels", "python3")
	if err := errors.Join(os.MkdirAll(to, 0o755), os.WriteFile(filepath.Join(to, "kernel.json"), text, 0o644)); err != nil {
		t.Fatal(err)
	}
	return prefix
}

// image has the files that the stock image adds to its packages.
const image = "../../../images/python/files"

// configure gives the kernel the settings of the stock image. Without them, a kernel drops output if its reader is
// slower.
func configure(t *testing.T, home string) {
	t.Helper()
	for from, to := range map[string]string{
		"etc/ipython/ipython_kernel_config.py":                       ".ipython/profile_default/ipython_kernel_config.py",
		"usr/local/lib/python3.13/dist-packages/cellhold_figures.py": ".ipython/extensions/cellhold_figures.py",
	} {
		text, err := os.ReadFile(filepath.Join(image, from))
		if err != nil {
			t.Fatal(err)
		}
		to = filepath.Join(home, to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (r *rig) serve(a *agent.Agent) {
	r.Helper()
	ln, err := net.Listen("unix", filepath.Join(r.run, "a"))
	if err != nil {
		r.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(r.ctx))
	var served sync.WaitGroup
	served.Go(func() {
		if err := a.Run(ctx, ln); err != nil {
			r.Errorf("agent: %v", err)
		}
	})
	r.Cleanup(func() { stop(); served.Wait() })
	r.client, err = guest.New(guest.Options{Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", ln.Addr().String())
	}})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(r.client.Close)
}

// until reads the next events, up to and including the first one that fits.
func (r *rig) until(fits func(guestapi.Event) bool) []guestapi.Event {
	r.Helper()
	var seen []guestapi.Event
	for e, err := range r.kernel.Events(r.ctx, r.last) {
		if err != nil {
			r.Fatalf("%v after %d events", err, len(seen))
		}
		r.last = e.Seq
		if seen = append(seen, e); fits(e) {
			return seen
		}
	}
	r.Fatal("the events ended")
	return nil
}

func (r *rig) untilState(s cellhold.KernelState) cellhold.KernelStateContent {
	r.Helper()
	var c cellhold.KernelStateContent
	r.until(func(e guestapi.Event) bool {
		if e.Type != cellhold.EventKernelState {
			return false
		}
		c = cellhold.KernelStateContent{}
		if err := (cellhold.Event{Content: e.Content}).Decode(&c); err != nil {
			r.Fatal(err)
		}
		return c.State == s
	})
	return c
}

func (r *rig) submit(code string, timeout time.Duration) cellhold.CellID {
	r.Helper()
	r.cells++
	id := cellhold.CellID("c" + strconv.Itoa(r.cells))
	if err := r.kernel.Execute(r.ctx, guestapi.Execute{Cell: id, Code: code, Timeout: timeout}); err != nil {
		r.Fatal(err)
	}
	return id
}

// finish reads events until the cell is done. It returns the content of the last event and all text output.
func (r *rig) finish(id cellhold.CellID) (cellhold.CellDoneContent, string) {
	r.Helper()
	var out strings.Builder
	events := r.until(func(e guestapi.Event) bool { return e.Cell == id && e.Type == cellhold.EventCellDone })
	for _, e := range events {
		var c struct {
			Text          string
			Data          map[string]any
			EName, EValue string
		}
		if err := (cellhold.Event{Content: e.Content}).Decode(&c); err != nil {
			r.Fatal(err)
		}
		if plain, ok := c.Data["text/plain"]; ok {
			fmt.Fprint(&out, plain)
		}
		out.WriteString(c.Text + c.EName)
	}
	var done cellhold.CellDoneContent
	if err := (cellhold.Event{Content: events[len(events)-1].Content}).Decode(&done); err != nil {
		r.Fatal(err)
	}
	return done, out.String()
}

func (r *rig) want(code string, status cellhold.CellStatus, out string) {
	r.Helper()
	done, got := r.finish(r.submit(code, patience))
	if done.Status != status || got != out {
		r.Errorf("%s: %s %q (%s), want %s %q", code, done.Status, got, done.Cause, status, out)
	}
}

func TestIPykernelKeepsVariablesAndShowsErrors(t *testing.T) {
	r := newRig(t)
	r.want("ready", cellhold.StatusOK, "'yes'")
	r.want("x = 41; print('hello')", cellhold.StatusOK, "hello\n")
	r.want("x + 1", cellhold.StatusOK, "42")
	r.want("1/0", cellhold.StatusError, "ZeroDivisionError")
	r.want("input('?')", cellhold.StatusError, "StdinNotImplementedError")
	r.want("x", cellhold.StatusOK, "41")
}

func TestIPykernelIsInterrupted(t *testing.T) {
	// These timeouts are long. On a busy machine, a second signal can come while IPython formats the exception.
	// Then IPython prints the signal instead.
	r := newRigWith(t, kernels.Timing{Interrupt: patience, Kill: patience})
	r.want("x = 1", cellhold.StatusOK, "")
	id := r.submit("print('on', flush=True)\nwhile True: pass", patience)
	r.until(func(e guestapi.Event) bool { return e.Type == cellhold.EventStream })
	if err := r.kernel.Interrupt(r.ctx, ""); err != nil {
		t.Fatal(err)
	}
	done, out := r.finish(id)
	if done.Status != cellhold.StatusInterrupted || out != "KeyboardInterrupt" {
		t.Errorf("%s %q, want interrupted by a KeyboardInterrupt", done.Status, out)
	}
	r.want("x", cellhold.StatusOK, "1")
}

func TestIPykernelStopsAtItsDeadlineOrIsKilled(t *testing.T) {
	r := newRig(t)
	r.want("x = 1", cellhold.StatusOK, "")
	if done, _ := r.finish(r.submit("while True: pass", 100*time.Millisecond)); done.Status != cellhold.StatusTimeout {
		t.Errorf("an endless loop: %+v, want timeout", done)
	}
	r.want("x", cellhold.StatusOK, "1")

	stubborn := "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass"
	id := r.submit(stubborn, 100*time.Millisecond)
	if dead := r.untilState(cellhold.KernelDead); dead.Cause != cellhold.StatusTimeout {
		t.Errorf("%+v, want dead by timeout", dead)
	}
	if done, _ := r.finish(id); done.Status != cellhold.StatusTimeout {
		t.Errorf("a stubborn loop: %+v, want timeout", done)
	}
	r.untilState(cellhold.KernelIdle)
	r.want("x", cellhold.StatusError, "NameError")
	r.want("ready", cellhold.StatusOK, "'yes'")
}

func TestIPykernelDiesWithACause(t *testing.T) {
	tests := []struct {
		name, code string
		status     cellhold.CellStatus
		cause      string
	}{
		{"exit", "import os; os._exit(7)", cellhold.StatusExit, "exit status 7"},
		{"segfault", "import ctypes; ctypes.string_at(0)", cellhold.StatusSignal, "signal 11 (segmentation fault)"},
		{"kill", "import os; os.kill(os.getpid(), 9)", cellhold.StatusSignal, "signal 9 (killed)"},
		{"stopped", "import os; os.kill(os.getpid(), 19)", cellhold.StatusTimeout, "variables are lost"},
	}
	r := newRig(t)
	for _, test := range tests {
		timeout := patience
		if test.status == cellhold.StatusTimeout {
			timeout = 2 * time.Second
		}
		done, out := r.finish(r.submit("import time; print('last', flush=True); time.sleep(0.3)\n"+test.code, timeout))
		if done.Status != test.status || !strings.Contains(done.Cause, test.cause) || !strings.Contains(out, "last\n") {
			t.Errorf("%s: %s %q %q, want %s %q", test.name, done.Status, done.Cause, out, test.status, test.cause)
		}
		if err := r.kernel.Restart(r.ctx); err != nil {
			t.Fatal(err)
		}
		r.untilState(cellhold.KernelIdle)
	}
	r.want("ready", cellhold.StatusOK, "'yes'")
}

func TestAFloodOfIPykernelArrivesCompletely(t *testing.T) {
	r := newRig(t)
	done, out := r.finish(r.submit("for i in range(5000): display(i)", patience))
	if done.Status != cellhold.StatusOK || len(out) != 10+90*2+900*3+4000*4 {
		t.Errorf("%s with %d bytes", done.Status, len(out))
	}
	done, out = r.finish(r.submit("print('x' * 10_000_000)", patience))
	if done.Status != cellhold.StatusOK || len(out) != 10_000_001 {
		t.Errorf("%s with %d bytes", done.Status, len(out))
	}
}

func TestChildrenDieWithTheirKernel(t *testing.T) {
	r := newRig(t)
	_, out := r.finish(r.submit("import subprocess\n"+
		"a = subprocess.Popen(['sleep', '1000'])\n"+
		"b = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"+
		"print(a.pid, b.pid)", patience))
	if err := r.kernel.Restart(r.ctx); err != nil {
		t.Fatal(err)
	}
	r.untilState(cellhold.KernelIdle)
	for _, pid := range strings.Fields(out) {
		n, err := strconv.Atoi(pid)
		if err != nil {
			t.Fatalf("pids %q", out)
		}
		if state := stateOf(n); state != "" && state != "Z" { // a test does not reap orphans
			t.Errorf("process %d still exists in state %s", n, state)
		}
	}
}

func stateOf(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	return strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))[0]
}
