package agent_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter/jupytertest"
	"cellhold/internal/sandbox/fake"
)

func TestVariablesLastFromCellToCell(t *testing.T) {
	r := withKernel(t, fake.Options{})
	r.wantStatus(r.run("set x 41"), cellhold.StatusOK)
	r.run("add x 1")
	o := r.run("get x")
	r.wantStatus(o, cellhold.StatusOK)
	r.wantText(o, `"42"`)
	if o.done.ExecutionCount != 3 {
		t.Errorf("execution count %d, want 3", o.done.ExecutionCount)
	}
}

func TestAnExceptionIsAnOutputAndTheKernelContinues(t *testing.T) {
	r := withKernel(t, fake.Options{})
	o := r.run("print before\nerror ValueError no such thing\nprint after")
	r.wantStatus(o, cellhold.StatusError)
	r.wantText(o, "before\n")
	if count(o.events, cellhold.EventError) != 1 {
		t.Errorf("want one error event: %s", show(o.events))
	}
	r.wantStatus(r.run("print on"), cellhold.StatusOK)
}

func TestAnInterruptedCellKeepsItsVariables(t *testing.T) {
	r := withKernel(t, fake.Options{})
	r.run("set x 1")
	id := r.submit("print running\nloop")
	r.until("the first output", func(e guestapi.Event) bool { return e.Type == cellhold.EventStream })
	if err := r.kernel.Interrupt(r.ctx, ""); err != nil {
		t.Fatal(err)
	}
	r.wantStatus(r.finish(id), cellhold.StatusInterrupted)
	r.wantText(r.run("get x"), `"1"`)
}

func TestInterruptingAnIdleKernelIsNoError(t *testing.T) {
	r := withKernel(t, fake.Options{})
	if err := r.kernel.Interrupt(r.ctx, ""); err != nil {
		t.Fatal(err)
	}
	r.wantStatus(r.run("print fine"), cellhold.StatusOK)
}

func TestALoopEndsAtItsDeadlineAndKeepsItsVariables(t *testing.T) {
	r := withKernel(t, fake.Options{})
	r.run("set x 1")
	o := r.finish(r.submitFor("loop", 20*time.Millisecond))
	r.wantStatus(o, cellhold.StatusTimeout)
	if !strings.Contains(o.done.Cause, "variables are kept") {
		t.Errorf("cause %q does not say that variables are kept", o.done.Cause)
	}
	r.wantText(r.run("get x"), `"1"`)
}

func TestALoopThatIgnoresInterruptsIsKilledAndItsKernelRestarts(t *testing.T) {
	r := withKernel(t, fake.Options{})
	r.run("set x 1")
	id := r.submitFor("stubborn", 20*time.Millisecond)
	if dead := r.untilState(cellhold.KernelDead); dead.Cause != cellhold.StatusTimeout {
		t.Errorf("cause of death %q, want timeout", dead.Cause)
	}
	r.untilState(cellhold.KernelRestarting)
	o := r.finish(id)
	r.wantStatus(o, cellhold.StatusTimeout)
	if !strings.Contains(o.done.Cause, "variables are lost") {
		t.Errorf("cause %q does not say that variables are lost", o.done.Cause)
	}
	r.untilState(cellhold.KernelIdle)
	r.wantStatus(r.run("get x"), cellhold.StatusError)
}

func TestADeadKernelEndsItsCellWithTheCause(t *testing.T) {
	tests := []struct {
		name, code string
		status     cellhold.CellStatus
		cause      string
	}{
		{"exit", "print last words\nexit 3", cellhold.StatusExit, "The kernel process ended with exit status 3."},
		{"signal", "print last words\nkill 11", cellhold.StatusSignal, "The kernel process was ended by signal 11 (segmentation fault)."},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := withKernel(t, fake.Options{})
			id := r.submit(test.code)
			all := r.until("the end", func(e guestapi.Event) bool { return e.Type == cellhold.EventCellDone })
			var done cellhold.CellDoneContent
			decode(t, all[len(all)-1], &done)
			if done.Status != test.status || done.Cause != test.cause {
				t.Errorf("%s %q, want %s %q", done.Status, done.Cause, test.status, test.cause)
			}
			if text(t, all[1]) != "last words\n" {
				t.Errorf("the output before the death is missing: %s", show(all))
			}
			var state cellhold.KernelStateContent
			decode(t, all[len(all)-2], &state)
			if state.State != cellhold.KernelDead || state.Cause != test.status {
				t.Errorf("state before the end %+v, want dead by %s", state, test.status)
			}
			err := r.kernel.Execute(r.ctx, guestapi.Execute{Cell: "more", Code: "print no", Timeout: patience})
			if cellhold.KindOf(err) != cellhold.Conflict {
				t.Errorf("a cell for a dead kernel: %v, want a conflict", err)
			}
			if id == "" {
				t.Fatal("no cell")
			}
		})
	}
}

func TestCodeBeforeAndAfterACellIsSilentAndNothingRunsBetween(t *testing.T) {
	r := withKernel(t, fake.Options{})
	for want, cell := range map[string]guestapi.Execute{
		`"1"`: {Cell: "ok", Code: "get x", Before: "set x 1\nprint hidden", After: "set x 2\nprint hidden"},
		`"3"`: {Cell: "failed", Code: "get x\nerror E bad", Before: "set x 3\nerror E hidden", After: "set x 4"},
	} {
		cell.Timeout = patience
		if err := r.kernel.Execute(r.ctx, cell); err != nil {
			t.Fatal(err)
		}
		o := r.finish(cell.Cell)
		r.wantText(o, want)
		if strings.Contains(show(o.events), "hidden") {
			t.Errorf("%s: got %s, want no output of the code around the cell", cell.Cell, show(o.events))
		}
	}
	if o := r.run("get x"); o.text != `"2"` && o.text != `"4"` {
		t.Errorf("after both cells: got %s, want the value that the code after a cell set", o.text)
	}
}

func TestADeadKernelCanBeRestarted(t *testing.T) {
	r := withKernel(t, fake.Options{})
	r.run("set x 1")
	r.run("exit 1")
	if err := r.kernel.Restart(r.ctx); err != nil {
		t.Fatal(err)
	}
	r.untilState(cellhold.KernelRestarting)
	r.untilState(cellhold.KernelIdle)
	r.wantStatus(r.run("get x"), cellhold.StatusError)
}

func TestARestartEndsTheRunningCell(t *testing.T) {
	r := withKernel(t, fake.Options{})
	id := r.submit("stubborn")
	r.until("the start", func(e guestapi.Event) bool { return e.Type == cellhold.EventCellStarted })
	if err := r.kernel.Restart(r.ctx); err != nil {
		t.Fatal(err)
	}
	o := r.finish(id)
	r.wantStatus(o, cellhold.StatusInterrupted)
	if o.done.Cause != "The kernel was restarted." {
		t.Errorf("cause %q", o.done.Cause)
	}
	r.untilState(cellhold.KernelIdle)
	r.wantStatus(r.run("print on"), cellhold.StatusOK)
}

func TestStartupCodeRunsSilentlyAfterEveryStart(t *testing.T) {
	r := newRig(t, fake.Options{})
	r.start("print silence\nset x 7")
	r.untilState(cellhold.KernelIdle)
	o := r.run("get x")
	r.wantText(o, `"7"`)
	if o.done.ExecutionCount != 1 {
		t.Errorf("execution count %d, want 1: startup code does not count", o.done.ExecutionCount)
	}
	if err := r.kernel.Restart(r.ctx); err != nil {
		t.Fatal(err)
	}
	r.untilState(cellhold.KernelIdle)
	r.wantText(r.run("get x"), `"7"`)
}

func TestAnExceptionInStartupCodeIsReportedWithTheIdleState(t *testing.T) {
	r := newRig(t, fake.Options{})
	r.start("error NameError name 'x' is not defined")
	idle := r.untilState(cellhold.KernelIdle)
	if idle.Detail != "startup code failed: NameError: name 'x' is not defined" {
		t.Errorf("detail %q", idle.Detail)
	}
	if idle.Info == nil || idle.Info.Language != "toy" {
		t.Errorf("kernel info %+v", idle.Info)
	}
}

func TestAKernelThatDiesDuringItsStartReportsTheCause(t *testing.T) {
	r := newRig(t, fake.Options{})
	r.start("exit 4")
	dead := r.untilState(cellhold.KernelDead)
	if dead.Cause != cellhold.StatusExit || dead.Exit != 4 {
		t.Errorf("%+v, want exit 4", dead)
	}
}

func TestABusyKernelRefusesAnotherCell(t *testing.T) {
	r := withKernel(t, fake.Options{})
	r.submit("loop")
	err := r.kernel.Execute(r.ctx, guestapi.Execute{Cell: "other", Code: "print no", Timeout: patience})
	if cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("%v, want a conflict", err)
	}
}

func TestTheSameCellRunsOnce(t *testing.T) {
	r := withKernel(t, fake.Options{})
	r.run("set x 0")
	e := guestapi.Execute{Cell: "twice", Code: "add x 1", Timeout: patience}
	for range 3 {
		if err := r.kernel.Execute(r.ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	r.finish("twice")
	if err := r.kernel.Execute(r.ctx, e); err != nil { // also after its end
		t.Fatal(err)
	}
	r.wantText(r.run("get x"), `"1"`)
}

func TestACellWithoutAnIdleStatusEndsAfterAWait(t *testing.T) {
	timing := quick
	timing.Idle = 30 * time.Millisecond
	r := withKernel(t, fake.Options{Timing: timing})
	r.wantStatus(r.run("print x\nnoidle"), cellhold.StatusOK)
	r.wantStatus(r.run("print y"), cellhold.StatusOK)
}

func TestACellWithoutAReplyEndsAtItsDeadline(t *testing.T) {
	r := withKernel(t, fake.Options{})
	r.wantStatus(r.finish(r.submitFor("noreply", 20*time.Millisecond)), cellhold.StatusTimeout)
}

func TestForgedMessagesEndOnlyTheirOwnCellAndOnlyOnce(t *testing.T) {
	script := func() jupytertest.Script {
		return func(c *jupytertest.Cell) {
			if c.Code == "honest" {
				c.Stream("stdout", "honest\n")
				return
			}
			for range 3 {
				c.Send("status", map[string]string{"execution_state": "idle"})
				c.Send("execute_reply", map[string]any{"status": "ok", "execution_count": 99})
			}
			c.Send("cell_done", map[string]any{"status": "ok"})
			c.Send("kernel_state", map[string]any{"state": "dead"})
			c.Stream("stdout", "still here\n")
			c.Fail("RealError", "the truth")
		}
	}
	r := withKernel(t, fake.Options{Script: script})
	// Any of the outputs can come before the forged end. Each output must belong to its cell.
	r.wantStatus(r.run("forge"), cellhold.StatusError)
	r.wantText(r.run("honest"), "honest\n")
	r.watch(0)
	all := r.until("the second end", func(e guestapi.Event) bool { return e.Cell == "c2" && e.Type == cellhold.EventCellDone })
	if n := count(all, cellhold.EventCellDone); n != 2 {
		t.Errorf("%d ends of two cells: %s", n, show(all))
	}
	if n := count(all, cellhold.EventKernelState); n != 2 {
		t.Errorf("%d states, want starting and idle: %s", n, show(all))
	}
	printed := map[cellhold.CellID]string{}
	for _, e := range all {
		printed[e.Cell] += text(t, e)
	}
	if printed["c1"] != "still here\n" || printed["c2"] != "honest\n" {
		t.Errorf("output by cell: %q", printed)
	}
}

func TestOutputThatBelongsToNoCellIsDroppedAndCounted(t *testing.T) {
	script := func() jupytertest.Script {
		return func(c *jupytertest.Cell) {
			c.Send("stream", map[string]any{"name": "secret", "text": "x"})
			c.Send("stream", []int{1})
			c.Send("display_data", map[string]any{"data": "no bundle"})
			c.Stream("stdout", "good\n")
		}
	}
	r := withKernel(t, fake.Options{Script: script})
	r.wantText(r.run("x"), "good\n")
	info, err := r.client.Info(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Kernels[0].Strange; got != 2 { // package jupyter drops the second one, which is not a valid message
		t.Errorf("%d strange messages, want 2", got)
	}
}

func TestLateOutputBelongsToTheCellThatStartedIt(t *testing.T) {
	script := func() jupytertest.Script {
		var first *jupytertest.Cell
		return func(c *jupytertest.Cell) {
			if first == nil {
				first = c
				return
			}
			first.Stream("stdout", "from the first\n") // like a thread that continues after its cell
			c.Stream("stdout", "from the second\n")
		}
	}
	r := withKernel(t, fake.Options{Script: script})
	r.wantStatus(r.run("one"), cellhold.StatusOK)
	r.submit("two")
	all := r.until("the end", func(e guestapi.Event) bool { return e.Type == cellhold.EventCellDone })
	printed := map[cellhold.CellID]string{}
	for _, e := range all {
		printed[e.Cell] += text(t, e)
	}
	if printed["c1"] != "from the first\n" || printed["c2"] != "from the second\n" {
		t.Errorf("output by cell: %q", printed)
	}
}

func TestAReaderThatReconnectsMissesNothing(t *testing.T) {
	r := withKernel(t, fake.Options{})
	var seen []guestapi.Event
	id := r.submit("print one\nflood 50\nresult two")
	for i := 0; ; i++ {
		e, err, ok := r.next()
		if err != nil || !ok {
			t.Fatal(err)
		}
		if seen = append(seen, e); e.Type == cellhold.EventCellDone {
			break
		}
		if i%7 == 0 {
			r.watch(e.Seq)
		}
	}
	for i, e := range seen {
		if e.Seq != seen[0].Seq+int64(i) {
			t.Fatalf("event %d follows event %d", e.Seq, seen[0].Seq+int64(i)-1)
		}
	}
	if n := count(seen, cellhold.EventDisplayData); n != 50 {
		t.Errorf("%d displays, want 50", n)
	}
	r.watch(0) // nothing was acknowledged, so every event is still there
	r.wantText(r.finish(id), "one\n"+displays(50)+`"two"`)
}

func displays(n int) string {
	s := ""
	for i := range n {
		s += strconv.Quote(strconv.Itoa(i))
	}
	return s
}

func TestAcknowledgedEventsAreForgotten(t *testing.T) {
	r := withKernel(t, fake.Options{})
	o := r.run("print gone")
	last := o.events[len(o.events)-1].Seq
	if err := r.kernel.Ack(r.ctx, last); err != nil {
		t.Fatal(err)
	}
	r.watch(0)
	r.wantText(r.run("print there"), "there\n")
}

func TestAFloodIsBoundedAndTheEndStillArrives(t *testing.T) {
	const spool = 64 << 10
	r := withKernel(t, fake.Options{Spool: spool})
	id := r.submit("flood 5000\nerror Flooded the end")
	waitDone(r)
	size, events := 0, 0
	r.watch(0)
	o := r.finish(id)
	for _, e := range o.events {
		size += len(e.Content)
		events++
	}
	if size > spool {
		t.Errorf("%d bytes were kept, the limit is %d", size, spool)
	}
	r.wantStatus(o, cellhold.StatusError)
	if count(o.events, cellhold.EventError) != 1 {
		t.Error("the exception after the flood is missing")
	}
	var dropped cellhold.OutputDroppedContent
	decode(t, o.events[len(o.events)-2], &dropped)
	if kept := count(o.events, cellhold.EventDisplayData); int(dropped.Messages)+kept != 5000 || kept == 0 {
		t.Errorf("%d kept and %d reported as dropped, want 5000 together", kept, dropped.Messages)
	}
}

// waitDone waits for the end of the running cell without reading its events, like a host that hangs.
func waitDone(r *rig) {
	r.Helper()
	r.until("the end", func(e guestapi.Event) bool { return e.Type == cellhold.EventCellDone })
}

func TestAnAcknowledgedFloodFreesItsSpace(t *testing.T) {
	r := withKernel(t, fake.Options{Spool: 64 << 10})
	o := r.run("flood 5000")
	if err := r.kernel.Ack(r.ctx, o.events[len(o.events)-1].Seq); err != nil {
		t.Fatal(err)
	}
	r.wantText(r.run("print fits"), "fits\n")
}

func TestAFloodWaitsForAHostThatAcknowledges(t *testing.T) {
	patient := quick
	patient.Host = patience
	r := withKernel(t, fake.Options{Spool: 64 << 10, Timing: patient})
	id := r.submit("flood 5000\nprint end")
	displays, dropped := 0, 0
	for e, err := range r.kernel.Events(r.ctx, 0) {
		if err != nil {
			t.Fatal(err)
		}
		switch e.Type {
		case cellhold.EventDisplayData:
			displays++
		case cellhold.EventOutputDropped:
			dropped++
		}
		if e.Cell == id && e.Type == cellhold.EventCellDone {
			break
		}
		if e.Seq%20 == 0 {
			if err := r.kernel.Ack(r.ctx, e.Seq); err != nil {
				t.Fatal(err)
			}
		}
	}
	if displays != 5000 || dropped != 0 {
		t.Errorf("%d of 5000 displays arrived, %d events report dropped output", displays, dropped)
	}
}

func TestALongTextComesInPieces(t *testing.T) {
	const size = 1 << 20
	r := withKernel(t, fake.Options{})
	o := r.run("big 1048576")
	if len(o.text) != size {
		t.Errorf("%d bytes, want %d", len(o.text), size)
	}
	if n := count(o.events, cellhold.EventStream); n < size/guestapi.MaxStream {
		t.Errorf("%d pieces, want at least %d", n, size/guestapi.MaxStream)
	}
}

func TestADisplayThatIsTooLargeIsReplacedByANote(t *testing.T) {
	script := func() jupytertest.Script {
		return func(c *jupytertest.Cell) {
			c.Display("image/png", strings.Repeat("A", guestapi.MaxEvent))
		}
	}
	r := withKernel(t, fake.Options{Script: script})
	o := r.run("x")
	r.wantStatus(o, cellhold.StatusOK)
	if !strings.Contains(o.text, "was left out") {
		t.Errorf("output %.100q does not say that a part was left out", o.text)
	}
}

func TestADeletedKernelHasNoEvents(t *testing.T) {
	r := withKernel(t, fake.Options{})
	id := r.submit("stubborn")
	r.until("the start", func(e guestapi.Event) bool { return e.Type == cellhold.EventCellStarted })
	if err := r.kernel.Delete(r.ctx); err != nil {
		t.Fatal(err)
	}
	r.wantStatus(r.finish(id), cellhold.StatusInterrupted)
	if _, err, _ := r.next(); err == nil {
		t.Error("the events continue after the kernel's deletion")
	}
	if err := r.kernel.Interrupt(r.ctx, ""); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("interrupting a deleted kernel: %v, want not found", err)
	}
	r.start("")
	r.untilState(cellhold.KernelIdle)
}

func TestTwoKernelsHaveTheirOwnVariablesAndEvents(t *testing.T) {
	r := withKernel(t, fake.Options{})
	r.run("set x 1")
	first := r.kernel
	r.kernel = r.client.Kernel("second")
	r.start("")
	r.untilState(cellhold.KernelIdle)
	r.wantStatus(r.run("get x"), cellhold.StatusError)
	r.kernel = first
	r.watch(0)
	r.wantText(r.run("get x"), `"1"`)
}

func TestInputFailsAtOnce(t *testing.T) {
	r := withKernel(t, fake.Options{})
	r.wantStatus(r.run("input x Name?"), cellhold.StatusError)
}

func TestACellReportsWhetherOutputFilesChanged(t *testing.T) {
	r := withKernel(t, fake.Options{})
	if r.run("print x").done.FilesChanged {
		t.Error("files changed in an empty directory")
	}
	writeFile(t, filepath.Join(r.world.OutputDir(r.id), "plot.png"), "png")
	if !r.run("print x").done.FilesChanged {
		t.Error("a new file was not reported")
	}
	if r.run("print x").done.FilesChanged {
		t.Error("a change was reported twice")
	}
	if err := r.client.WriteFile(r.ctx, "sub/in.csv", strings.NewReader("a,b"), 3); err != nil {
		t.Fatal(err)
	}
	if r.run("print x").done.FilesChanged {
		t.Error("a file of the host was reported as a change")
	}
}

func TestTheFirstFileInAnEmptyDirectoryIsAChange(t *testing.T) {
	r := withKernel(t, fake.Options{})
	dir := r.world.OutputDir(r.id)
	for range 2 { // the second time, the directory is empty again
		if err := os.Chtimes(dir, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		r.run("print x")
		if r.run("print x").done.FilesChanged {
			t.Error("files changed in an empty directory")
		}
		name := filepath.Join(dir, "plot.png")
		writeFile(t, name, "png")
		if !r.run("print x").done.FilesChanged {
			t.Error("a new file was not reported")
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if !r.run("print x").done.FilesChanged {
			t.Error("the removal of a file was not reported")
		}
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	r := withKernel(t, fake.Options{})
	tests := []struct {
		name string
		e    guestapi.Execute
		want cellhold.Kind
	}{
		{"no deadline", guestapi.Execute{Cell: "a", Code: "print"}, cellhold.Invalid},
		{"an invalid cell id", guestapi.Execute{Cell: `a","x":"`, Timeout: 1}, cellhold.Invalid},
		{"too much code", guestapi.Execute{Cell: "a", Timeout: 1, Code: strings.Repeat("x", guestapi.MaxCode+1)}, cellhold.Exhausted},
	}
	for _, test := range tests {
		if err := r.kernel.Execute(r.ctx, test.e); cellhold.KindOf(err) != test.want {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
	}
	if err := r.client.Kernel("../x").Start(r.ctx, guestapi.StartKernel{}); cellhold.KindOf(err) != cellhold.Invalid {
		t.Errorf("a kernel id that is a path: %v", err)
	}
}

// TestACellStartsWhenItsKernelGetsIt checks that the time of cell_started does not depend on the kernel's report.
func TestACellStartsWhenItsKernelGetsIt(t *testing.T) {
	slow := make(chan struct{})
	r := withKernel(t, fake.Options{Script: func() jupytertest.Script {
		return func(c *jupytertest.Cell) {
			if c.Code == "linger" {
				c.After(func() { <-slow })
			}
		}
	}})
	r.run("linger")
	id := r.submit("next")
	handedOver := time.Now()
	close(slow)
	o := r.finish(id)
	if started := o.events[0]; started.Type != cellhold.EventCellStarted || started.Time.After(handedOver) {
		t.Errorf("its first event is %s at %s, want cell_started before %s", started.Type, started.Time, handedOver)
	}
}
