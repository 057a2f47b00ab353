// Package displays lets code replace what an earlier cell showed: it knows which cells of a session show
// which display, and rewrites their records. It refuses to know where those are kept.
package displays

import (
	"context"
	"iter"
	"log/slog"
	"sync"

	"cellhold"
	"cellhold/internal/notebook"
	"cellhold/internal/record"
)

const (
	// maxDisplays bounds the names of displays that are remembered for a session. Names that are
	// never updated are most of them: IPython makes one for every display that asks for it.
	maxDisplays = 10_000
	// maxRewritten bounds the bytes of earlier cells that the end of one cell writes anew.
	maxRewritten = 64 << 20
)

// Options says where the cells are. All fields are required.
type Options struct {
	Cells  func(ctx context.Context) iter.Seq2[cellhold.Cell, error]          // in order
	Cell   func(ctx context.Context, id cellhold.CellID) (record.Cell, error) // one of them
	Put    func(ctx context.Context, c record.Cell) error                     // records it anew
	Logger *slog.Logger
}

// Displays are those of one session. It reads the records once, when the first cell with a display
// ends.
type Displays struct {
	o Options

	mu     sync.Mutex // held while records are written: two kernels may end cells at once
	loaded bool
	shown  map[display][]cellhold.CellID
}

// New returns the displays of a session.
func New(o Options) *Displays { return &Displays{o: o} }

// display is one display of a kernel; kernels do not know each other's.
type display struct {
	kernel cellhold.KernelID
	id     string
}

// Update brings the newest content of displays into the records of earlier cells. The same call
// again, after a crash, changes nothing more. It returns the bytes of the records that it has written.
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
			break // the others would be read for nothing
		}
	}
	d.note(c.Cell)
	return written
}

// Forget lets the records be read anew: cells were undone.
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

// note remembers what a cell shows.
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

// rewrite changes the record of one cell, and returns its bytes when it has written it.
func (d *Displays) rewrite(ctx context.Context, id cellhold.CellID, updates []notebook.Update, room int64) (int64, error) {
	c, err := d.o.Cell(ctx, id)
	if err != nil || !notebook.Replace(c.Outputs, updates) {
		return 0, err
	}
	size := notebook.Size(c.Outputs)
	if size > room {
		return 0, cellhold.Errorf(cellhold.Exhausted, "too many earlier cells show the displays that one cell updated")
	}
	return size, d.o.Put(ctx, c)
}
