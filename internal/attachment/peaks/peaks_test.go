package peaks

import (
	"context"
	"errors"
	"testing"

	"cellhold/internal/sandbox"
)

// memoryOf is a sandbox whose memory the test sets.
type memoryOf struct {
	sandbox.Sandbox
	peak, life int64
	cannot     bool // start anew
}

func (m *memoryOf) uses(bytes int64) { m.peak, m.life = max(m.peak, bytes), max(m.life, bytes) }

func (m *memoryOf) Peak(anew bool) (int64, error) {
	if m.cannot {
		return 0, errors.ErrUnsupported
	}
	n := m.peak
	if anew {
		m.peak = 10 // what it uses now
	}
	return n, nil
}

func (m *memoryOf) Usage(context.Context) (sandbox.Usage, error) {
	return sandbox.Usage{MemoryPeak: m.life}, nil
}

func TestThePeakOfACellIsItsOwnAlsoBesideAnother(t *testing.T) {
	m := &memoryOf{}
	p := New(m)
	ctx := t.Context()
	m.uses(500)
	p.Begin(ctx, "a")
	m.uses(100)
	p.Begin(ctx, "b") // a look for b must not take from a what it has used
	m.uses(50)
	if n := p.End(ctx, "b"); n != 50 {
		t.Errorf("the cell beside has a peak of %d, not 50", n)
	}
	m.uses(70)
	if n := p.End(ctx, "a"); n != 100 {
		t.Errorf("the first cell has a peak of %d, not 100", n)
	}
}

func TestWhereTheMaximumCannotStartAnewItTellsWhenItRises(t *testing.T) {
	m := &memoryOf{cannot: true}
	p := New(m)
	ctx := t.Context()
	m.uses(500)
	p.Begin(ctx, "a")
	m.uses(700)
	if n := p.End(ctx, "a"); n != 700 {
		t.Errorf("the cell that used more than any before has a peak of %d, not 700", n)
	}
	p.Begin(ctx, "b")
	m.uses(300)
	if n := p.End(ctx, "b"); n != 0 {
		t.Errorf("a peak of %d that nobody can know", n)
	}
}
