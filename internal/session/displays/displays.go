// Package displays lets code update a display of an earlier cell. It knows which cells of a session have
// which display, and rewrites their records. It does not know where the records are stored.
package displays

import (
	"context"
	"iter"
	"log/slog"
	"sync"

	"cellhold"
	"cellhold/internal/notebook"
	"cellhold/internal/outputs"
	"cellhold/internal/record"
)

const (
	// maxDisplays limits the display ids that are remembered for a session. IPython also creates ids for
	// displays that code never updates.
	maxDisplays = 10_000
	// maxRewritten limits the bytes of earlier cells that are rewritten at the end of one cell.
	maxRewritten = 64 << 20
)

// Options configures Displays. All fields are required.
type Options struct {
	Cells  func(ctx context.Context) iter.Seq2[cellhold.Cell, error]          // yields the cells in order
	Cell   func(ctx context.Context, id cellhold.CellID) (record.Cell, error) // returns one cell
	Put    func(ctx context.Context, c record.Cell) error                     // records a changed cell
	Logger *slog.Logger
}

// Displays has the displays of one session. It reads the records once, at the end of the first cell with a
// display.
type Displays struct {
	o Options

	mu     sync.Mutex // held during writes: two kernels can end cells at the same time
	loaded bool
	shown  map[display][]cellhold.CellID
}

// New returns the displays of a session.
func New(o Options) *Displays { return &Displays{o: o} }

// display is one display of a kernel. Kernels do not share displays.
type display struct {
	kernel cellhold.KernelID
	id     string
}

// Update writes the newest content of displays to the records of earlier cells. A repeated call after a crash
// changes nothing. Update returns the bytes of the written records.
func (d *Displays) Update(ctx context.Context, c record.Cell, updates []notebook.Update) (written int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.load(ctx); err != nil {
		d.o.Logger.Error("looking for displays of earlier cells", "cell", c.ID, "err", err)
		return 0
	}
	changes := map[cellhold.CellID][]notebook.Update{}
	for _, u := range updates {
		for _, id := range d.shown[display{c.Kernel, u.DisplayID}] {
			if id != c.ID {
				changes[id] = append(changes[id], u)
			}
		}
	}
	for id, list := range changes {
		n, err := d.rewrite(ctx, id, list, maxRewritten-written)
		written += n
		if err != nil {
			d.o.Logger.Error("updating the displays of an earlier cell", "cell", id, "err", err)
		}
		if cellhold.KindOf(err) == cellhold.Exhausted {
			break // the limit is reached: do not read the other cells
		}
	}
	d.note(c.Cell)
	return written
}

// Forget makes the next Update read the records again, because cells were undone.
func (d *Displays) Forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.loaded = false
}

// load finds the displays of the cells that are done.
func (d *Displays) load(ctx context.Context) error {
	if d.loaded {
		return nil
	}
	d.shown = map[display][]cellhold.CellID{}
	for c, err := range d.o.Cells(ctx) {
		if err != nil && c.ID == "" {
			return err
		}
		if err == nil && c.State == cellhold.CellDone && !c.Undone {
			d.note(c)
		}
	}
	d.loaded = true
	return nil
}

// note records the displays of a cell.
func (d *Displays) note(c cellhold.Cell) {
	for _, o := range c.Outputs {
		key := display{c.Kernel, o.DisplayID}
		cells := d.shown[key]
		if o.DisplayID == "" || len(cells) > 0 && cells[len(cells)-1] == c.ID || len(cells) == 0 && len(d.shown) >= maxDisplays {
			continue
		}
		d.shown[key] = append(cells, c.ID)
	}
}

// rewrite changes the record of one cell, and returns its bytes if it wrote the record.
func (d *Displays) rewrite(ctx context.Context, id cellhold.CellID, updates []notebook.Update, space int64) (int64, error) {
	c, err := d.o.Cell(ctx, id)
	if err != nil || !notebook.Replace(c.Outputs, updates) {
		return 0, err
	}
	size := outputs.Size(c.Outputs)
	if size > space {
		return 0, cellhold.Errorf(cellhold.Exhausted, "The updates of displays rewrite too much of earlier cells; the limit is %d MiB for one cell.", maxRewritten>>20)
	}
	return size, d.o.Put(ctx, c)
}
