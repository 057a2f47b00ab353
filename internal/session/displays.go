package session

import (
	"context"
	"sync"

	"cellhold"
	"cellhold/internal/notebook"
)

const (
	// maxDisplays bounds the names of displays that are remembered for a session. Names that are
	// never updated are most of them: IPython makes one for every display that asks for it.
	maxDisplays = 10_000
	// maxRewritten bounds the bytes of earlier cells that the end of one cell writes anew.
	maxRewritten = 64 << 20
)

// displays knows which cells of a session show which display, so that code can replace what an
// earlier cell showed. It reads the records once, when the first cell with a display ends.
type displays struct {
	s *Session

	mu     sync.Mutex // held while records are written: two kernels may end cells at once
	loaded bool
	shown  map[display][]cellhold.CellID
}

// display is one display of a kernel; kernels do not know each other's.
type display struct {
	kernel cellhold.KernelID
	id     string
}

// update brings the newest content of displays into the records of earlier cells. The same call
// again, after a crash, changes nothing more.
func (d *displays) update(ctx context.Context, c cellhold.Cell, updates []notebook.Update) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.load(ctx); err != nil {
		d.s.slog.Error("looking for displays of earlier cells", "cell", c.ID, "err", err)
		return
	}
	changes := map[cellhold.CellID][]notebook.Update{}
	for _, u := range updates {
		for _, id := range d.shown[display{c.Kernel, u.DisplayID}] {
			if id != c.ID {
				changes[id] = append(changes[id], u)
			}
		}
	}
	room := int64(maxRewritten)
	for id, list := range changes {
		if err := d.rewrite(ctx, id, list, &room); err != nil {
			d.s.slog.Error("updating the displays of an earlier cell", "cell", id, "err", err)
		}
	}
	d.note(c)
}

// load finds the displays of the cells that are done.
func (d *displays) load(ctx context.Context) error {
	if d.loaded {
		return nil
	}
	d.shown = map[display][]cellhold.CellID{}
	for c, err := range d.s.Cells(ctx) {
		if err != nil && c.ID == "" {
			return err
		}
		if err == nil && c.State == cellhold.CellDone {
			d.note(c)
		}
	}
	d.loaded = true
	return nil
}

// note remembers what a cell shows.
func (d *displays) note(c cellhold.Cell) {
	for _, o := range c.Outputs {
		key := display{c.Kernel, o.DisplayID}
		cells := d.shown[key]
		if o.DisplayID == "" || len(cells) > 0 && cells[len(cells)-1] == c.ID || len(cells) == 0 && len(d.shown) >= maxDisplays {
			continue
		}
		d.shown[key] = append(cells, c.ID)
	}
}

// rewrite changes the record of one cell.
func (d *displays) rewrite(ctx context.Context, id cellhold.CellID, updates []notebook.Update, room *int64) error {
	c, err := d.s.m.o.Store.Cell(ctx, d.s.id, id)
	if err != nil {
		return err
	}
	if !notebook.Replace(c.Outputs, updates) {
		return nil
	}
	if *room -= notebook.Size(c.Outputs); *room < 0 {
		return cellhold.Errorf(cellhold.Exhausted, "too many earlier cells show the displays that one cell updated")
	}
	return d.s.m.o.Store.PutCell(ctx, c)
}
