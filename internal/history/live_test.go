package history

import (
	"context"
	"encoding/json"
	"iter"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"cellhold"
	"cellhold/internal/command"
	"cellhold/internal/memory"
	"cellhold/internal/record"
)

// kernels has one running cell and one cell with late output.
type kernels struct{ running, late cellhold.Cell }

func (k *kernels) Cell(id cellhold.CellID) (record.Cell, bool) {
	return record.Cell{Cell: k.running}, id == k.running.ID
}
func (k *kernels) WaitCell(context.Context, cellhold.CellID) (cellhold.Cell, bool, error) {
	return cellhold.Cell{}, false, nil
}
func (k *kernels) LateCell(id cellhold.CellID) (record.Cell, bool) {
	return record.Cell{Cell: k.late}, id == k.late.ID
}
func (k *kernels) KernelInfo(cellhold.KernelID) *cellhold.KernelInfo { return nil }
func (k *kernels) Commands() *command.Runner                         { return nil }

// shelf is a store with a budget and some cells. onHold is called at each Hold, if it is not nil.
type shelf struct {
	Store
	budget *memory.Budget
	cells  []record.Cell
	onHold func(size int64)
}

func (s *shelf) Hold(ctx context.Context, size int64) (func(), error) {
	if s.onHold != nil {
		s.onHold(size)
	}
	share, err := s.budget.Take(ctx, size)
	if err != nil {
		return nil, err
	}
	return share.Release, nil
}

func (s *shelf) StoredCells(_ context.Context, _ cellhold.SessionID, elsewhere func(cellhold.CellID) bool) iter.Seq2[record.Cell, error] {
	return func(yield func(record.Cell, error) bool) {
		for _, c := range s.cells {
			if elsewhere(c.ID) {
				c = record.Cell{Cell: cellhold.Cell{ID: c.ID}}
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

func (s *shelf) UseCell(_ context.Context, _ cellhold.SessionID, id cellhold.CellID, use func(record.Cell, error)) error {
	for _, c := range s.cells {
		if c.ID == id {
			use(c, nil)
			return nil
		}
	}
	return cellhold.Errorf(cellhold.NotFound, "no such cell")
}

// big returns a cell with an output of size bytes.
func big(id cellhold.CellID, state cellhold.CellState, size int) cellhold.Cell {
	data := json.RawMessage(`"` + strings.Repeat("x", size-2) + `"`)
	return cellhold.Cell{ID: id, State: state, Outputs: []cellhold.Output{{Type: cellhold.EventDisplayData, Data: map[string]json.RawMessage{"text/html": data}}}}
}

// newShelf returns the history of three cells. The store has the outputs of the stored one only.
func newShelf(k *kernels, budget int64) (*History, *shelf) {
	s := &shelf{budget: memory.New(budget)}
	for _, c := range []cellhold.Cell{big("stored", cellhold.CellDone, 10), {ID: k.running.ID, State: cellhold.CellRunning}, {ID: k.late.ID, State: cellhold.CellDone}} {
		s.cells = append(s.cells, record.Cell{Cell: c})
	}
	return New(Options{Session: "s", Store: s, Followers: func() Followers { return k }, Record: func() record.Session { return record.Session{} },
		Logger: slog.New(slog.DiscardHandler)}), s
}

// size returns the size of the outputs of a cell, without their other members.
func size(c cellhold.Cell) (n int64) {
	for _, o := range c.Outputs {
		n += int64(len(o.Data["text/html"]))
	}
	return n
}

const (
	mib   = 1 << 20
	space = 3 * mib / 2 // for one of the cells
)

func TestReadersOfLiveCellsShareTheBudget(t *testing.T) {
	for name, read := range map[string]func(ctx context.Context, h *History, use func(cellhold.Cell)) error{
		"running": func(ctx context.Context, h *History, use func(cellhold.Cell)) error {
			return h.UseCell(ctx, "running", use)
		},
		"late": func(ctx context.Context, h *History, use func(cellhold.Cell)) error {
			return h.UseCell(ctx, "late", use)
		},
		"list": func(ctx context.Context, h *History, use func(cellhold.Cell)) error {
			for c, err := range h.Cells(ctx) {
				if err != nil {
					return err
				}
				use(c)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, _ := newShelf(&kernels{running: big("running", cellhold.CellRunning, mib), late: big("late", cellhold.CellDone, mib)}, space)
				reading, next := make(chan cellhold.Cell), make(chan struct{})
				for range 2 {
					go func() {
						err := read(t.Context(), h, func(c cellhold.Cell) {
							if size(c) == mib {
								reading <- c
								<-next
							}
						})
						if err != nil {
							t.Error(err)
						}
					}()
				}
				reads := 2
				if name == "list" {
					reads = 4
				}
				for range reads {
					<-reading
					synctest.Wait()
					select {
					case <-reading:
						t.Fatal("two readers have a large cell, and the budget has space for one")
					default:
					}
					next <- struct{}{}
				}
			})
		})
	}
}

func TestACellThatGrowsDuringTheWaitGetsALargerShare(t *testing.T) {
	k := &kernels{running: big("running", cellhold.CellRunning, 100)}
	h, s := newShelf(k, 100*mib)
	var holds []int64
	s.onHold = func(size int64) {
		if holds = append(holds, size); len(holds) < 50 {
			k.running = big("running", cellhold.CellRunning, 100*(len(holds)+1))
		}
	}
	err := h.UseCell(t.Context(), "running", func(c cellhold.Cell) {
		if held := holds[len(holds)-1]; held < size(c) {
			t.Errorf("the reader has %d bytes with a share of %d", size(c), held)
		}
	})
	if err != nil || len(holds) > 10 {
		t.Errorf("got %v after %d shares, want few shares", err, len(holds))
	}
	if all, err := s.budget.Take(t.Context(), 100*mib); err != nil || !all.Resize(100*mib) {
		t.Error("a share was not released")
	}
}

func TestACellThatEndsDuringTheWaitIsReadFromTheStore(t *testing.T) {
	k := &kernels{running: big("running", cellhold.CellRunning, mib)}
	h, s := newShelf(k, space)
	s.onHold = func(int64) {
		k.running = cellhold.Cell{}
		s.cells[1].Cell = big("running", cellhold.CellDone, mib)
	}
	var states []cellhold.CellState
	for c, err := range h.Cells(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if c.ID == "running" {
			states = append(states, c.State)
		}
	}
	if len(states) != 1 || states[0] != cellhold.CellDone {
		t.Errorf("got the states %v, want done", states)
	}
	if all, err := s.budget.Take(t.Context(), space); err != nil || !all.Resize(space) {
		t.Error("a share was not released")
	}
}
