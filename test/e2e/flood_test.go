package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"cellhold"
	"cellhold/client"
)

// In whole these take half an hour on two cores (CELLHOLD_TEST_FLOOD=1: 1 GiB, a line of 256 MiB, a
// million displays). Otherwise a part of each, as long as it takes seconds.
var whole = os.Getenv("CELLHOLD_TEST_FLOOD") != ""

func part(of, all int) int {
	if whole {
		return all
	}
	return of
}

func TestFloodsOfOutputLeaveTheServerFlatAndTheNeighbourAnswered(t *testing.T) {
	s := serve(t, newHome(t))
	id, neighbour := s.session(t, client.CreateSession{}), s.session(t, client.CreateSession{})
	s.must(t, id, "1")
	mib, line, displays := part(96, 1024), part(48, 256), part(10_000, 1_000_000)
	for _, flood := range []struct {
		name, code string
		bytes      int64
		tail       string
	}{
		{fmt.Sprintf("%d MiB in pieces", mib), fmt.Sprintf("for i in range(%d): print(str(i).zfill(1048575))", mib), int64(mib) << 20, fmt.Sprintf("%d\n", mib-1)},
		{fmt.Sprintf("one line of %d MiB", line), fmt.Sprintf("print('x' * (%d << 20) + 'end')", line), int64(line)<<20 + 4, "xend\n"},
		{fmt.Sprintf("%d displays", displays), fmt.Sprintf("for i in range(%d): display(i)", displays), 0, fmt.Sprint(displays - 1)},
	} {
		m := s.watchMemory(t)
		begun := time.Now()
		c, err := s.Submit(t.Context(), id, client.Code{Code: flood.code, Timeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		slowest := s.askUntilDone(t, neighbour, id, c.ID)
		if c, err = s.Wait(t.Context(), id, c.ID); err != nil || c.Status != cellhold.StatusOK {
			t.Errorf("%s: the cell ended with %s (%s), %v", flood.name, c.Status, c.Cause, err)
		}
		t.Logf("%s: %s, %d of %d bytes returned; the neighbour waited %s at the most",
			flood.name, time.Since(begun).Round(time.Millisecond), c.Bytes-c.Omitted, c.Bytes, slowest.Round(time.Millisecond))
		if flood.bytes != 0 && c.Bytes != flood.bytes || !c.Truncated || c.Omitted == 0 || len(text(c)) > 2<<20 {
			t.Errorf("%s: %d bytes, truncated %t, omitted %d, want %d bytes", flood.name, c.Bytes, c.Truncated, c.Omitted, flood.bytes)
		}
		if !strings.HasSuffix(text(c), flood.tail) {
			t.Errorf("%s: the end is missing", flood.name)
		}
		m.flat(t, flood.name)
	}
	if got := s.must(t, id, "6 * 7"); got != "42" {
		t.Errorf("after the floods the kernel says %q", got)
	}
}

// askUntilDone has the neighbour compute until the cell is done, and returns the longest answer.
func (s *server) askUntilDone(t *testing.T, neighbour, id cellhold.SessionID, cell cellhold.CellID) (slowest time.Duration) {
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
		if got := s.must(t, neighbour, "6 * 7"); got != "42" {
			t.Errorf("the neighbour says %q", got)
		}
		slowest = max(slowest, time.Since(begun))
		select {
		case <-done:
			return slowest
		case <-time.After(time.Second):
		}
	}
}
