package peaks

import (
	"context"
	"errors"
	"testing"

	"cellhold/internal/sandbox"
)

// memoryOf is a sandbox whose memory use a test sets.
type memoryOf struct {
	sandbox.Sandbox
	peak, total int64
	noReset     bool // the peak cannot be reset
}

func (m *memoryOf) uses(bytes int64) { m.peak, m.total = max(m.peak, bytes), max(m.total, bytes) }

func (m *memoryOf) Peak(reset bool) (int64, error) {
	if m.noReset {
		return 0, errors.ErrUnsupported
	}
	n := m.peak
	if reset {
		m.peak = 10 // the present use
	}
	return n, nil
}

func (m *memoryOf) Usage(context.Context) (sandbox.Usage, error) {
	return sandbox.Usage{MemoryPeak: m.total}, nil
}

func TestEachConcurrentCellHasThePeakOfItsOwnRun(t *testing.T) {
	m := &memoryOf{}
	p := New(m)
	ctx := t.Context()
	m.uses(500)
	p.Begin(ctx, "a")
	m.uses(100)
	p.Begin(ctx, "b") // the read for b must not lower the peak of a
	m.uses(50)
	if n := p.End(ctx, "b"); n != 50 {
		t.Errorf("cell b: got the peak %d, want 50", n)
	}
	m.uses(70)
	if n := p.End(ctx, "a"); n != 100 {
		t.Errorf("cell a: got the peak %d, want 100", n)
	}
}

func TestACellHasAPeakWithoutResetOnlyIfTheTotalPeakRises(t *testing.T) {
	m := &memoryOf{noReset: true}
	p := New(m)
	ctx := t.Context()
	m.uses(500)
	p.Begin(ctx, "a")
	m.uses(700)
	if n := p.End(ctx, "a"); n != 700 {
		t.Errorf("a cell with the highest use: got the peak %d, want 700", n)
	}
	p.Begin(ctx, "b")
	m.uses(300)
	if n := p.End(ctx, "b"); n != 0 {
		t.Errorf("a cell below the highest use: got the peak %d, want 0 for unknown", n)
	}
}
