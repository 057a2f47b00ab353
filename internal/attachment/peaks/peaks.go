// Package peaks measures the most memory that a sandbox uses while a cell runs. It refuses to know what
// a cell is.
package peaks

import (
	"context"
	"sync"

	"cellhold"
	"cellhold/internal/sandbox"
)

// Meter measures for the cells of one sandbox. There is one figure for each
// sandbox, which every look starts anew: so every look is credited to all cells that run at the time.
// Where it cannot start anew, the maximum of the sandbox's whole life tells as much when it has risen.
type Meter struct {
	sandbox sandbox.Sandbox
	meter   sandbox.PeakMeter // nil when the driver has none

	mu      sync.Mutex
	running map[cellhold.CellID]seen // the cells that were begun
}

// seen is what was seen while a cell ran.
type seen struct {
	most int64 // of the looks that start anew
	life int64 // the maximum of the sandbox's life when the cell began
}

// New returns a meter of that sandbox.
func New(s sandbox.Sandbox) *Meter {
	m, _ := s.(sandbox.PeakMeter)
	return &Meter{sandbox: s, meter: m, running: map[cellhold.CellID]seen{}}
}

// Begin starts measuring for a cell. It is not called for short cells, which are spared the work.
func (p *Meter) Begin(ctx context.Context, id cellhold.CellID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	begun := seen{}
	if _, ok := p.look(true); !ok {
		begun.life = p.life(ctx)
	}
	p.running[id] = begun
}

// End returns the most bytes that were used since Begin, or since the last look when that was not
// called; 0 when it cannot be known.
func (p *Meter) End(ctx context.Context, id cellhold.CellID) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	cell, begun := p.running[id]
	delete(p.running, id)
	bytes, ok := p.look(begun)
	if ok {
		return max(cell.most, bytes)
	}
	if !begun {
		return 0
	}
	if life := p.life(ctx); life > cell.life {
		return life
	}
	return 0
}

// look reads the figure and credits it to all that run; false when the host cannot tell. The caller
// holds mu.
func (p *Meter) look(anew bool) (int64, bool) {
	if p.meter == nil {
		return 0, false
	}
	bytes, err := p.meter.Peak(anew)
	if err != nil {
		return 0, false
	}
	for id, cell := range p.running {
		cell.most = max(cell.most, bytes)
		p.running[id] = cell
	}
	return bytes, true
}

// life is the maximum of the sandbox's whole life, 0 when that is not known.
func (p *Meter) life(ctx context.Context) int64 {
	u, err := p.sandbox.Usage(ctx)
	if err != nil {
		return 0
	}
	return max(u.MemoryPeak, 0)
}
