package agent_test

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/agent/kernels"
	"cellhold/internal/guest"
	"cellhold/internal/guestapi"
	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/fake"
)

// patience bounds the wait of a test.
const patience = 3 * time.Minute

// quick has short times from the interrupt message to the kill. Idle stays long, so that cells do not end early on a
// slow machine.
var quick = kernels.Timing{
	Host:  100 * time.Millisecond,
	Start: patience, Idle: patience,
	Interrupt: 50 * time.Millisecond, Kill: 50 * time.Millisecond, Shutdown: time.Second,
}

// rig is one kernel in a fake sandbox, with the real agent and the real client.
type rig struct {
	testing.TB
	ctx    context.Context
	world  *fake.World
	id     sandbox.ID
	spec   string // the kernelspec of its kernels
	dial   func(context.Context) (net.Conn, error)
	client *guest.Client
	kernel *guest.Kernel
	next   func() (guestapi.Event, error, bool)
	stop   func()
	cells  int
}

// newRig makes a sandbox without a kernel.
func newRig(t testing.TB, o fake.Options) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	o.Dir = t.TempDir()
	if overStream(t) {
		o.Logger = slog.New(slog.NewTextHandler(noFallback{t}, nil))
	}
	if o.Timing == (kernels.Timing{}) {
		o.Timing = quick
	}
	w, err := fake.NewWorld(context.WithoutCancel(ctx), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	limits := sandbox.Limits{Memory: 1, CPU: 1, Processes: 1, Disk: 1, Tmp: 1, Output: 1}
	s, err := w.Open().Create(ctx, sandbox.Spec{ID: "box", Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	client, err := guest.New(guest.Options{Dial: s.Dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	r := &rig{TB: t, ctx: ctx, world: w, id: s.ID(), spec: "toy", dial: s.Dial, client: client, kernel: client.Kernel("toy")}
	if overStream(t) {
		r.spec = fake.Streamed
	}
	return r
}

// withKernel makes a sandbox with a ready kernel.
func withKernel(t testing.TB, o fake.Options) *rig {
	t.Helper()
	r := newRig(t, o)
	r.start("")
	r.untilState(cellhold.KernelIdle)
	return r
}

func (r *rig) start(startup string) {
	r.Helper()
	if err := r.kernel.Start(r.ctx, guestapi.StartKernel{Spec: r.spec, Startup: startup}); err != nil {
		r.Fatal(err)
	}
	r.watch(0)
}

// watch starts a reader of the events after a number. It ends the earlier reader.
func (r *rig) watch(after int64) {
	if r.stop != nil {
		r.stop()
	}
	next, stop := iter.Pull2(r.kernel.Events(r.ctx, after))
	r.next = func() (guestapi.Event, error, bool) { return next() }
	r.stop = stop
	r.Cleanup(stop)
}

// until reads events up to and including the first one that fits, and returns them.
func (r *rig) until(what string, fits func(guestapi.Event) bool) []guestapi.Event {
	r.Helper()
	var seen []guestapi.Event
	for {
		e, err, ok := r.next()
		if !ok || err != nil {
			r.Fatalf("the events ended before %s: %v; seen: %s", what, err, show(seen))
		}
		if seen = append(seen, e); fits(e) {
			return seen
		}
	}
}

func (r *rig) untilState(s cellhold.KernelState) cellhold.KernelStateContent {
	r.Helper()
	var c cellhold.KernelStateContent
	r.until("state "+string(s), func(e guestapi.Event) bool {
		c = cellhold.KernelStateContent{}
		return e.Type == cellhold.EventKernelState && r.decode(e, &c).State == s
	})
	return c
}

func (r *rig) decode(e guestapi.Event, c *cellhold.KernelStateContent) *cellhold.KernelStateContent {
	r.Helper()
	decode(r, e, c)
	return c
}

// submit submits a cell with a deadline that no test reaches.
func (r *rig) submit(code string) cellhold.CellID {
	r.Helper()
	return r.submitFor(code, patience)
}

func (r *rig) submitFor(code string, timeout time.Duration) cellhold.CellID {
	r.Helper()
	r.cells++
	id := cellhold.CellID(fmt.Sprintf("c%d", r.cells))
	if err := r.kernel.Execute(r.ctx, guestapi.Execute{Cell: id, Code: code, Timeout: timeout}); err != nil {
		r.Fatal(err)
	}
	return id
}

// outcome is a cell as its events describe it.
type outcome struct {
	events []guestapi.Event // of the cell
	done   cellhold.CellDoneContent
	text   string // of its streams and results
}

// finish reads events until the cell is done.
func (r *rig) finish(id cellhold.CellID) outcome {
	r.Helper()
	var o outcome
	var printed strings.Builder
	for _, e := range r.until("the end of "+string(id), func(e guestapi.Event) bool {
		return e.Cell == id && e.Type == cellhold.EventCellDone
	}) {
		if e.Cell == id {
			o.events = append(o.events, e)
			printed.WriteString(text(r, e))
		}
	}
	o.text = printed.String()
	decode(r, o.events[len(o.events)-1], &o.done)
	return o
}

// run submits a cell, and reads events until it is done.
func (r *rig) run(code string) outcome {
	r.Helper()
	return r.finish(r.submit(code))
}

// wantStatus checks how a cell ended.
func (r *rig) wantStatus(o outcome, s cellhold.CellStatus) {
	r.Helper()
	if o.done.Status != s {
		r.Errorf("status %s (%s), want %s; events: %s", o.done.Status, o.done.Cause, s, show(o.events))
	}
}

// wantText checks the output of a cell.
func (r *rig) wantText(o outcome, want string) {
	r.Helper()
	if o.text != want {
		r.Errorf("output %q, want %q", o.text, want)
	}
}

func text(t testing.TB, e guestapi.Event) string {
	t.Helper()
	switch e.Type {
	case cellhold.EventStream:
		var c cellhold.StreamContent
		decode(t, e, &c)
		return c.Text
	case cellhold.EventExecuteResult, cellhold.EventDisplayData:
		var c cellhold.DisplayContent
		decode(t, e, &c)
		return string(c.Data["text/plain"])
	}
	return ""
}

func decode(t testing.TB, e guestapi.Event, content any) {
	t.Helper()
	if err := (cellhold.Event{Seq: e.Seq, Type: e.Type, Content: e.Content}).Decode(content); err != nil {
		t.Fatal(err)
	}
}

func count(events []guestapi.Event, typ cellhold.EventType) int {
	n := 0
	for _, e := range events {
		if e.Type == typ {
			n++
		}
	}
	return n
}

func show(events []guestapi.Event) string {
	s := ""
	for _, e := range events {
		s += fmt.Sprintf("\n  %d %s %s %.200s", e.Seq, e.Cell, e.Type, e.Content)
	}
	return s
}

func writeFile(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
