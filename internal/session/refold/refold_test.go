package refold

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"

	"cellhold"
	"cellhold/internal/record"
)

// history is a store of cells and events that counts its calls.
type history struct {
	evs    []record.Event
	cells  map[cellhold.CellID]record.Cell
	order  []cellhold.CellID
	groups []int // number of records written after each read of the events
}

func (h *history) Read(_ context.Context, _ cellhold.SessionID, after int64) iter.Seq2[record.Event, error] {
	h.groups = append(h.groups, 0)
	return func(yield func(record.Event, error) bool) {
		for _, ev := range h.evs[after:] {
			if !yield(ev, nil) {
				return
			}
		}
	}
}

func (h *history) Cells(context.Context, cellhold.SessionID) iter.Seq2[record.Cell, error] {
	return func(yield func(record.Cell, error) bool) {
		for _, id := range h.order {
			if !yield(h.cells[id], nil) {
				return
			}
		}
	}
}

func (h *history) PutCell(_ context.Context, c record.Cell) error {
	h.groups[len(h.groups)-1]++
	h.cells[c.ID] = c
	return nil
}

func TestRecordsThatLackLateOutputAreFoldedInGroups(t *testing.T) {
	h := &history{cells: map[cellhold.CellID]record.Cell{}}
	say := func(id cellhold.CellID, text string) int64 {
		ev := record.NewEvent(cellhold.EventStream, "toy", id, cellhold.StreamContent{Name: "stdout", Text: text})
		ev.Seq = int64(len(h.evs) + 1)
		h.evs = append(h.evs, ev)
		return ev.Seq
	}
	large := strings.Repeat("x", 20<<20)
	for i := range 50 {
		id, text := cellhold.CellID(fmt.Sprint("c", i)), "early\n"
		if i >= 40 {
			text = large
		}
		first := say(id, text)
		h.order = append(h.order, id)
		h.cells[id] = record.Cell{Cell: cellhold.Cell{ID: id, Session: "s", State: cellhold.CellDone, First: first, Last: first}}
	}
	for _, id := range h.order {
		say(id, "late\n")
	}
	if err := Cells(t.Context(), h, "s", int64(len(h.evs)), nil); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(h.groups); got != "[0 16 16 11 3 3 1]" {
		t.Errorf("the records were folded in groups of %s", got)
	}
	for i, id := range h.order {
		c := h.cells[id]
		if text := c.Outputs[0].Text; !strings.HasSuffix(text, "late\n") || c.Last != int64(51+i) || len(text) > 1<<20+100 {
			t.Errorf("cell %s ends with event %d and has %d bytes", id, c.Last, len(text))
		}
	}
}
