package jupyter_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"cellhold/internal/jupyter"
)

// python returns a Python with ipykernel.
func python(t testing.TB) string {
	t.Helper()
	p := os.Getenv("CELLHOLD_TEST_PYTHON")
	if p == "" {
		p = filepath.Join("..", "..", "build", "testvenv", "bin", "python")
	}
	p, err := filepath.Abs(p)
	if err == nil {
		_, err = os.Stat(p)
	}
	if err != nil {
		t.Skipf("no Python with ipykernel: %v (see test/requirements.txt)", err)
	}
	return p
}

// ipykernel starts a real kernel and a client for it.
func ipykernel(t testing.TB) (*jupyter.Client, *inbox, *exec.Cmd) {
	t.Helper()
	python, conn, dir := python(t), connection(t), t.TempDir()
	file := filepath.Join(dir, "c.json")
	if err := conn.WriteFile(file, 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command(python, "-m", "ipykernel_launcher", "-f", file)
	cmd.Env = append(os.Environ(), "IPYTHONDIR="+dir, "PYDEVD_DISABLE_FILE_VALIDATION=1")
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dead := make(chan struct{})
	go func() { cmd.Wait(); close(dead) }()
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-dead
		if t.Failed() {
			t.Logf("the kernel wrote: %s", out.Bytes())
		}
	})
	start := time.Now()
	c, b := connect(t, conn, jupyter.Options{Dead: dead})
	t.Logf("%s %s ready after %v", c.Info().Implementation, c.Info().ImplementationVersion, time.Since(start).Round(time.Millisecond))
	return c, b, cmd
}

func TestARealKernelKeepsStateAndShowsErrors(t *testing.T) {
	c, b, _ := ipykernel(t)
	if c.Info().LanguageInfo.Name != "python" {
		t.Fatalf("got %+v", c.Info())
	}
	b.finished(t, execute(t, c, "x = 41"))
	id := execute(t, c, "x + 1")
	b.finished(t, id)
	b.wait(t, id, "execute_result", `"text/plain": "42"`)
	id = execute(t, c, "1/0")
	if reply := b.finished(t, id); !strings.Contains(reply, "ZeroDivisionError") {
		t.Fatalf("reply %s", reply)
	}
	b.wait(t, id, "error", "ZeroDivisionError")
	// stop_on_error is false: a cell sent right after an error runs.
	first, second := execute(t, c, "1/0"), execute(t, c, "x")
	b.finished(t, first)
	if reply := b.finished(t, second); !strings.Contains(reply, `"status": "ok"`) {
		t.Fatalf("the cell after an error: %s", reply)
	}
}

func TestARealKernelIsInterruptedAndAsksForInput(t *testing.T) {
	c, b, _ := ipykernel(t)
	id := execute(t, c, "print('looping', flush=True)\nwhile True: pass")
	b.wait(t, id, "stream", "looping")
	if err := c.Interrupt(soon(t)); err != nil {
		t.Fatal(err)
	}
	if reply := b.finished(t, id); !strings.Contains(reply, "KeyboardInterrupt") {
		t.Fatalf("reply %s", reply)
	}
	id = execute(t, c, "name = input('Who? ')\nname.upper()")
	b.wait(t, id, "input_request", "Who? ")
	if err := c.InputReply("ada"); err != nil {
		t.Fatal(err)
	}
	b.finished(t, id)
	b.wait(t, id, "execute_result", "ADA")
}

func TestTwentyThousandDisplaysOfARealKernelAllArrive(t *testing.T) {
	c, b, _ := ipykernel(t)
	id := execute(t, c, "from IPython.display import display\nfor i in range(20000): display(i)")
	b.finished(t, id)
	got, _ := b.answers(id, "display_data")
	if len(got) != 20000 {
		t.Fatalf("%d of 20000 arrived", len(got))
	}
	for i, m := range got {
		if !strings.Contains(string(m.Content), fmt.Sprintf(`"text/plain": "%d"`, i)) {
			t.Fatalf("message %d is %s", i, m.Content)
		}
	}
}

func TestTenMegabytesInOneMessageArrive(t *testing.T) {
	c, b, _ := ipykernel(t)
	id := execute(t, c, "print('x' * 10_000_000)")
	b.finished(t, id)
	total := 0
	got, _ := b.answers(id, "stream")
	for _, m := range got {
		var stream struct{ Text string }
		if err := json.Unmarshal(m.Content, &stream); err != nil {
			t.Fatal(err)
		}
		total += strings.Count(stream.Text, "x")
	}
	t.Logf("in %d messages", len(got))
	if total != 10_000_000 {
		t.Fatalf("%d of 10,000,000 arrived", total)
	}
}

func TestARealKernelThatExitsIsReported(t *testing.T) {
	c, _, _ := ipykernel(t)
	execute(t, c, "import os; os._exit(1)")
	<-c.Done()
	if c.Err() == nil {
		t.Fatal("Done without a reason")
	}
}

func TestAForgedIdleIsOnlyAMessage(t *testing.T) {
	c, b, _ := ipykernel(t)
	id := execute(t, c, `
k = get_ipython().kernel
k.session.send(k.iopub_socket, "status", {"execution_state": "idle"}, parent=k.get_parent("shell"), ident=b"x")
k.iopub_socket.send_multipart([b"topic", b"no", b"delimiter"])
k.iopub_socket.send_multipart([b"<IDS|MSG>", b"bad signature", b"{}", b"{}", b"{}", b"{}"])
print("still here")`)
	b.wait(t, id, "stream", "still here")
	b.wait(t, id, "execute_reply", `"status": "ok"`)
	b.finished(t, execute(t, c, "1"))
	if idle, _ := b.answers(id, "status"); len(idle) != 3 {
		t.Fatalf("%d status messages, want busy, the forged idle and the real one", len(idle))
	}
}

// TestJitteredPairsAreAllAnswered looks for kernels that stop answering on shell when two requests come
// close together, as ipykernel 7.0 to 7.3 do. It takes a minute or more, so it runs only on request.
func TestJitteredPairsAreAllAnswered(t *testing.T) {
	if os.Getenv("CELLHOLD_TEST_JITTER") == "" {
		t.Skip("CELLHOLD_TEST_JITTER is not set")
	}
	c, b, _ := ipykernel(t)
	const pairs = 1500
	for i := range pairs {
		first, err := c.Send(jupyter.Shell, "kernel_info_request", struct{}{})
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Duration(rand.Int64N(int64(2 * time.Millisecond))))
		second, err := c.Send(jupyter.Shell, "kernel_info_request", struct{}{})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{first, second} {
			if !b.answered(id, 10*time.Second) {
				_, err := c.Request(soon(t), jupyter.Control, "kernel_info_request", struct{}{})
				t.Fatalf("pair %d of %d: no answer on shell within 10 s (control: %v)", i+1, pairs, err)
			}
		}
		b.forget()
	}
	t.Logf("all of %d pairs answered", pairs)
}

// answered waits for a kernel_info_reply, and reports whether it came.
func (b *inbox) answered(id string, within time.Duration) bool {
	late := time.After(within)
	for {
		found, news := b.answers(id, "kernel_info_reply")
		if len(found) > 0 {
			return true
		}
		select {
		case <-news:
		case <-late:
			return false
		}
	}
}

func (b *inbox) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.got)
}

// BenchmarkOneCell measures 1+1 from the request to its reply and its idle status.
func BenchmarkOneCell(b *testing.B) {
	c, in, _ := ipykernel(b)
	in.finished(b, execute(b, c, "1+1"))
	var took []time.Duration
	for b.Loop() {
		in.forget()
		start := time.Now()
		in.finished(b, execute(b, c, "1+1"))
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
