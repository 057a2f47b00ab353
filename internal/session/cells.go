package session

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"iter"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/guestapi"
)

// maxKey is the most bytes of an idempotency key: a UUID has 36.
const maxKey = 255

// ExecuteRequest asks for one cell.
type ExecuteRequest struct {
	Kernel     cellhold.KernelID // zero means the first
	Code       string
	Timeout    time.Duration     // zero means the server's default
	OnError    cellhold.OnError  // zero means continue
	AllowStdin bool              // the code may ask for input
	Figures    *cellhold.Figures // nil means the session's
	Key        string            // the same key again gives the same cell; zero means none
}

// Execute queues a cell and returns it. The cell runs also when the caller goes away. With a key it
// returns the cell that has that key, if there is one, as it is now.
func (s *Session) Execute(ctx context.Context, r ExecuteRequest) (cellhold.Cell, error) {
	if err := s.checkExecute(&r); err != nil {
		return cellhold.Cell{}, err
	}
	digest := ""
	if r.Key != "" {
		s.keyed.Lock() // two requests with one key are one cell
		defer s.keyed.Unlock()
		digest = r.digest()
		c, err := s.m.o.Store.CellByKey(ctx, s.id, r.Key)
		if err == nil && c.Digest != digest {
			return cellhold.Cell{}, cellhold.Errorf(cellhold.Conflict, "The idempotency key belongs to cell %s, which was submitted with another request.", c.ID)
		}
		if err == nil {
			return s.Cell(ctx, c.ID)
		}
		if cellhold.KindOf(err) != cellhold.NotFound {
			return cellhold.Cell{}, err
		}
	}
	leave, err := s.enterInTurn(ctx)
	if err != nil {
		return cellhold.Cell{}, err
	}
	defer leave()
	k, err := s.usable(r.Kernel)
	if err != nil {
		return cellhold.Cell{}, err
	}
	if r.Timeout == 0 {
		r.Timeout = s.m.o.CellTimeout
	}
	s.change(func(rec *cellhold.Session) {
		rec.Used = time.Now().UTC()
		r.Figures = cmp.Or(r.Figures, rec.Figures)
	})
	return k.Submit(ctx, cellhold.Cell{ID: cellhold.NewCellID(), Session: s.id, Kernel: k.State().ID, Code: r.Code,
		Timeout: r.Timeout, OnError: r.OnError, AllowStdin: r.AllowStdin, Figures: r.Figures, Key: r.Key, Digest: digest})
}

// checkExecute refuses what cannot be, and makes one of the two ways to say continue.
func (s *Session) checkExecute(r *ExecuteRequest) error {
	switch {
	case len(r.Code) > guestapi.MaxCode:
		return cellhold.Errorf(cellhold.Invalid, "The code has %d bytes; %d are allowed.", len(r.Code), guestapi.MaxCode)
	case r.Timeout < 0 || r.Timeout > s.m.o.MaxCellTimeout:
		return cellhold.Errorf(cellhold.Invalid, "The timeout must be between 0 (the default) and %s.", s.m.o.MaxCellTimeout)
	case r.OnError != "" && r.OnError != cellhold.OnErrorContinue && r.OnError != cellhold.OnErrorCancel:
		return cellhold.Errorf(cellhold.Invalid, "on_error is %q or %q.", cellhold.OnErrorContinue, cellhold.OnErrorCancel)
	case len(r.Key) > maxKey || !utf8.ValidString(r.Key) || strings.ContainsFunc(r.Key, unicode.IsControl):
		return cellhold.Errorf(cellhold.Invalid, "An idempotency key is text of at most %d bytes without control characters.", maxKey)
	}
	if r.OnError == cellhold.OnErrorContinue {
		r.OnError = ""
	}
	return nil
}

// digest tells requests apart. It is of what the caller said, not of the server's defaults, which may
// change with a restart.
func (r ExecuteRequest) digest() string {
	r.Key = ""
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // texts and numbers only
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// Cells yields the cells in the order of their submission, those that are not done as they are now.
func (s *Session) Cells(ctx context.Context) iter.Seq2[cellhold.Cell, error] {
	return func(yield func(cellhold.Cell, error) bool) {
		for c, err := range s.m.o.Store.Cells(ctx, s.id) {
			if err == nil && c.State != cellhold.CellDone {
				c = s.current(c)
			} else if err == nil {
				c = s.judged(c)
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// current returns a cell that was not done as it is now.
func (s *Session) current(c cellhold.Cell) cellhold.Cell {
	for _, k := range s.all() {
		if now, ok := k.Cell(c.ID); ok {
			return now
		}
	}
	return c // done since it was read
}

// Interrupt stops what a kernel is running, or only that cell if one is named. That nothing runs is no
// error.
func (s *Session) Interrupt(ctx context.Context, id cellhold.KernelID, only cellhold.CellID) error {
	if s.record().State == cellhold.SessionHibernated {
		return nil // nothing runs
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	k, err := s.usable(id)
	if err != nil {
		return err
	}
	return k.Interrupt(ctx, only)
}

// CancelCell ends a cell: one that waits never runs, one that runs is interrupted. It returns the cell
// as it is then.
func (s *Session) CancelCell(ctx context.Context, id cellhold.CellID) (cellhold.Cell, error) {
	for _, k := range s.all() {
		if c, ok, err := k.Cancel(ctx, id); ok {
			return c, err
		}
	}
	return cellhold.Cell{}, s.isDone(ctx, id)
}

// AnswerInput answers what a cell asks for. A request of 0 answers whatever is asked now.
func (s *Session) AnswerInput(ctx context.Context, id cellhold.CellID, request int64, value string) error {
	if len(value) > guestapi.MaxAnswer {
		return cellhold.Errorf(cellhold.Invalid, "The answer has %d bytes; %d are allowed.", len(value), guestapi.MaxAnswer)
	}
	for _, k := range s.all() {
		if ok, err := k.Input(ctx, id, request, value); ok {
			s.change(func(rec *cellhold.Session) { rec.Used = time.Now().UTC() })
			return err
		}
	}
	return s.isDone(ctx, id)
}

// isDone says that nothing can be done to a cell any more, or that there is none.
func (s *Session) isDone(ctx context.Context, id cellhold.CellID) error {
	c, err := s.m.o.Store.Cell(ctx, s.id, id)
	if err != nil {
		return err
	}
	return cellhold.Errorf(cellhold.Conflict, "The cell is done; it ended with %s.", c.Status)
}
