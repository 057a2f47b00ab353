package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

func TestACellLosesNoOutputWhenTheServerIsKilled(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	first := serve(t, home)
	id := first.session(t, client.CreateSession{User: "ann"})
	first.must(t, id, "x = 42; runs = 0")
	const lines = 40
	code := fmt.Sprintf("import time\nruns += 1\nfor i in range(%d):\n    print('line', i, flush=True)\n    time.sleep(0.1)\n", lines)
	c, err := first.Submit(t.Context(), id, client.Code{Code: code})
	if err != nil {
		t.Fatal(err)
	}
	queued, err := first.Submit(t.Context(), id, client.Code{Code: "x, runs"})
	if err != nil {
		t.Fatal(err)
	}
	first.awaitText(t, c)
	first.signal(t, syscall.SIGKILL)

	second := serve(t, home)
	list, err := second.Sessions(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != id || list[0].User != "ann" {
		t.Fatalf("got the sessions %+v, %v; want the session of ann", list, err)
	}
	if c, err = second.Wait(t.Context(), id, c.ID); err != nil || c.Status != cellhold.StatusOK {
		t.Fatalf("the cell ended with %s (%s), %v; want ok", c.Status, c.Cause, err)
	}
	var want strings.Builder
	for i := range lines {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	if got := text(c); got != want.String() {
		t.Errorf("got the output\n%s\nwant\n%s", got, want.String())
	}
	if queued, err = second.Wait(t.Context(), id, queued.ID); err != nil || text(queued) != "(42, 1)" {
		t.Errorf("x, runs = %s (%s, %v), want (42, 1)", text(queued), queued.Status, err)
	}
	ends := map[cellhold.CellID]int{}
	for ev, err := range second.Watch(t.Context(), id, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Type == cellhold.EventCellDone {
			ends[ev.Cell]++
		}
		if ev.Seq >= queued.Last {
			break
		}
	}
	if ends[c.ID] != 1 || ends[queued.ID] != 1 {
		t.Errorf("got the events cell_done %v by cell, want 1 for each of the two cells", ends)
	}
}

func TestACellEndsAtItsTimeoutAfterAKillOfTheServer(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	first := serve(t, home)
	id := first.session(t, client.CreateSession{})
	first.must(t, id, "x = 42")
	c, err := first.Submit(t.Context(), id, client.Code{Code: "print('begun', flush=True)\nwhile True: pass", Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	first.awaitText(t, c)
	first.signal(t, syscall.SIGKILL)
	second := serve(t, home)
	if c, err = second.Wait(t.Context(), id, c.ID); err != nil || c.Status != cellhold.StatusTimeout {
		t.Fatalf("the cell ended with %s, %v; want timeout", c.Status, err)
	}
	if got := second.must(t, id, "x"); got != "42" {
		t.Errorf("x is %q, want 42", got)
	}
}

func TestASecondServerOnTheSameHomeIsRefused(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	serve(t, home)
	out, err := runProgram(t, "--home", home, "serve", "--listen", "127.0.0.1:0")
	if err == nil || !strings.Contains(out, "Another server") {
		t.Errorf("the second server: got %v, want an error with \"Another server\":\n%s", err, out)
	}
}
