package session

import (
	"context"
	"errors"
)

// undo has the steps that undo what an operation has done so far.
type undo []func(ctx context.Context) error

// add adds a step. Steps run in the reverse order.
func (u *undo) add(step func(ctx context.Context) error) { *u = append(*u, step) }

// run undoes everything if *err is not nil, also when ctx has ended, and adds the errors of the steps to it.
// It is deferred.
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
