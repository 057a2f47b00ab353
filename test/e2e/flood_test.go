package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// fullFlood selects the full test: 1 GiB of output, a line of 256 MiB, and a million displays. It takes half an
// hour on two cores. By default, each part takes some seconds.
var fullFlood = os.Getenv("CELLHOLD_TEST_FLOOD") != ""

// shortOrFull returns the size for the selected test.
func shortOrFull(short, full int) int {
	if fullFlood {
		return full
	}
	return short
}

// flood is code with much output.
type flood struct {
	name, code string
	bytes      int64  // bytes of the output; 0 if unknown
	tail       string // end of the output
}

func TestFloodsOfOutputUseAtMost64MiBOfServerMemoryAndOtherSessionsContinue(t *testing.T) {
	s := serve(t, newHome(t))
	id, other := s.session(t, client.CreateSession{}), s.session(t, client.CreateSession{})
	s.must(t, id, "1")
	mib, line, displays := shortOrFull(96, 1024), shortOrFull(48, 256), shortOrFull(10_000, 1_000_000)
	for _, flood := range []flood{
		{fmt.Sprintf("%d MiB in pieces", mib), fmt.Sprintf("for i in range(%d): print(str(i).zfill(1048575))", mib), int64(mib) << 20, fmt.Sprintf("%d\n", mib-1)},
		{fmt.Sprintf("one line of %d MiB", line), fmt.Sprintf("print('x' * (%d << 20) + 'end')", line), int64(line)<<20 + 4, "xend\n"},
		{fmt.Sprintf("%d displays", displays), fmt.Sprintf("for i in range(%d): display(i)", displays), 0, fmt.Sprint(displays - 1)},
	} {
		t.Run(flood.name, func(t *testing.T) { s.flood(t, id, other, flood) })
	}
	if got := s.must(t, id, "6 * 7"); got != "42" {
		t.Errorf("after the floods the kernel prints %q, want 42", got)
	}
}

// flood runs one flood and checks the result.
func (s *server) flood(t *testing.T, id, other cellhold.SessionID, flood flood) {
	m := s.watchMemory(t)
	begun := time.Now()
	c, err := s.Submit(t.Context(), id, client.Code{Code: flood.code, Timeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	slowest := s.askUntilDone(t, other, id, c.ID)
	if c, err = s.Wait(t.Context(), id, c.ID); err != nil || c.Status != cellhold.StatusOK {
		t.Errorf("%s: the cell ended with %s (%s), %v; want ok", flood.name, c.Status, c.Cause, err)
	}
	t.Logf("%s: %s, %d of %d bytes returned; the other session waited at most %s",
		flood.name, time.Since(begun).Round(time.Millisecond), c.Bytes-c.Omitted, c.Bytes, slowest.Round(time.Millisecond))
	if flood.bytes != 0 && c.Bytes != flood.bytes || !c.Truncated || c.Omitted == 0 || len(text(c)) > 2<<20 {
		t.Errorf("%s: got %d bytes, truncated %t, omitted %d; want %d bytes (0 for any), true, more than 0", flood.name, c.Bytes, c.Truncated, c.Omitted, flood.bytes)
	}
	if !strings.HasSuffix(text(c), flood.tail) {
		t.Errorf("%s: got another end of the text, want %q", flood.name, flood.tail)
	}
	m.checkGrowth(t, flood.name)
}

// askUntilDone runs short cells in the other session until the flood's cell is done. It returns the time of the
// slowest one.
func (s *server) askUntilDone(t *testing.T, other, id cellhold.SessionID, cell cellhold.CellID) (slowest time.Duration) {
	t.Helper()
	done := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		defer close(done)
		if _, err := s.Wait(t.Context(), id, cell); err != nil {
			t.Error(err)
		}
	})
	defer waiting.Wait()
	for {
		begun := time.Now()
		if got := s.must(t, other, "print(6 * 7)"); got != "42\n" { // print avoids IPython's warning after 1,000 results
			t.Errorf("the other session prints %q, want %q", got, "42\n")
		}
		slowest = max(slowest, time.Since(begun))
		select {
		case <-done:
			return slowest
		case <-time.After(time.Second):
		}
	}
}

func TestACellWithEndlessOutputEndsAtItsDeadlineAndKeepsTheVariables(t *testing.T) {
	t.Parallel()
	s := serve(t, newHome(t))
	id := s.session(t, client.CreateSession{})
	s.must(t, id, "x = 42")
	c := s.run(t, id, "while True: print('x' * 100_000)", 3*time.Second)
	if c.Status != cellhold.StatusTimeout || !c.Truncated {
		t.Errorf("the cell ended with %s (%s), truncated %t; want timeout, true", c.Status, c.Cause, c.Truncated)
	}
	if got := s.must(t, id, "x"); got != "42" {
		t.Errorf("x is %q, want 42", got)
	}
}

func TestAFloodContinuesWithoutAServerAndTheCellReportsDroppedOutput(t *testing.T) {
	t.Parallel()
	home := newHome(t)
	s := serve(t, home)
	id := s.session(t, client.CreateSession{})
	const mib = 100 // three times the output that the agent keeps
	c, err := s.Submit(t.Context(), id, client.Code{Code: fmt.Sprintf("for i in range(%d): print(str(i).zfill((1 << 20) - 1), flush=True)", mib)})
	if err != nil {
		t.Fatal(err)
	}
	s.awaitText(t, c)
	s.signal(t, syscall.SIGKILL)
	begun := time.Now()
	<-time.After(15 * time.Second) // longer than the agent waits for a server
	s = serve(t, home)
	if c, err = s.Wait(t.Context(), id, c.ID); err != nil || c.Status != cellhold.StatusOK {
		t.Fatalf("the cell ended with %s (%s), %v; want ok", c.Status, c.Cause, err)
	}
	t.Logf("ended %s after the kill of the server; %d of %d MiB printed, %d omitted", time.Since(begun), c.Bytes>>20, mib, c.Omitted>>20)
	if !c.Truncated || c.Bytes < mib<<20*9/10 {
		t.Errorf("the cell counts %d bytes, truncated %t; want at least 90%% of %d MiB, true", c.Bytes, c.Truncated, mib)
	}
	dropped := false
	for _, ev := range s.events(t, id, c) {
		dropped = dropped || ev.Type == cellhold.EventOutputDropped
	}
	if !dropped {
		t.Error("got no event output_dropped, want one")
	}
	if got := s.must(t, id, "6 * 7"); got != "42" {
		t.Errorf("after the flood the kernel prints %q, want 42", got)
	}
}
