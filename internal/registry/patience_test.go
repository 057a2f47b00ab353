package registry_test

import (
	"context"
	"iter"
	"sync/atomic"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/memory"
	"cellhold/internal/record"
	"cellhold/internal/registry"
	"cellhold/internal/session/terms"
)

// patientStore counts the reads, and those that would use the memory of callers.
type patientStore struct {
	registry.Store
	all, callers atomic.Int32
}

func (p *patientStore) note(ctx context.Context) {
	p.all.Add(1)
	if memory.HasPatience(ctx) {
		p.callers.Add(1)
	}
}

func (p *patientStore) Copy(ctx context.Context, from, to cellhold.SessionID, last int64, at time.Time) error {
	p.note(ctx)
	return p.Store.Copy(ctx, from, to, last, at)
}

func (p *patientStore) Cells(ctx context.Context, id cellhold.SessionID) iter.Seq2[record.Cell, error] {
	p.note(ctx)
	return p.Store.Cells(ctx, id)
}

func (p *patientStore) StoredCells(ctx context.Context, id cellhold.SessionID, elsewhere func(cellhold.CellID) bool) iter.Seq2[record.Cell, error] {
	p.note(ctx)
	return p.Store.StoredCells(ctx, id, elsewhere)
}

func (p *patientStore) Read(ctx context.Context, id cellhold.SessionID, after int64) iter.Seq2[record.Event, error] {
	p.note(ctx)
	return p.Store.Read(ctx, id, after)
}

func TestWorkThatContinuesWithoutItsCallerReadsWithTheServersMemory(t *testing.T) {
	h := newHost(t)
	reads := &patientStore{}
	m := h.serve(t, func(o *registry.Options) { reads.Store, o.Store = o.Store, reads })
	s := m.create(t, registry.CreateRequest{})
	run(t, s, "print one")
	caller := memory.WithPatience(t.Context(), time.Minute)
	if _, err := s.Checkpoint(caller, "one"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		act  func() error
	}{
		{"fork", func() error { _, err := m.Fork(caller, s, terms.Fork{Count: 1}); return err }},
		{"roll back", func() error { return s.Rollback(caller, "one") }},
		{"hibernate", func() error { return s.Hibernate(caller) }},
	} {
		run(t, s, "print more")
		reads.all.Store(0)
		reads.callers.Store(0)
		if err := test.act(); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if all, callers := reads.all.Load(), reads.callers.Load(); all == 0 || callers > 0 {
			t.Errorf("%s: %d of %d reads used the memory of callers, want none", test.name, callers, all)
		}
	}
}
