package agent_test

import (
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/sandbox/fake"
)

// withStream makes a sandbox with a ready kernel that has a stream.
func withStream(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, fake.Options{})
	r.spec = fake.Streamed
	r.start("")
	r.untilState(cellhold.KernelIdle)
	return r
}

func TestTheLastWordsOfAKernelBelongToItsCell(t *testing.T) {
	for name, test := range map[string]struct {
		code    string
		timeout time.Duration
		status  cellhold.CellStatus
	}{
		"exit":     {"exit 3", patience, cellhold.StatusExit},
		"signal":   {"kill 11", patience, cellhold.StatusSignal},
		"deadline": {"stubborn", 20 * time.Millisecond, cellhold.StatusTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			r := withStream(t)
			o := r.finish(r.submitFor("print said\nqueue last\nqueue words\n"+test.code, test.timeout))
			r.wantStatus(o, test.status)
			r.wantText(o, "said\nlast\nwords\n")
			if test.status != cellhold.StatusTimeout { // after that the kernel restarts by itself
				if err := r.kernel.Restart(r.ctx); err != nil {
					t.Fatal(err)
				}
			}
			r.untilState(cellhold.KernelIdle)
			r.wantText(r.run("print again"), "again\n")
		})
	}
}

func TestTheLastWordsOfARestartedKernelBelongToItsCell(t *testing.T) {
	r := withStream(t)
	id := r.submit("print said\nqueue last words\nstubborn")
	r.until("output", func(e guestapi.Event) bool { return e.Type == cellhold.EventStream })
	if err := r.kernel.Restart(r.ctx); err != nil {
		t.Fatal(err)
	}
	o := r.finish(id)
	r.wantStatus(o, cellhold.StatusInterrupted)
	r.wantText(o, "last words\n") // the rest was read before
}

// TestLastWordsOfAnEarlierCellAreLateOutput: a thread of the earlier cell can have written them.
func TestLastWordsOfAnEarlierCellAreLateOutput(t *testing.T) {
	r := withStream(t)
	earlier := r.submit("queue late")
	r.finish(earlier)
	id := r.submit("queue last\nexit 3")
	late := r.until("late output", func(e guestapi.Event) bool { return e.Type == cellhold.EventStream })
	if e := late[len(late)-1]; e.Cell != earlier || text(t, e) != "late\n" {
		t.Errorf("%s", show(late))
	}
	r.wantText(r.finish(id), "last\n")
}

func TestLastWordsWithoutSpaceAreReported(t *testing.T) {
	r := withStream(t)
	o := r.run("queue last words\noverflow 600000\nexit 3")
	r.wantText(o, "last words\n")
	if n := len(o.events); n < 2 || o.events[n-2].Type != cellhold.EventOutputDropped {
		t.Errorf("no report of lost output before the end: %s", show(o.events))
	}
}

func TestLastWordsOfAPreparationReachNoCell(t *testing.T) {
	r := withStream(t)
	if _, err := r.client.Kernel("toy").Prepare(r.ctx, guestapi.Prepare{Timeout: patience, Code: "queue secret\noverflow 600000\nexit 3"}); err == nil {
		t.Error("the kernel did not die")
	}
	for _, e := range r.until("the end", func(e guestapi.Event) bool { return e.Type == cellhold.EventKernelState }) {
		if e.Type != cellhold.EventKernelState {
			t.Errorf("%s", show([]guestapi.Event{e}))
		}
	}
}
