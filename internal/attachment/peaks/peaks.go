// Package peaks measures the peak memory of a sandbox while a cell runs. It does not know cells, only their
// ids.
package peaks

import (
	"context"
	"sync"

	"cellhold"
	"cellhold/internal/sandbox"
)

// Meter measures the peak memory for the cells of one sandbox. A sandbox has one peak, which a read can
// reset. So each read counts for all cells that run at the time. If the host cannot reset the peak, Meter uses the
// peak since the start of the sandbox. It uses this peak only if the peak rose during the cell.
type Meter struct {
	sandbox sandbox.Sandbox
	meter   sandbox.PeakMeter // nil if the driver has none

	mu      sync.Mutex
	running map[cellhold.CellID]seen // the running cells
}

// seen has the values that were read while a cell ran.
type seen struct {
	most  int64 // maximum of the reads of the peak that can be reset
	total int64 // peak since the sandbox's start, at the start of the cell
}

// New returns a meter of a sandbox.
func New(s sandbox.Sandbox) *Meter {
	m, _ := s.(sandbox.PeakMeter)
	return &Meter{sandbox: s, meter: m, running: map[cellhold.CellID]seen{}}
}

// Begin starts the measurement for a cell. Callers do not need it for short cells, to save time.
func (p *Meter) Begin(ctx context.Context, id cellhold.CellID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	begun := seen{}
	if _, ok := p.read(true); !ok {
		begun.total = p.total(ctx)
	}
	p.running[id] = begun
}

// End returns the peak bytes since Begin. Without Begin, it returns the peak since the last reset. It returns
// 0 if the peak is unknown.
func (p *Meter) End(ctx context.Context, id cellhold.CellID) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	cell, begun := p.running[id]
	delete(p.running, id)
	bytes, ok := p.read(begun)
	if ok {
		return max(cell.most, bytes)
	}
	if !begun {
		return 0
	}
	if total := p.total(ctx); total > cell.total {
		return total
	}
	return 0
}

// read reads the peak and counts it for all running cells. It returns false if the host has no value. The
// caller must hold mu.
func (p *Meter) read(reset bool) (int64, bool) {
	if p.meter == nil {
		return 0, false
	}
	bytes, err := p.meter.Peak(reset)
	if err != nil {
		return 0, false
	}
	for id, cell := range p.running {
		cell.most = max(cell.most, bytes)
		p.running[id] = cell
	}
	return bytes, true
}

// total returns the peak since the start of the sandbox, or 0 if it is unknown.
func (p *Meter) total(ctx context.Context) int64 {
	u, err := p.sandbox.Usage(ctx)
	if err != nil {
		return 0
	}
	return max(u.MemoryPeak, 0)
}
