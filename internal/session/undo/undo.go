// Package undo undoes the work of an operation that fails halfway.
package undo

import (
	"context"
	"errors"
	"time"

	"cellhold/internal/memory"
)

// Steps are steps that undo the work of an operation so far.
type Steps []func(ctx context.Context) error

// Add adds a step. Steps run in the reverse order.
func (s *Steps) Add(step func(ctx context.Context) error) { *s = append(*s, step) }

// Run runs all steps if *err is not nil, even after ctx ended, and adds their errors to *err. The caller must defer it.
func (s Steps) Run(ctx context.Context, timeout time.Duration, err *error) {
	if *err == nil || len(s) == 0 {
		return
	}
	clean, cancel := context.WithTimeout(memory.Detach(ctx), timeout)
	defer cancel()
	for i := len(s) - 1; i >= 0; i-- {
		*err = errors.Join(*err, s[i](clean))
	}
}
