package transcript

import (
	"errors"
	"io"
	"iter"
	"testing"
	"testing/iotest"

	"cellhold"
)

var cell = cellhold.Cell{ID: "c1", First: 2}

// journal returns a Source of events that are numbered from 1.
func journal(evs ...cellhold.Event) Source {
	return func(after int64) iter.Seq2[cellhold.Event, error] {
		return func(yield func(cellhold.Event, error) bool) {
			for i, ev := range evs {
				if ev.Seq = int64(i + 1); ev.Seq > after && !yield(ev, nil) {
					return
				}
			}
		}
	}
}

func text(cell cellhold.CellID, name, text string) cellhold.Event {
	return cellhold.NewEvent(cellhold.EventStream, "python3", cell, cellhold.StreamContent{Name: name, Text: text})
}

var mixed = journal(
	text("c1", "stdout", "of an event before the cell"),
	text("c1", "stdout", "hello "), text("c2", "stdout", "other"), text("c1", "stderr", "oops"),
	cellhold.NewEvent(cellhold.EventDisplayData, "python3", "c1", cellhold.DisplayContent{}),
	text("c1", "stdout", "wörld\n"), text("c1", "stdout", "later"))

func TestATranscriptHasTheTextOfOneStreamOfOneCell(t *testing.T) {
	for stream, want := range map[string]string{"stdout": "hello wörld\n", "stderr": "oops", "stdin": ""} {
		f, err := Open(mixed, cell, stream, 6)
		if err != nil {
			t.Fatal(err)
		}
		if err := iotest.TestReader(f, []byte(want)); err != nil {
			t.Errorf("%s: got %v, want a reader of %q", stream, err, want)
		}
		if f.Size() != int64(len(want)) {
			t.Errorf("%s: got the size %d, want %d", stream, f.Size(), len(want))
		}
	}
}

func TestATranscriptCanBeReadFromAnyOffset(t *testing.T) {
	f, err := Open(mixed, cell, "stdout", 7)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const want = "hello wörld\nlater"
	for at := range len(want) {
		if _, err := f.Seek(int64(at), io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(f); err != nil || string(got) != want[at:] {
			t.Errorf("from offset %d: got %q, %v; want %q", at, got, err, want[at:])
		}
	}
}

func TestOpenReturnsTheErrorOfTheSource(t *testing.T) {
	broken := errors.New("broken")
	source := func(int64) iter.Seq2[cellhold.Event, error] {
		return func(yield func(cellhold.Event, error) bool) { yield(cellhold.Event{}, broken) }
	}
	if _, err := Open(source, cell, "stdout", 9); !errors.Is(err, broken) {
		t.Errorf("got %v, want the error of the source", err)
	}
}
