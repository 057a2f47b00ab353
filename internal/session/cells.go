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

// maxKey is the most bytes of an idempotency key: a UUID has 36.
const maxKey = 255

// ExecuteRequest asks for one cell.
type ExecuteRequest struct {
	Kernel     cellhold.KernelID // empty: the first kernel
	Code       string
	Timeout    time.Duration     // 0: the server's default
	OnError    cellhold.OnError  // empty: continue
	AllowStdin bool              // the code can ask for input
	Figures    *cellhold.Figures // nil: the session's
	Key        string            // the same key again gives the same cell; empty: no key
}

// Execute queues a cell and returns it. The cell runs also when the caller leaves. With a key that a cell has
// already, it returns that cell as it is now.
func (s *Session) Execute(ctx context.Context, r ExecuteRequest) (cellhold.Cell, error) {
	if err := r.check(s.env.MaxCellTimeout); err != nil {
		return cellhold.Cell{}, err
	}
	digest := ""
	if r.Key != "" {
		s.keyed.Lock() // two requests with one key are one cell
		defer s.keyed.Unlock()
		digest = r.digest()
		c, err := s.env.Store.CellByKey(ctx, s.id, r.Key)
		if err == nil && c.Digest != digest {
			return cellhold.Cell{}, cellhold.Errorf(cellhold.Conflict, "The idempotency key belongs to cell %s, which was submitted with another request.", c.ID)
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

// check refuses a request that cannot be served, and makes one form of the two ways to say continue.
func (r *ExecuteRequest) check(longest time.Duration) error {
	switch {
	case len(r.Code) > guestapi.MaxCode:
		return cellhold.Errorf(cellhold.Invalid, "The code has %d bytes; at most %d are allowed.", len(r.Code), guestapi.MaxCode)
	case r.Timeout < 0 || r.Timeout > longest:
		return cellhold.Errorf(cellhold.Invalid, "The timeout %s is not valid: it must be between 0 (the default) and %s.", r.Timeout, longest)
	case r.OnError != "" && r.OnError != cellhold.OnErrorContinue && r.OnError != cellhold.OnErrorCancel:
		return cellhold.Errorf(cellhold.Invalid, "on_error is %.20q; it must be %q or %q.", r.OnError, cellhold.OnErrorContinue, cellhold.OnErrorCancel)
	case len(r.Key) > maxKey || !utf8.ValidString(r.Key) || strings.ContainsFunc(r.Key, unicode.IsControl):
		return cellhold.Errorf(cellhold.Invalid, "The idempotency key is not valid: it must be text of at most %d bytes without control characters.", maxKey)
	}
	if r.OnError == cellhold.OnErrorContinue {
		r.OnError = ""
	}
	return nil
}

// digest tells requests with one key apart. It covers the request as the caller sent it, without the
// server's defaults, which may change with a restart.
func (r ExecuteRequest) digest() string {
	r.Key = ""
	b, _ := json.Marshal(r) // texts and numbers only
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// Interrupt stops what a kernel is running, or only one cell if it is named. An idle kernel is no error.
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

// CancelCell ends a cell, and returns it as it is then. One that waits never runs; one that runs is
// interrupted. A cell that is done is a Conflict.
func (s *Session) CancelCell(ctx context.Context, id cellhold.CellID) (cellhold.Cell, error) {
	for _, k := range s.sandboxes.following().Kernels() {
		if c, ok, err := k.Cancel(ctx, id); ok {
			return c.Cell, err
		}
	}
	return cellhold.Cell{}, s.history.CellIsDone(ctx, id)
}

// AnswerInput answers the question of a cell. Request 0 answers whichever question is asked now. A cell that
// is done is a Conflict.
func (s *Session) AnswerInput(ctx context.Context, id cellhold.CellID, request int64, value string) error {
	if len(value) > guestapi.MaxAnswer {
		return cellhold.Errorf(cellhold.Invalid, "The answer has %d bytes; at most %d are allowed.", len(value), guestapi.MaxAnswer)
	}
	for _, k := range s.sandboxes.following().Kernels() {
		if ok, err := k.Input(ctx, id, request, value); ok {
			s.use()
			return err
		}
	}
	return s.history.CellIsDone(ctx, id)
}
