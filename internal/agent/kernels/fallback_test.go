package kernels_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/agent/kernels"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
	"cellhold/internal/jupyter/stream"
	"cellhold/internal/sandbox/fake"
)

const patience = time.Minute

// faulty is a launcher whose kernels cannot use their stream. Over ZeroMQ they work.
type faulty struct {
	fake.Launcher
	start func() (kernels.Process, error) // starts a kernel with a stream; nil means one that works

	mu      sync.Mutex
	streams []bool // whether each launch was one with a stream
}

func (l *faulty) Launch(ctx context.Context, s kernels.LaunchSpec) (kernels.Process, error) {
	l.mu.Lock()
	l.streams = append(l.streams, !s.NoStream)
	start := l.start
	l.mu.Unlock()
	if s.NoStream || start == nil {
		return l.Launcher.Launch(ctx, s)
	}
	return start()
}

func (l *faulty) launches() []bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.streams)
}

// broken is a process that never is ready.
type broken struct {
	conn, theirs net.Conn
	exit         kernels.Exit
	done         chan struct{}
	once         sync.Once
}

func newBroken(t *testing.T) *broken {
	t.Helper()
	ours, file, err := stream.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	theirs, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	return &broken{conn: ours, theirs: theirs, done: make(chan struct{})}
}

func (b *broken) end(e kernels.Exit) {
	b.once.Do(func() {
		b.exit = e
		b.theirs.Close()
		close(b.done)
	})
}

func (b *broken) Spec() jupyter.KernelSpec       { return jupyter.KernelSpec{} }
func (b *broken) Connection() jupyter.Connection { return jupyter.Connection{} }
func (b *broken) Stream() net.Conn               { return b.conn }
func (b *broken) Unsent() []byte                 { return nil }
func (b *broken) Done() <-chan struct{}          { return b.done }
func (b *broken) Exit() kernels.Exit             { return b.exit }
func (b *broken) CPU() (time.Duration, bool)     { return 0, false }
func (b *broken) ChildCPU() time.Duration        { return 0 }
func (b *broken) Signal(syscall.Signal) error    { return nil }
func (b *broken) Kill()                          { b.end(kernels.Exit{Signal: 9}) }

// rig is one kernel of a launcher.
type rig struct {
	*testing.T
	*kernels.Kernel
	launcher *faulty
	log      *log
	last     int64
}

// log keeps what was logged.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// warnings returns the logged warnings.
func (l *log) warnings() (list []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, "level=WARN") {
			list = append(list, line)
		}
	}
	return list
}

func newRig(t *testing.T, timing kernels.Timing, startup string, start func() (kernels.Process, error)) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "k") // short, because the paths of sockets are bounded
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &rig{T: t, launcher: &faulty{Launcher: fake.Launcher{Dir: dir}, start: start}, log: new(log)}
	r.Kernel = kernels.New(kernels.Options{
		Launcher: r.launcher, Timing: timing.WithDefaults(), Spool: 1 << 20,
		Logger:        slog.New(slog.NewTextHandler(r.log, nil)),
		Environment:   func(own map[string]string) map[string]string { return own },
		CheckStart:    func() error { return nil },
		OutputChanged: func() bool { return false },
	}, "k", guestapi.StartKernel{Spec: fake.Streamed, Startup: startup}, 0)
	var work sync.WaitGroup
	r.Launch(context.WithoutCancel(t.Context()), &work)
	t.Cleanup(func() { r.Delete(); work.Wait() })
	return r
}

// states returns the states up to one that is reported.
func (r *rig) states(until cellhold.KernelState) (list []cellhold.KernelState) {
	r.Helper()
	r.await(func(e guestapi.Event) bool {
		var c cellhold.KernelStateContent
		if e.Type != cellhold.EventKernelState || json.Unmarshal(e.Content, &c) != nil {
			return false
		}
		list = append(list, c.State)
		return c.State == until
	}, func() {
		r.Helper()
		r.Fatalf("the kernel never was %s; states %v, launches %v", until, list, r.launcher.launches())
	})
	return list
}

// await reads new events until one is the last. After patience it calls late, which must end the test.
func (r *rig) await(last func(guestapi.Event) bool, late func()) {
	r.Helper()
	end := time.After(patience)
	for {
		b := r.Events().Read(r.last, nil)
		for line := range bytes.Lines(b.Lines) {
			var e guestapi.Event
			if err := json.Unmarshal(line, &e); err != nil {
				r.Fatal(err)
			}
			if r.last = e.Seq; last(e) {
				return
			}
		}
		if len(b.Lines) > 0 {
			continue
		}
		select {
		case <-b.Changed:
		case <-end:
			late()
		}
	}
}

func (r *rig) wantLaunches(streams ...bool) {
	r.Helper()
	if got := r.launcher.launches(); !slices.Equal(got, streams) {
		r.Errorf("launches with a stream: %v, want %v", got, streams)
	}
}

// TestAKernelThatCannotUseItsStreamIsStartedOverZeroMQ also checks that later starts do not try the stream.
func TestAKernelThatCannotUseItsStreamIsStartedOverZeroMQ(t *testing.T) {
	for name, test := range map[string]struct {
		start  func(*broken)
		reason string
	}{
		"it refuses": {
			func(b *broken) { b.end(kernels.Exit{Code: 97, Output: "hello\nipykernel 9 is not ipykernel 7\n"}) },
			"The kernel was not tested with the installed versions: ipykernel 9 is not ipykernel 7",
		},
		"it exits": {
			func(b *broken) { b.end(kernels.Exit{Code: 1, Output: "ImportError: no such module"}) },
			"exit status 1. Its last output: ImportError: no such module",
		},
		"it crashes":                 {func(b *broken) { b.end(kernels.Exit{Signal: 11}) }, "signal 11"},
		"it closes the stream":       {func(b *broken) { b.theirs.Close() }, "start over a stream: connect to the kernel: kernel_info_request"},
		"it breaks the protocol":     {func(b *broken) { b.theirs.Write([]byte("Traceback")) }, "a frame for channel 101"},
		"it does not answer in time": {func(*broken) {}, "it was not ready in time"},
	} {
		t.Run(name, func(t *testing.T) {
			timing := kernels.Timing{Shutdown: 10 * time.Millisecond, Start: patience}
			if strings.Contains(test.reason, "in time") {
				timing.Start = 4 * time.Second // the fallback has two of them
			}
			r := newRig(t, timing, "set x 1", func() (kernels.Process, error) {
				b := newBroken(t)
				test.start(b)
				return b, nil
			})
			if got := r.states(cellhold.KernelIdle); !slices.Equal(got, []cellhold.KernelState{cellhold.KernelStarting, cellhold.KernelIdle}) {
				t.Errorf("states %v, want starting and idle", got)
			}
			r.Restart()
			if got := r.states(cellhold.KernelIdle); !slices.Equal(got, []cellhold.KernelState{cellhold.KernelRestarting, cellhold.KernelIdle}) {
				t.Errorf("states %v, want restarting and idle", got)
			}
			r.wantLaunches(true, false, false)
			if w := r.log.warnings(); len(w) != 1 || !strings.Contains(w[0], test.reason) {
				t.Errorf("warnings %q, want one with %q", w, test.reason)
			}
		})
	}
}

func TestAStreamThatCannotBeStartedIsReplacedByZeroMQ(t *testing.T) {
	r := newRig(t, kernels.Timing{}, "", func() (kernels.Process, error) {
		return nil, fmt.Errorf("%w: no such program", kernels.ErrStream)
	})
	r.states(cellhold.KernelIdle)
	r.wantLaunches(true, false)
	if w := r.log.warnings(); len(w) != 1 || !strings.Contains(w[0], "no such program") {
		t.Errorf("warnings %q, want one with the reason", w)
	}
}

func TestAKernelThatCannotBeStartedAtAllIsTriedOnce(t *testing.T) {
	r := newRig(t, kernels.Timing{}, "", func() (kernels.Process, error) { return nil, os.ErrNotExist })
	r.states(cellhold.KernelDead)
	r.wantLaunches(true)
}

func TestAKernelThatWasReadyKeepsItsStream(t *testing.T) {
	r := newRig(t, kernels.Timing{}, "", nil)
	r.states(cellhold.KernelIdle)
	if _, err := r.Execute(guestapi.Execute{Cell: "c1", Code: "exit 97", Timeout: patience}); err != nil {
		t.Fatal(err)
	}
	r.states(cellhold.KernelDead)
	r.Restart()
	r.states(cellhold.KernelIdle)
	r.wantLaunches(true, true)
	if w := r.log.warnings(); len(w) != 0 {
		t.Errorf("warnings %q", w)
	}
}

func TestStartupCodeThatEndsAKernelDoesNotChangeItsStream(t *testing.T) {
	r := newRig(t, kernels.Timing{}, "exit 97", nil)
	r.states(cellhold.KernelDead)
	r.wantLaunches(true)
}

func TestAKernelThatIsDeletedDuringItsStartIsNotStartedAgain(t *testing.T) {
	launched := make(chan struct{})
	r := newRig(t, kernels.Timing{Shutdown: 10 * time.Millisecond}, "", func() (kernels.Process, error) {
		close(launched)
		return newBroken(t), nil
	})
	<-launched
	r.Delete()
	r.wantLaunches(true)
}
