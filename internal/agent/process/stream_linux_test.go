package process_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cellhold/internal/agent/kernels"
	"cellhold/internal/jupyter/stream"
)

// streamer launches a kernelspec with a command for the stream.
func streamer(t *testing.T, dir string, stream []string, s kernels.LaunchSpec) (kernels.Process, error) {
	t.Helper()
	const plain = "echo over ZeroMQ: $CELLHOLD_STREAM; ls /proc/$$/fd"
	l, err := shells(dir, plain, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	text, err := json.Marshal(map[string]any{
		"argv": []string{"sh", "-c", plain}, "language": "sh",
		"metadata": map[string]any{"cellhold": map[string]any{"stream": stream}},
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "prefix", "share", "jupyter", "kernels", "sh", "kernel.json"), text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.Kernel, s.Spec = "k", "sh"
	p, err := l.Launch(t.Context(), s)
	if err == nil {
		t.Cleanup(p.Kill)
	}
	return p, err
}

// TestAKernelInheritsOneEndOfAStream also checks that the stream can be read to its end, although a child of the
// kernel has inherited it.
func TestAKernelInheritsOneEndOfAStream(t *testing.T) {
	script := `echo "stream $CELLHOLD_STREAM"; echo "memory $CELLHOLD_UNSENT"; ls /proc/$$/fd; head -c 1 "$0"; echo; head -c 7 <&3 >&3; sleep 1000 & echo the end >&3`
	p, err := streamer(t, shortDir(t), []string{"sh", "-c", script, "{connection_file}"},
		kernels.LaunchSpec{Env: map[string]string{"CELLHOLD_STREAM": "9", "CELLHOLD_UNSENT": "9"}})
	if err != nil {
		t.Fatal(err)
	}
	stream := p.Stream()
	if stream == nil {
		t.Fatal("no stream")
	}
	defer stream.Close()
	if _, err := stream.Write([]byte("written")); err != nil {
		t.Fatal(err)
	}
	if e := ended(t, p); e.Code != 0 || e.Output != "stream 3\nmemory 4\n0\n1\n2\n3\n4\n{\n" {
		t.Errorf("%+v", e)
	}
	p.Kill()
	if b, err := io.ReadAll(stream); string(b) != "writtenthe end\n" || err != nil {
		t.Errorf("after its end the stream had %q, %v", b, err)
	}
}

// TestTheMemoryOfAKernelSurvivesIt also checks that a kernel cannot change the size of its memory.
func TestTheMemoryOfAKernelSurvivesIt(t *testing.T) {
	for _, killed := range []bool{false, true} {
		script := `printf "last words" >&4; truncate -s 0 /proc/$$/fd/4 || truncate -s 2M /proc/$$/fd/4 || kill -9 $$`
		p, err := streamer(t, shortDir(t), []string{"sh", "-c", script}, kernels.LaunchSpec{})
		if err != nil {
			t.Fatal(err)
		}
		if e := ended(t, p); e.Signal != 9 {
			t.Errorf("%+v, want killed", e)
		}
		p.Stream().Close()
		if killed {
			p.Kill()
		}
		for range 2 {
			if b := p.Unsent(); len(b) != stream.UnsentSize || strings.TrimRight(string(b), "\x00") != "last words" {
				t.Errorf("after a kill %v the memory has %d bytes: %.20q", killed, len(b), b)
			}
		}
	}
}

func TestAKernelThatKeepsNothingLeavesNoMemory(t *testing.T) {
	p, err := streamer(t, shortDir(t), []string{"true"}, kernels.LaunchSpec{})
	if err != nil {
		t.Fatal(err)
	}
	p.Stream().Close()
	ended(t, p)
	if b := p.Unsent(); b != nil {
		t.Errorf("%d bytes", len(b))
	}
}

func TestAKernelWithoutAStreamIsStartedAsBefore(t *testing.T) {
	p, err := streamer(t, shortDir(t), []string{"sh", "-c", "exit 9"}, kernels.LaunchSpec{NoStream: true})
	if err != nil {
		t.Fatal(err)
	}
	if e := ended(t, p); e.Code != 0 || e.Output != "over ZeroMQ:\n0\n1\n2\n" || p.Stream() != nil {
		t.Errorf("%+v, stream %v", e, p.Stream())
	}
}

func TestAStreamThatCannotBeStartedIsReportedAndLeavesNothing(t *testing.T) {
	var open []int // the first attempt also opens files of the runtime
	for range 2 {
		dir := shortDir(t)
		_, err := streamer(t, dir, []string{"no-such-program"}, kernels.LaunchSpec{})
		if !errors.Is(err, kernels.ErrStream) || !strings.Contains(err.Error(), "no-such-program") {
			t.Errorf("got %v", err)
		}
		if left, err := os.ReadDir(filepath.Join(dir, "run")); err != nil || len(left) != 0 {
			t.Errorf("directories left over: %v %v", left, err)
		}
		open = append(open, openFiles(t))
	}
	if open[1] > open[0] {
		t.Errorf("an attempt left %d open files", open[1]-open[0])
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
