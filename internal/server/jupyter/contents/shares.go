package contents

import (
	"context"
	"net/http"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/memory"
)

const (
	// budget is the memory in bytes for all documents that are read or written now, and factor the memory of a document for
	// each of its bytes: the file, its JSON, and the file of a notebook, which can have four times its size.
	budget = 256 << 20
	factor = 8
	// callerBudget is the part of the budget that one caller can have. Its own sandboxes could otherwise take all of it.
	callerBudget = budget / 4
	// converting is the memory in bytes for notebooks that change their layout now, and convertFactor the memory of a notebook
	// for each of its bytes. Its nested values are copied at each level. No client and no sandbox can make a conversion wait.
	converting    = 192 << 20
	convertFactor = 24
	// documentTime limits the work with a sandbox that takes memory. The time without an answer of a sandbox is limited too,
	// but each byte starts it again.
	documentTime = 2 * time.Minute
)

// errSlow is the error of a sandbox that takes too long.
var errSlow = cellhold.Errorf(cellhold.Unavailable, "The sandbox did not read or write the document within %s. Try again, or use /v1/sessions/{id}/files.", documentTime)

// shares has the memory of documents. It must be made with newShares.
type shares struct {
	all     *memory.Budget
	convert *memory.Budget

	mu sync.Mutex
	of map[string]*callerShares // callers with documents
}

// callerShares is the part of one caller.
type callerShares struct {
	budget *memory.Budget
	users  int // shares.mu guards it
}

func newShares() *shares {
	return &shares{all: memory.New(budget), convert: memory.New(converting), of: map[string]*callerShares{}}
}

// take waits for memory for a document of n bytes. The caller must call release.
func (s *shares) take(ctx context.Context, caller string, n int64) (release func(), err error) {
	n = min(factor*n, callerBudget)
	own, leave := s.enter(caller)
	part, err := own.Take(ctx, n)
	if err != nil {
		leave()
		return nil, err
	}
	share, err := s.all.Take(ctx, n) // no holder of this budget waits for the budget of a caller
	if err != nil {
		part.Release()
		leave()
		return nil, err
	}
	return func() {
		share.Release()
		part.Release()
		leave()
	}, nil
}

// enter returns the budget of a caller, which exists until all its users have left.
func (s *shares) enter(caller string) (own *memory.Budget, leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.of[caller]
	if c == nil {
		c = &callerShares{budget: memory.New(callerBudget)}
		s.of[caller] = c
	}
	c.users++
	return c.budget, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if c.users--; c.users == 0 {
			delete(s.of, caller)
		}
	}
}

// converted runs a conversion of a notebook of n bytes, which must not wait for a client or a sandbox.
func (s *shares) converted(ctx context.Context, n int, convert func() ([]byte, error)) ([]byte, error) {
	share, err := s.convert.Take(ctx, int64(n)*convertFactor)
	if err != nil {
		return nil, err
	}
	defer share.Release()
	return convert()
}

// hold runs f with memory for a document of n bytes. The context of f's request ends after documentTime.
func (s *Server) hold(r *http.Request, caller string, n int64, f func(r *http.Request) error) error {
	release, err := s.shares.take(r.Context(), caller, n)
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeoutCause(r.Context(), documentTime, errSlow)
	defer cancel()
	err = f(r.WithContext(ctx))
	if err != nil && context.Cause(ctx) == errSlow {
		return cellhold.Wrap(cellhold.Unavailable, err, "%s", errSlow.Message)
	}
	return err
}
