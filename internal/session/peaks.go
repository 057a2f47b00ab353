package session

import (
	"sync"

	"cellhold"
	"cellhold/internal/sandbox"
)

// peaks measures the most memory that a sandbox uses while a cell runs. There is one figure for each
// sandbox, which every look starts anew: so every look is credited to all cells that run at the time.
type peaks struct {
	meter sandbox.PeakMeter // nil when the driver has none

	mu      sync.Mutex
	running map[cellhold.CellID]int64 // the cells that were begun, and the most seen since
}

func newPeaks(s sandbox.Sandbox) *peaks {
	m, _ := s.(sandbox.PeakMeter)
	return &peaks{meter: m, running: map[cellhold.CellID]int64{}}
}

// Begin starts measuring for a cell. It is not called for short cells, which are spared the work.
func (p *peaks) Begin(id cellhold.CellID) {
	if p.meter == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.look(true)
	p.running[id] = 0
}

// End returns the most bytes that were used since Begin, or since the last look when that was not
// called; 0 when it cannot be known.
func (p *peaks) End(id cellhold.CellID) int64 {
	if p.meter == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	most, begun := p.running[id]
	delete(p.running, id)
	return max(most, p.look(begun))
}

// look reads the figure and credits it to all that run. The caller holds mu.
func (p *peaks) look(anew bool) int64 {
	bytes, err := p.meter.Peak(anew)
	if err != nil {
		return 0
	}
	for id, most := range p.running {
		p.running[id] = max(most, bytes)
	}
	return bytes
}
