package session

import (
	"context"
	"errors"
)

// undo has steps that undo the work of an operation so far.
type undo []func(ctx context.Context) error

// add adds a step. Steps run in the reverse order.
func (u *undo) add(step func(ctx context.Context) error) { *u = append(*u, step) }

// run runs all steps if *err is not nil, even after ctx ended. It adds the errors of the steps to *err. The caller
// must defer it.
func (u undo) run(ctx context.Context, err *error) {
	if *err == nil || len(u) == 0 {
		return
	}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	for i := len(u) - 1; i >= 0; i-- {
		*err = errors.Join(*err, u[i](clean))
	}
}
