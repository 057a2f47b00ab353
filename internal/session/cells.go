package session

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/record"
)

// maxKey is the maximum size of an idempotency key. A UUID has 36 bytes.
const maxKey = 255

// ExecuteRequest describes one cell to run.
type ExecuteRequest struct {
	Kernel     cellhold.KernelID // empty: the first kernel
	Code       string
	Timeout    time.Duration     // 0: the server's default
	OnError    cellhold.OnError  // empty: continue
	AllowStdin bool              // the code can ask for input
	Figures    *cellhold.Figures // nil: the session's default
	Key        string            // a request with the same key returns the same cell; empty: no key
}

// Execute queues a cell and returns it. The cell runs even if the caller disconnects. If a cell with the key
// exists, Execute returns that cell as it is now.
func (s *Session) Execute(ctx context.Context, r ExecuteRequest) (cellhold.Cell, error) {
	if err := r.check(s.env.MaxCellTimeout); err != nil {
		return cellhold.Cell{}, err
	}
	digest := ""
	if r.Key != "" {
		s.keyed.Lock() // two requests with one key must give one cell
		defer s.keyed.Unlock()
		digest = r.digest()
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
	leave, err := s.enterInOrder(ctx)
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
	s.change(func(rec *record.Session) {
		rec.Used = time.Now().UTC()
		r.Figures = cmp.Or(r.Figures, rec.Figures)
	})
	c, err := k.Submit(ctx, record.Cell{Timeout: r.Timeout, Key: r.Key, Digest: digest,
		Cell: cellhold.Cell{ID: cellhold.NewCellID(), Session: s.id, Kernel: k.State().ID, Code: r.Code,
			OnError: r.OnError, AllowStdin: r.AllowStdin, Figures: r.Figures}})
	return c.Cell, err
}

// check refuses an invalid request, and sets the default of OnError.
func (r *ExecuteRequest) check(longest time.Duration) error {
	switch {
	case len(r.Code) > guestapi.MaxCode:
		return cellhold.Errorf(cellhold.Invalid, "The code has %d bytes; the limit is %d. Write data to files instead.", len(r.Code), guestapi.MaxCode)
	case r.Timeout < 0 || r.Timeout > longest:
		return cellhold.Errorf(cellhold.Invalid, "Invalid timeout %s: use 0 (the default) to %s.", r.Timeout, longest)
	case r.OnError != "" && r.OnError != cellhold.OnErrorContinue && r.OnError != cellhold.OnErrorCancel:
		return cellhold.Errorf(cellhold.Invalid, "Invalid on_error %.20q: use %q or %q.", r.OnError, cellhold.OnErrorContinue, cellhold.OnErrorCancel)
	case len(r.Key) > maxKey || !utf8.ValidString(r.Key) || strings.ContainsFunc(r.Key, unicode.IsControl):
		return cellhold.Errorf(cellhold.Invalid, "Invalid idempotency key %.40q: use text of at most %d bytes without control characters.", r.Key, maxKey)
	}
	if r.OnError == cellhold.OnErrorContinue {
		r.OnError = ""
	}
	return nil
}

// digest returns a digest that differs between two different requests. It covers the request as the caller sent
// it, without the server's defaults, which can change with a restart.
func (r ExecuteRequest) digest() string {
	r.Key = ""
	b, _ := json.Marshal(r) // cannot fail: strings and numbers only
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
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
