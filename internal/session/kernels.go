package session

import (
	"context"
	"errors"
	"slices"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/record"
	"cellhold/internal/session/states"
	"cellhold/internal/session/terms"
)

// AddKernel starts another kernel and returns when it is idle. After an error it leaves nothing behind.
func (s *Session) AddKernel(ctx context.Context, r attachment.KernelRequest) (cellhold.Kernel, error) {
	turn, err := s.acquireReady(ctx, false)
	if err != nil {
		return cellhold.Kernel{}, err
	}
	defer turn.Release()
	if err := terms.CheckDir(r.Dir); err != nil {
		return cellhold.Kernel{}, err
	}
	l := s.sandboxes.current()
	if l == nil {
		return cellhold.Kernel{}, cellhold.Errorf(cellhold.Conflict, "The sandbox has ended. Restart the first kernel to get a new one.")
	}
	if err := l.CheckSpec(ctx, r.Spec); err != nil {
		return cellhold.Kernel{}, err
	}
	id, err := r.NewID(s.Record().Kernels)
	if err != nil {
		return cellhold.Kernel{}, err
	}
	if err := turn.Begin(states.Restart); err != nil {
		return cellhold.Kernel{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.env.StartTimeout, errStartTimeout)
	defer cancel()
	k := cellhold.Kernel{ID: id, Spec: r.Spec, Dir: r.Dir, Startup: r.Startup, State: cellhold.KernelStarting}
	err = l.AddKernel(ctx, k, func() error {
		return recordKernels(ctx, s, func(list []cellhold.Kernel) []cellhold.Kernel { return append(list, k) })
	})
	if err != nil {
		clean, cancel := cleanup(ctx)
		defer cancel()
		err = errors.Join(err, removeKernel(clean, s, l, id))
		if errors.Is(context.Cause(ctx), errStartTimeout) {
			return cellhold.Kernel{}, cellhold.Wrap(cellhold.Unavailable, err, "The kernel did not start within %s. Retry, or check the kernelspec.", s.env.StartTimeout)
		}
		return cellhold.Kernel{}, err
	}
	added, err := l.Followers().Kernel(id)
	if err != nil {
		return cellhold.Kernel{}, err
	}
	k = added.State()
	k.Spec, k.Dir = r.Spec, r.Dir
	return k, nil
}

// RemoveKernel ends a kernel: it interrupts the running cell and cancels the queued cells. The first kernel
// cannot be removed, because the notebook on disk is its notebook.
func (s *Session) RemoveKernel(ctx context.Context, id cellhold.KernelID) error {
	turn, err := s.acquireReady(ctx, false)
	if err != nil {
		return err
	}
	defer turn.Release()
	if _, err := s.sandboxes.following().Kernel(id); err != nil {
		return err
	}
	if id == "" || id == s.Record().Kernels[0].ID {
		return cellhold.Errorf(cellhold.Conflict, "The first kernel cannot be removed. Restart it, or end the session.")
	}
	l := s.sandboxes.current()
	if l == nil {
		return ErrNoSandbox
	}
	if err := turn.Begin(states.Restart); err != nil {
		return err
	}
	return removeKernel(ctx, s, l, id)
}

// removeKernel ends a kernel and removes it from the record. The caller must hold the turn.
func removeKernel(ctx context.Context, s *Session, l *live, id cellhold.KernelID) error {
	return l.RemoveKernel(ctx, id, func() error {
		return recordKernels(ctx, s, func(list []cellhold.Kernel) []cellhold.Kernel {
			return slices.DeleteFunc(list, func(k cellhold.Kernel) bool { return k.ID == id })
		})
	})
}

// recordKernels records a changed list of kernels.
func recordKernels(ctx context.Context, s *Session, f func([]cellhold.Kernel) []cellhold.Kernel) error {
	return put(ctx, s, func(r *record.Session) { r.Kernels = f(slices.Clone(r.Kernels)) })
}
