package session

import (
	"cmp"
	"context"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/record"
	"cellhold/internal/session/terms"
)

// ExecuteRequest describes one cell to run.
type ExecuteRequest = terms.Cell

// Execute queues a cell and returns it. The cell runs even if the caller disconnects. If a cell with the key
// exists, Execute returns that cell as it is now.
func (s *Session) Execute(ctx context.Context, r ExecuteRequest) (cellhold.Cell, error) {
	if err := r.Check(s.env.MaxCellTimeout); err != nil {
		return cellhold.Cell{}, err
	}
	digest := ""
	if r.Key != "" {
		s.keyed.Lock() // two requests with one key must give one cell
		defer s.keyed.Unlock()
		digest = r.Digest()
		c, err := s.env.Store.CellByKey(ctx, s.id, r.Key)
		if err == nil && c.Digest != digest {
			return cellhold.Cell{}, cellhold.Errorf(cellhold.Conflict, "The idempotency key belongs to cell %s of another request. Use a new key.", c.ID)
		}
		if err == nil {
			return s.history.Cell(ctx, c.ID)
		}
		if cellhold.KindOf(err) != cellhold.NotFound {
			return cellhold.Cell{}, err
		}
	}
	leave, err := enterInOrder(ctx, s)
	if err != nil {
		return cellhold.Cell{}, err
	}
	defer leave()
	k, err := s.sandboxes.following().Kernel(r.Kernel)
	if err != nil {
		return cellhold.Cell{}, err
	}
	if r.Timeout == 0 {
		r.Timeout = s.env.CellTimeout
	}
	var before, after string
	if l := s.sandboxes.current(); l != nil { // otherwise the kernel is dead, and Submit refuses the cell
		if before, after, err = l.Around(k.State().Language, r.Env); err != nil {
			return cellhold.Cell{}, err
		}
	}
	s.change(func(rec *record.Session) {
		rec.Used = time.Now().UTC()
		r.Figures = cmp.Or(r.Figures, rec.Figures)
	})
	c, err := k.Submit(ctx, record.Cell{Timeout: r.Timeout, Key: r.Key, Digest: digest, Before: before, After: after, Request: r.Client,
		Cell: cellhold.Cell{ID: cmp.Or(r.ID, cellhold.NewCellID()), Session: s.id, Kernel: k.State().ID, Code: r.Code,
			OnError: r.OnError, AllowStdin: r.AllowStdin, Figures: r.Figures}})
	return c.Cell, err
}

// Interrupt interrupts the running cell of a kernel. If only is not empty and another cell runs, Interrupt does
// nothing. An idle kernel is not an error.
func (s *Session) Interrupt(ctx context.Context, id cellhold.KernelID, only cellhold.CellID) error {
	if s.Record().State == cellhold.SessionHibernated {
		return nil // nothing runs
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	k, err := s.sandboxes.following().Kernel(id)
	if err != nil {
		return err
	}
	return k.Interrupt(ctx, only)
}

// CancelCell cancels a queued cell or interrupts a running one, and returns the cell. If the cell is done,
// the error is a Conflict.
func (s *Session) CancelCell(ctx context.Context, id cellhold.CellID) (cellhold.Cell, error) {
	for _, k := range s.sandboxes.following().Kernels() {
		if c, ok, err := k.Cancel(ctx, id); ok {
			return c.Cell, err
		}
	}
	return cellhold.Cell{}, s.history.CellIsDone(ctx, id)
}

// AnswerInput answers the question of a cell. Request 0 means the open question. If the cell is done, the
// error is a Conflict.
func (s *Session) AnswerInput(ctx context.Context, id cellhold.CellID, request int64, value string) error {
	if len(value) > guestapi.MaxAnswer {
		return cellhold.Errorf(cellhold.Invalid, "The answer has %d bytes; the limit is %d.", len(value), guestapi.MaxAnswer)
	}
	for _, k := range s.sandboxes.following().Kernels() {
		if ok, err := k.Input(ctx, id, request, value); ok {
			s.use()
			return err
		}
	}
	return s.history.CellIsDone(ctx, id)
}
