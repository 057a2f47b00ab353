package store

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/memory"
	"cellhold/internal/record"
)

// page returns a cell that shows a page of HTML of size bytes.
func page(s cellhold.SessionID, size int) record.Cell {
	c := newCell(s, "page")
	c.State = cellhold.CellDone
	text, _ := json.Marshal("x")
	html := `"` + strings.Repeat("<b>&", size/4) + `"`
	c.Outputs = []cellhold.Output{{Type: cellhold.EventDisplayData, Data: map[string]json.RawMessage{"text/html": json.RawMessage(html), "text/plain": text}}}
	return c
}

func TestARecordHasNoEscapesForHTML(t *testing.T) {
	d := open(t, t.TempDir())
	id := put(t, d)
	const size = 1 << 20
	c := page(id, size)
	must(t, d.PutCell(t.Context(), c))
	var stored int
	must(t, d.read.QueryRowContext(t.Context(), `SELECT length(record) FROM cells`).Scan(&stored))
	if stored > size+4<<10 {
		t.Errorf("the record of %d bytes of HTML has %d bytes", size, stored)
	}
	got, err := d.Cell(t.Context(), id, c.ID)
	must(t, err)
	if string(got.Outputs[0].Data["text/html"]) != string(c.Outputs[0].Data["text/html"]) || got.Code != c.Code {
		t.Error("the cell differs after it was stored")
	}
}

// TestLargeRecordsAreReadWithinABudget uses a budget that has space for one large record.
func TestLargeRecordsAreReadWithinABudget(t *testing.T) {
	d := open(t, t.TempDir())
	id := put(t, d)
	c := page(id, 2*large)
	must(t, d.PutCell(t.Context(), c))
	must(t, d.Append(t.Context(), id, []record.Event{stream(1, strings.Repeat("x", 2*large))}))
	d.server = memory.New(3 * large)
	var now, most atomic.Int32
	inside := func() {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		now.Add(-1)
	}
	var run sync.WaitGroup
	for range 8 {
		run.Go(func() {
			if err := d.UseCell(t.Context(), id, c.ID, func(record.Cell, error) { inside() }); err != nil {
				t.Error(err)
			}
		})
		run.Go(func() {
			for _, err := range d.Cells(t.Context(), id) {
				if err != nil {
					t.Error(err)
				}
				inside()
			}
		})
		run.Go(func() {
			for _, err := range d.Read(t.Context(), id, 0) {
				if err != nil {
					t.Error(err)
				}
				inside()
			}
		})
	}
	run.Wait()
	if most.Load() != 1 {
		t.Errorf("%d large records were in use at the same time, want 1", most.Load())
	}
	if share, err := d.server.Take(t.Context(), 3*large); err != nil || share == nil {
		t.Errorf("after the reads: got %v, want the whole budget", err)
	}
}

// exhausted returns a database with a small and a large cell, whose budget of requests is used up, and the context of a
// request.
func exhausted(t *testing.T) (d *DB, request context.Context, id cellhold.SessionID, small, big record.Cell) {
	t.Helper()
	d = open(t, t.TempDir())
	id = put(t, d)
	small, big = newCell(id, "1"), page(id, 2*large)
	must(t, d.PutCell(t.Context(), small))
	must(t, d.PutCell(t.Context(), big))
	if _, err := d.requests.Take(t.Context(), requestBudget); err != nil {
		t.Fatal(err)
	}
	return d, memory.WithPatience(t.Context(), time.Millisecond), id, small, big
}

func TestTheServerAndSmallReadsDoNotWaitForTheBudgetOfRequests(t *testing.T) {
	d, request, id, small, big := exhausted(t)
	if got, err := d.Cell(request, id, small.ID); err != nil || got.Code != "1" {
		t.Errorf("a small cell for a request: got %q, %v", got.Code, err)
	}
	if _, err := d.Cell(request, id, big.ID); cellhold.KindOf(err) != cellhold.Unavailable {
		t.Errorf("a large cell for a request: got %v, want Unavailable", err)
	}
	if _, err := d.Cell(t.Context(), id, big.ID); err != nil {
		t.Errorf("a large cell for the server: got %v", err)
	}
}

func TestOutputsFromElsewhereTakeAShareOfTheSameBudget(t *testing.T) {
	d := open(t, t.TempDir())
	id := put(t, d)
	big := page(id, 2*large)
	must(t, d.PutCell(t.Context(), big))
	request := memory.WithPatience(t.Context(), time.Millisecond)
	release, err := d.Hold(request, requestBudget/keptCopies)
	must(t, err)
	if _, err := d.Cell(request, id, big.ID); cellhold.KindOf(err) != cellhold.Unavailable {
		t.Errorf("a large cell while outputs use the budget: got %v, want Unavailable", err)
	}
	if _, err := d.Hold(request, large+1); cellhold.KindOf(err) != cellhold.Unavailable {
		t.Errorf("a second share: got %v, want Unavailable", err)
	}
	if _, err := d.Hold(request, large); err != nil {
		t.Errorf("a small share: got %v", err)
	}
	release()
	if _, err := d.Cell(request, id, big.ID); err != nil {
		t.Errorf("a large cell after the release: got %v", err)
	}
}

// TestACellFromElsewhereIsNotRead: otherwise its consumer would hold one share and wait for another one.
func TestACellFromElsewhereIsNotRead(t *testing.T) {
	d, request, id, small, big := exhausted(t)
	var ids []cellhold.CellID
	for c, err := range d.StoredCells(request, id, func(c cellhold.CellID) bool { return c == big.ID }) {
		if ids = append(ids, c.ID); err != nil || c.ID == big.ID && c.Outputs != nil {
			t.Errorf("cell %q: got %d outputs, %v", c.ID, len(c.Outputs), err)
		}
	}
	if !slices.Equal(ids, []cellhold.CellID{small.ID, big.ID}) {
		t.Errorf("got the cells %v, want %v", ids, []cellhold.CellID{small.ID, big.ID})
	}
}

func TestARecordThatGrowsBeforeItIsReadTakesItsPresentSize(t *testing.T) {
	d := open(t, t.TempDir())
	id := put(t, d)
	first, second := page(id, 2*large), page(id, 2*large)
	must(t, d.PutCell(t.Context(), first))
	must(t, d.PutCell(t.Context(), second))
	const size, all = 20 * large, 100 * large
	d.server = memory.New(all)
	n := 0
	for c, err := range d.Cells(t.Context(), id) {
		must(t, err)
		if n++; c.ID == first.ID { // the list has the size of the second cell already
			grown := page(id, size)
			grown.ID = second.ID
			must(t, d.PutCell(t.Context(), grown))
			continue
		}
		if free := d.server.Empty(); len(c.Outputs[0].Data["text/html"]) < size || free.Resize(all-keptCopies*size+1) {
			t.Errorf("got %d bytes of HTML, with a share for less", len(c.Outputs[0].Data["text/html"]))
		}
	}
	if free := d.server.Empty(); n != 2 || !free.Resize(all) {
		t.Errorf("got %d cells, want 2, or a share was not released", n)
	}
}
