package kernel_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cellhold"
	"cellhold/internal/kernel"
	"cellhold/internal/notebook"
	"cellhold/internal/record"
)

// past adds n done cells to a journal, each with a display of the given size in bytes.
func (m *memory) past(n, size int) (ids []cellhold.CellID) {
	data := json.RawMessage(`"` + strings.Repeat("x", size) + `"`)
	shown := record.NewEvent(cellhold.EventDisplayData, "toy", "", cellhold.DisplayContent{Data: map[string]json.RawMessage{"text/plain": data}})
	for i := range n {
		id := cellhold.CellID(fmt.Sprintf("past%d", i))
		shown.Cell, shown.Seq = id, int64(len(m.evs)+1)
		done := record.NewEvent(cellhold.EventCellDone, "toy", id, cellhold.CellDoneContent{Status: cellhold.StatusOK})
		done.Seq = shown.Seq + 1
		m.evs = append(m.evs, shown, done)
		m.cells[id] = record.Cell{Cell: cellhold.Cell{ID: id, Session: "s", Kernel: "toy", State: cellhold.CellDone, First: shown.Seq, Last: done.Seq,
			Outputs: []cellhold.Output{{Type: cellhold.EventDisplayData, Data: map[string]json.RawMessage{"text/plain": data}}}}}
		ids = append(ids, id)
	}
	return ids
}

// openLate runs a kernel that can read records, and counts the reads.
func openLate(t *testing.T, j *memory, a *agent, change func(*kernel.Options)) (w *world, reads func() int) {
	n := 0
	w = openWith(t, j, a, func(o *kernel.Options) {
		o.SessionOutput, o.CellOutput = 0, 0
		o.Record = func(_ context.Context, id cellhold.CellID) (record.Cell, error) {
			j.mu.Lock()
			defer j.mu.Unlock()
			n++
			c, ok := j.cells[id]
			if !ok {
				return c, cellhold.Errorf(cellhold.NotFound, "no cell %s", id)
			}
			return c, nil
		}
		change(o)
	})
	return w, func() int {
		j.mu.Lock()
		defer j.mu.Unlock()
		return n
	}
}

func (a *agent) print(id cellhold.CellID, text string) {
	a.say(id, cellhold.EventStream, cellhold.StreamContent{Name: "stdout", Text: text})
}

// all returns the records that were written, in order.
func (m *memory) all() []record.Cell {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.puts)
}

func (m *memory) written() int { return len(m.all()) }

// printed returns the text in the record of a cell.
func (m *memory) printed(id cellhold.CellID) (text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.cells[id].Outputs {
		text += o.Text
	}
	return text
}

func TestLateOutputOfManyLargeCellsIsGatheredInTurn(t *testing.T) {
	if testing.Short() {
		t.Skip("writes hundreds of MiB, which takes minutes with the race detector")
	}
	synctest.Test(t, func(t *testing.T) {
		const size = 8 << 20
		j, a := newMemory(), newAgent(silent)
		ids := j.past(20, size)
		w, reads := openLate(t, j, a, func(*kernel.Options) {})
		defer w.stop()
		begun := time.Now()
		for _, line := range []string{"one\n", "two\n"} {
			for _, id := range ids {
				a.print(id, line)
			}
			synctest.Wait()
			gathered := 0
			for _, id := range ids {
				if _, ok := w.kernel.Late(id); ok {
					gathered++
				}
			}
			if gathered == 0 || gathered*size > 64<<20 || reads() > gathered || j.written() > 0 {
				t.Fatalf("output of %d cells is gathered, %d records were read and %d written too early", gathered, reads(), j.written())
			}
		}
		<-time.After(5 * time.Minute) // of the fake clock
		for _, id := range ids {
			if got := j.printed(id); got != "one\ntwo\n" {
				t.Errorf("the record of %s has %q", id, got)
			}
		}
		if j.written() != len(ids) || reads() > len(ids) {
			t.Errorf("%d records were written and %d read for %d cells", j.written(), reads(), len(ids))
		}
		for i, c := range j.all() { // at first 64 MiB, and then one MiB for each second
			if allowed := 64<<20 + int64(c.Ended.Sub(begun).Seconds())<<20; int64(i+1)*size > allowed {
				t.Errorf("%d records are written after %s, which is too early", i+1, c.Ended.Sub(begun))
			}
		}
	})
}

func TestLateOutputIsWrittenWhenTheKernelStops(t *testing.T) {
	if testing.Short() {
		t.Skip("writes hundreds of MiB, which takes minutes with the race detector")
	}
	synctest.Test(t, func(t *testing.T) {
		j, a := newMemory(), newAgent(silent)
		ids := j.past(10, 8<<20)
		w, _ := openLate(t, j, a, func(*kernel.Options) {})
		for _, id := range ids {
			a.print(id, "late\n")
		}
		synctest.Wait()
		w.stop()
		for _, id := range ids {
			if got := j.printed(id); got != "late\n" {
				t.Errorf("the record of %s has %q", id, got)
			}
		}
	})
}

func TestTheKernelsOfASessionShareTheSpaceForLateOutput(t *testing.T) {
	if testing.Short() {
		t.Skip("writes hundreds of MiB, which takes minutes with the race detector")
	}
	synctest.Test(t, func(t *testing.T) {
		j, a, b := newMemory(), newAgent(silent), newAgent(silent)
		ids := j.past(12, 8<<20)
		first, _ := openLate(t, j, a, func(*kernel.Options) {})
		defer first.stop()
		for i, id := range ids[6:] {
			j.evs[2*(6+i)].Kernel, j.evs[2*(6+i)+1].Kernel = "other", "other"
			c := j.cells[id]
			c.Kernel = "other"
			j.cells[id] = c
		}
		second, _ := openLate(t, j, b, func(o *kernel.Options) { o.ID, o.Boot, o.Log = "other", "b2", first.log })
		defer second.stop()
		gathered := 0
		for i, id := range ids {
			[]*agent{a, b}[i/6].print(id, "late\n")
			synctest.Wait()
		}
		for i, id := range ids {
			if _, ok := []*world{first, second}[i/6].kernel.Late(id); ok {
				gathered++
			}
		}
		if gathered < 6 || gathered > 8 {
			t.Errorf("output of %d cells of 8 MiB is gathered, want at most 64 MiB", gathered)
		}
		<-time.After(5 * time.Minute)
		for _, id := range ids {
			if got := j.printed(id); got != "late\n" {
				t.Errorf("the record of %s has %q", id, got)
			}
		}
	})
}

func TestLateOutputOfUnknownCellsReadsNoRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, a := newMemory(), newAgent(silent)
		j.cells["other"] = record.Cell{Cell: cellhold.Cell{ID: "other", Session: "s", Kernel: "other", State: cellhold.CellDone}}
		w, reads := openLate(t, j, a, func(*kernel.Options) {})
		defer w.stop()
		for i := range 100 {
			a.print("other", "x")
			a.print(cellhold.CellID(fmt.Sprint("unknown", i)), "x")
		}
		synctest.Wait()
		if reads() > 0 {
			t.Errorf("%d records were read, want 0", reads())
		}
	})
}

func TestLateOutputWithoutSpaceInTheJournalIsReportedAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, a := newMemory(), newAgent(silent)
		id := j.past(1, 10)[0]
		w, _ := openLate(t, j, a, func(o *kernel.Options) { o.SessionOutput = sessionOutput })
		defer w.stop()
		fill := record.NewEvent(cellhold.EventStream, "other", "c9", cellhold.StreamContent{Name: "stdout", Text: strings.Repeat("x", sessionOutput)})
		if err := w.log.Append(t.Context(), []record.Event{fill}); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			a.print(id, "lost output")
		}
		<-time.After(5 * time.Second)
		if got := j.printed(id); !strings.Contains(got, "bytes left out") || strings.Contains(got, "lost output") {
			t.Errorf("the record has %q", got)
		}
		for range 5000 {
			a.print(id, "x")
			<-time.After(2 * time.Second)
		}
		before := j.written()
		for range 100 {
			a.print(id, "x")
			<-time.After(2 * time.Second)
		}
		if over := w.log.Kept() - sessionOutput; over > 1<<20 || before < 100 || j.written() > before {
			t.Errorf("the journal is %d bytes above its limit, and %d records were written, %d of them at the end", over, j.written(), j.written()-before)
		}
	})
}

func TestTheRestAfterLateOutputCountsTheDisplaysOfOtherCells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, a := newMemory(), newAgent(silent)
		id := j.past(1, 10)[0]
		w, _ := openLate(t, j, a, func(o *kernel.Options) {
			o.Updates = func(context.Context, record.Cell, []notebook.Update) int64 { return 50 << 20 }
		})
		defer w.stop()
		for range 60 {
			a.say(id, cellhold.EventUpdateDisplayData, cellhold.DisplayContent{Data: map[string]json.RawMessage{"text/plain": json.RawMessage(`"x"`)},
				Transient: &cellhold.Transient{DisplayID: "d"}})
			<-time.After(time.Second)
		}
		if n := j.written(); n != 2 {
			t.Errorf("the record was written %d times in a minute, want 2: once at the start, and once after a pause of 50 s", n)
		}
	})
}

func TestOutputInOneBatchWithTheEndOfItsCellIsInTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, a := newMemory(), newAgent(silent)
		w, _ := openLate(t, j, a, func(*kernel.Options) {})
		defer w.stop()
		if _, err := w.kernel.Submit(t.Context(), record.Cell{Cell: cellhold.Cell{ID: "c1", Session: "s", Kernel: "toy"}, Timeout: time.Minute}); err != nil {
			t.Fatal(err)
		}
		<-a.took
		gate := make(chan struct{})
		j.mu.Lock()
		j.gate = gate
		j.mu.Unlock()
		a.say("c1", cellhold.EventCellStarted, cellhold.CellStartedContent{})
		synctest.Wait() // the first batch is being written, so the rest is one batch
		a.print("c1", "before\n")
		a.done("c1", cellhold.StatusOK)
		a.print("c1", "after\n")
		synctest.Wait()
		j.mu.Lock()
		j.gate = nil
		j.mu.Unlock()
		close(gate)
		w.wait(t, "c1")
		<-time.After(5 * time.Second)
		if got := j.printed("c1"); got != "before\nafter\n" {
			t.Errorf("the record has %q", got)
		}
	})
}
