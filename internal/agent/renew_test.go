package agent_test

import (
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/sandbox/fake"
)

// renew renews the sandbox and reads the kernel's events from their new start.
func (r *rig) renew() guestapi.Info {
	r.Helper()
	info, err := r.client.Renew(r.ctx, guestapi.Renew{Timeout: patience})
	if err != nil {
		r.Fatal(err)
	}
	r.watch(0)
	return info
}

func (r *rig) prepare(p guestapi.Prepare) guestapi.Prepared {
	r.Helper()
	if p.Timeout == 0 {
		p.Timeout = patience
	}
	got, err := r.kernel.Prepare(r.ctx, p)
	if err != nil {
		r.Fatal(err)
	}
	return got
}

func TestARenewedSandboxNumbersFromOneAndKeepsItsVariables(t *testing.T) {
	r := withKernel(t, fake.Options{})
	r.wantStatus(r.run("set x 42"), cellhold.StatusOK)
	before, err := r.client.Info(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	info := r.renew()
	if info.Boot == before.Boot {
		t.Error("the boot id did not change")
	}
	if k := info.Kernels[0]; k.Last != 1 || k.State != cellhold.KernelIdle || k.Strange != 0 {
		t.Errorf("the kernel is %+v, want idle with one event", k)
	}
	first := r.until("the first event", func(guestapi.Event) bool { return true })[0]
	var state cellhold.KernelStateContent
	if r.decode(first, &state); first.Seq != 1 || state.State != cellhold.KernelIdle || state.Info == nil || state.Info.Name != r.spec {
		t.Errorf("the first event is %d %s %s, want the idle state with the kernel's info", first.Seq, first.Type, first.Content)
	}
	o := r.run("get x")
	r.wantText(o, `"42"`)
	if o.events[0].Seq != 2 || o.done.ExecutionCount != 2 {
		t.Errorf("the next cell begins with event %d and is number %d, want 2 and 2", o.events[0].Seq, o.done.ExecutionCount)
	}
}

func TestEveryRenewalGivesNewSeeds(t *testing.T) {
	r := withKernel(t, fake.Options{})
	seen := map[string]bool{}
	for range 3 {
		r.renew()
		for _, name := range []string{"seed", "entropy"} {
			o := r.run("get " + name)
			r.wantStatus(o, cellhold.StatusOK)
			if seen[o.text] || strings.Contains(o.text, "{") || len(o.text) < 4 {
				t.Errorf("the %s is %s, and was one of %v", name, o.text, seen)
			}
			seen[o.text] = true
		}
	}
}

func TestTheSameCellRunsAgainAfterARenewal(t *testing.T) {
	r := withKernel(t, fake.Options{})
	r.run("set x 1")
	r.renew()
	r.cells = 0 // the host of a fork numbers its cells from the beginning
	r.wantText(r.run("add x 1\nget x"), `"2"`)
}

func TestARenewalIsRefusedWhileACellOrACommandRuns(t *testing.T) {
	r := withKernel(t, fake.Options{})
	id := r.submit("print on\nloop")
	r.until("the output", func(e guestapi.Event) bool { return e.Type == cellhold.EventStream })
	if _, err := r.client.Renew(r.ctx, guestapi.Renew{Timeout: patience}); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("with a cell that runs: %v, want a conflict", err)
	}
	if err := r.kernel.Interrupt(r.ctx, ""); err != nil {
		t.Fatal(err)
	}
	r.finish(id) // the events continue the old numbers

	commands := r.client.Commands()
	if _, err := commands.Start(r.ctx, "x1", guestapi.StartCommand{Args: []string{"cat"}, Timeout: patience}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.client.Renew(r.ctx, guestapi.Renew{Timeout: patience}); cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("with a command that runs: %v, want a conflict", err)
	}
	if err := commands.Kill(r.ctx, "x1"); err != nil {
		t.Fatal(err)
	}
}

func TestARenewalForgetsEarlierCommands(t *testing.T) {
	r := withKernel(t, fake.Options{})
	run := func() {
		t.Helper()
		if _, err := r.client.Commands().Start(r.ctx, "x1", guestapi.StartCommand{Args: []string{"true"}, Timeout: patience}); err != nil {
			t.Fatal(err)
		}
		for e, err := range r.client.Commands().Events(r.ctx, 0) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Type == cellhold.EventCommandDone {
				return
			}
		}
	}
	run()
	if info := r.renew(); len(info.Commands) != 0 {
		t.Errorf("commands %v are left", info.Commands)
	}
	run() // the id is free again, and the numbers of the events begin at 1
}

func TestADeadKernelStaysDeadWithItsCause(t *testing.T) {
	r := withKernel(t, fake.Options{})
	r.wantStatus(r.run("exit 7"), cellhold.StatusExit)
	r.renew()
	if s := r.untilState(cellhold.KernelDead); s.Cause != cellhold.StatusExit || s.Exit != 7 {
		t.Errorf("%+v, want dead by exit status 7", s)
	}
	if err := r.kernel.Restart(r.ctx); err != nil {
		t.Fatal(err)
	}
	r.untilState(cellhold.KernelIdle)
	r.wantStatus(r.run("print on"), cellhold.StatusOK)
}

func TestAKernelThatCannotBeRenewedIsReportedAndTheAgentContinues(t *testing.T) {
	for how, want := range map[string]string{
		"hang":  "deadline",
		"raise": "RuntimeError: no new key",
		"lie":   "kept its old key",
		"die":   "was lost",
	} {
		if how == "lie" && overStream(t) {
			continue // there is no key
		}
		t.Run(how, func(t *testing.T) {
			r := withKernel(t, fake.Options{})
			r.wantStatus(r.run("tamper "+how), cellhold.StatusOK)
			_, err := r.client.Renew(r.ctx, guestapi.Renew{Timeout: 100 * time.Millisecond})
			if cellhold.KindOf(err) != cellhold.Unavailable || !strings.Contains(err.Error(), "Kernel toy could not be renewed") ||
				!strings.Contains(err.Error(), want) {
				t.Errorf("%v, want unavailable with %q", err, want)
			}
			if how == "die" {
				r.untilState(cellhold.KernelDead)
				return
			}
			r.wantStatus(r.run("print on"), cellhold.StatusOK)
		})
	}
}

func TestAKernelspecWithoutRenewalCodeIsValid(t *testing.T) {
	r := newRig(t, fake.Options{})
	if err := r.kernel.Start(r.ctx, guestapi.StartKernel{Spec: fake.Plain}); err != nil {
		t.Fatal(err)
	}
	r.watch(0)
	r.untilState(cellhold.KernelIdle)
	r.renew()
	r.wantStatus(r.run("print on"), cellhold.StatusOK)
	r.wantStatus(r.run("get seed"), cellhold.StatusError)
}

func TestARenewalEndsEarlierReaders(t *testing.T) {
	r := withKernel(t, fake.Options{})
	next := r.next
	if _, err := r.client.Renew(r.ctx, guestapi.Renew{Timeout: patience}); err != nil {
		t.Fatal(err)
	}
	for {
		e, err, ok := next()
		if err != nil || !ok {
			break
		}
		t.Errorf("a reader from before the renewal got %s", show([]guestapi.Event{e}))
	}
}

func TestPreparationIsSilent(t *testing.T) {
	r := withKernel(t, fake.Options{})
	r.run("set x 1")
	if p := r.prepare(guestapi.Prepare{Code: "add x 1\nblurt nobody hears this\ndisplay image/png AAAA"}); p.Error != "" {
		t.Errorf("the preparation failed: %s", p.Error)
	}
	o := r.run("get x")
	r.wantText(o, `"2"`)
	if o.done.ExecutionCount != 2 || o.events[0].Seq != 5 {
		t.Errorf("cell %d with events from %d, want 2 from 5: the preparation left traces: %s", o.done.ExecutionCount, o.events[0].Seq, show(o.events))
	}
	info, err := r.client.Info(r.ctx)
	if err != nil || info.Kernels[0].Strange != 0 {
		t.Errorf("%+v %v, want no strange messages", info, err)
	}
}

func TestAPreparationReportsItsException(t *testing.T) {
	r := withKernel(t, fake.Options{})
	if p := r.prepare(guestapi.Prepare{Code: "error ValueError bad\x1b[31m"}); p.Error != "ValueError: bad [31m" {
		t.Errorf("the error of the preparation is %q", p.Error)
	}
	r.wantStatus(r.run("print on"), cellhold.StatusOK)
}

func TestAPreparationEndsAtItsDeadline(t *testing.T) {
	r := withKernel(t, fake.Options{})
	r.run("set x 1")
	p := r.prepare(guestapi.Prepare{Code: "loop", Timeout: 50 * time.Millisecond})
	if !strings.Contains(p.Error, "deadline") {
		t.Errorf("%q, want an error about the deadline", p.Error)
	}
	r.wantText(r.run("get x"), `"1"`)

	_, err := r.kernel.Prepare(r.ctx, guestapi.Prepare{Code: "stubborn", Timeout: 50 * time.Millisecond})
	if cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("code that ignores interrupts: %v, want a conflict", err)
	}
	r.untilState(cellhold.KernelIdle) // in a new process
	r.wantStatus(r.run("get x"), cellhold.StatusError)
}

func TestNoCellRunsDuringAPreparation(t *testing.T) {
	r := withKernel(t, fake.Options{})
	done := make(chan error, 1)
	go func() {
		_, err := r.kernel.Prepare(r.ctx, guestapi.Prepare{Code: "loop", Timeout: time.Second})
		done <- err
	}()
	for { // repeat until the preparation has begun
		info, err := r.client.Info(r.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if info.Kernels[0].State == cellhold.KernelBusy {
			break
		}
	}
	err := r.kernel.Execute(r.ctx, guestapi.Execute{Cell: "c1", Code: "print x", Timeout: patience})
	if cellhold.KindOf(err) != cellhold.Conflict {
		t.Errorf("a cell: %v, want a conflict", err)
	}
	if err := r.kernel.Interrupt(r.ctx, ""); err != nil { // has no effect, because no cell runs
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Errorf("the preparation: %v", err)
	}
	r.wantStatus(r.run("print on"), cellhold.StatusOK)
}

func TestPreparedStartupCodeRunsAfterEveryRestart(t *testing.T) {
	r := newRig(t, fake.Options{})
	r.start("set x 1")
	r.untilState(cellhold.KernelIdle)
	for _, step := range []struct{ code, want string }{{"set x 2", `"2"`}, {"", ""}} {
		r.prepare(guestapi.Prepare{Code: step.code, Startup: true})
		if err := r.kernel.Restart(r.ctx); err != nil {
			t.Fatal(err)
		}
		r.untilState(cellhold.KernelIdle)
		r.wantText(r.run("get x"), step.want)
	}
}
