package store

import (
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/record"
)

// written is the number and the size of the records of one step of a copy.
type written struct{ records, bytes int }

// checkSteps checks that no step has more than copyBytes, except one of a single record.
func checkSteps(t *testing.T, steps []written, records int) {
	t.Helper()
	for _, s := range steps {
		if s.bytes > copyBytes && s.records > 1 {
			t.Errorf("a step has %d records with %d bytes, want at most %d bytes", s.records, s.bytes, copyBytes)
		}
		records -= s.records
	}
	if records != 0 {
		t.Errorf("%d records are missing in the copy", records)
	}
}

func TestACopyHoldsFewCellsThatUpdatesOfDisplaysMadeLarge(t *testing.T) {
	d := open(t, t.TempDir())
	from, to := put(t, d), put(t, d)
	sizes := []int{copyBytes / 2, 100, copyBytes / 4, 4 * copyBytes, 100, copyBytes / 2, copyBytes / 2, copyBytes / 2}
	var cells []record.Cell
	for i, size := range sizes {
		c := page(from, size)
		c.First, c.Bytes = int64(i+1), 10 // the cell itself wrote 10 bytes; an update replaced them
		cells = append(cells, c)
		must(t, d.PutCell(t.Context(), c))
	}
	var steps []written
	must(t, d.copyCells(t.Context(), from, to, int64(len(sizes)), time.Now(), func(list []record.Cell) error {
		s := written{records: len(list)}
		for _, c := range list {
			s.bytes += len(c.Outputs[0].Data["text/html"])
		}
		steps = append(steps, s)
		return d.Append(t.Context(), to, nil, list...)
	}))
	checkSteps(t, steps, len(cells))
	for _, c := range cells {
		got, err := d.Cell(t.Context(), to, c.ID)
		must(t, err)
		if string(got.Outputs[0].Data["text/html"]) != string(c.Outputs[0].Data["text/html"]) {
			t.Errorf("cell %s differs in the copy", c.ID)
		}
	}
}

func TestACopyHoldsFewCommandsWithLargeArguments(t *testing.T) {
	d := open(t, t.TempDir())
	from, to := put(t, d), put(t, d)
	const n = 8
	for i := range n {
		c := record.Command{Command: cellhold.Command{ID: cellhold.NewCommandID(), Session: from, Args: []string{strings.Repeat("x", copyBytes/2)}, First: int64(i + 1)}}
		must(t, d.AppendCommands(t.Context(), from, nil, c))
	}
	var steps []written
	must(t, d.copyCommands(t.Context(), from, to, n, func(list []record.Command) error {
		s := written{records: len(list)}
		for _, c := range list {
			s.bytes += len(c.Args[0])
		}
		steps = append(steps, s)
		return d.AppendCommands(t.Context(), to, nil, list...)
	}))
	checkSteps(t, steps, n)
}
