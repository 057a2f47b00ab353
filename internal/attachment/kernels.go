package attachment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cellhold"
	"cellhold/internal/kernel"
	"cellhold/internal/record"
	"cellhold/internal/wire"
)

// GreetTimeout limits the first answer of an agent. A slower agent does not work.
const GreetTimeout = 20 * time.Second

// renewTimeout limits a guestapi.Renew for one kernel, which runs a few lines of code.
const renewTimeout = 15 * time.Second

func (a *Attachment) kernelOptions(id cellhold.KernelID) kernel.Options {
	return kernel.Options{
		ID: id, Session: a.o.Session, Boot: a.boot, Link: a.client.Kernel(id), Log: a.o.Log, Journal: a.o.Journal,
		Logger: a.o.Logger, OOMKills: a.oomKills, Memory: a.peaks, Mirror: a.PullOutput,
		Updates: a.o.Updates, Record: a.o.Record, Refold: a.o.Refold, Changed: a.o.Changed,
		Done:  func(record.Cell) { a.changed() },
		Stuck: a.stuck,
	}
}

// stuck makes the session destroy the sandbox. why is the end of a sentence.
func (a *Attachment) stuck(why string) {
	a.o.Logger.Error("destroying a sandbox whose agent does not work", "why", why)
	a.destroyed.Store(&why)
	if a.o.Stuck != nil {
		a.o.Stuck(a)
	}
}

// serve starts the goroutine of a kernel.
func (a *Attachment) serve(k *Kernel) {
	ctx, cancel := context.WithCancel(a.ctx)
	k.cancel, k.done = cancel, make(chan struct{})
	a.wg.Go(func() {
		defer close(k.done)
		k.Run(ctx)
	})
}

// StartKernels starts the kernels that the agent does not have yet, and waits until they are idle. The first kernel
// runs the startup code. It returns only an error of the first kernel. Another kernel that does not start
// is dead, and its state has the reason.
func (a *Attachment) StartKernels(ctx context.Context, kernels []cellhold.Kernel, startup string, timeout time.Duration) error {
	for i, k := range kernels {
		start := a.startRequest(k, startup, i)
		err := error(nil)
		if !slices.Contains(a.known, k.ID) {
			err = a.followers.kernel(k.ID).Start(ctx, start)
		} else {
			err = a.prepare(ctx, k.ID, start, timeout)
		}
		if err != nil {
			return fmt.Errorf("start kernel %s: %w", k.ID, err)
		}
	}
	for i, k := range a.followers.Kernels() {
		if err := k.WaitIdle(ctx); err != nil && (i == 0 || ctx.Err() != nil) {
			return err
		}
	}
	return nil
}

// FinishKernels completes the work of an earlier server: it starts kernels that the agent does not have, and
// ends kernels that the session does not have.
func (a *Attachment) FinishKernels(ctx context.Context, kernels []cellhold.Kernel, startup string) {
	for i, k := range kernels {
		if slices.Contains(a.known, k.ID) {
			continue
		}
		if err := a.followers.kernel(k.ID).Start(ctx, a.startRequest(k, startup, i)); err != nil {
			a.o.Logger.Error("starting a kernel", "kernel", k.ID, "err", err)
		}
	}
	for _, id := range a.known {
		if a.followers.kernel(id) != nil {
			continue
		}
		if err := a.client.Kernel(id).Delete(ctx); err != nil {
			a.o.Logger.Error("ending a kernel", "kernel", id, "err", err)
		}
	}
}

// wireVersion is the first version of the agent whose wires package wire can use.
const wireVersion = 6

// OpenLink opens a connection for the raw messages of a kernel. The caller must close it.
func (a *Attachment) OpenLink(ctx context.Context, id cellhold.KernelID) (wire.Link, error) {
	if a.version < wireVersion {
		return nil, cellhold.Errorf(cellhold.Unsupported, "The session continues from a snapshot of an earlier version, which Jupyter clients cannot use. Restart the kernel in a new session.")
	}
	w, err := a.client.Kernel(id).OpenWire(ctx)
	if err != nil {
		return nil, err // w is a nil pointer, which is no nil Link
	}
	return w, nil
}

// Specs returns the kernelspecs of the sandbox.
func (a *Attachment) Specs(ctx context.Context) ([]cellhold.KernelSpec, error) {
	return a.client.Specs(ctx)
}

// CheckSpec refuses a kernelspec that the image does not have.
func (a *Attachment) CheckSpec(ctx context.Context, name string) error {
	specs, err := a.Specs(ctx)
	if err != nil {
		return err
	}
	names := make([]string, len(specs))
	for i, spec := range specs {
		names[i] = spec.Name
	}
	if slices.Contains(names, name) {
		return nil
	}
	return cellhold.Errorf(cellhold.Invalid, "Kernelspec %.100q not found in the image. Use one of: %s.", name, strings.Join(names, ", "))
}

// AddKernel starts another kernel and returns when it is idle. Before the start, it calls put to record the
// kernel. After an error the caller must call RemoveKernel.
func (a *Attachment) AddKernel(ctx context.Context, k cellhold.Kernel, put func() error) error {
	o := a.kernelOptions(k.ID)
	o.Fresh = true
	fresh, err := kernel.New(ctx, o)
	if err != nil {
		return err
	}
	if err := put(); err != nil {
		return err
	}
	if err := a.o.Log.Append(ctx, []record.Event{record.NewEvent(cellhold.EventKernelState, k.ID, "",
		cellhold.KernelStateContent{State: cellhold.KernelStarting})}); err != nil {
		return err
	}
	follower := withoutGoroutine(fresh)
	a.mu.Lock()
	closed := a.ctx.Err() != nil
	if !closed {
		a.serve(follower)
		a.followers.add(k.ID, follower)
	}
	a.mu.Unlock()
	if closed {
		return cellhold.Errorf(cellhold.Unavailable, "The sandbox ended while the kernel was starting. Restart the first kernel to get a new sandbox.")
	}
	if err := fresh.Start(ctx, a.startRequest(k, "", 1)); err != nil {
		return err
	}
	return fresh.WaitIdle(ctx)
}

// RemoveKernel ends a kernel of the sandbox: it interrupts the running cell and cancels the queued cells. An
// unknown kernel is not an error. Before it asks the agent, RemoveKernel calls put to record the removal, so that a
// restarted server completes it.
func (a *Attachment) RemoveKernel(ctx context.Context, id cellhold.KernelID, put func() error) error {
	k := a.followers.kernel(id)
	if k == nil {
		return put()
	}
	if err := k.Retire(ctx); err != nil {
		return cellhold.Wrap(cellhold.Unavailable, err, "The end of queued cells could not be recorded. Check the free space on the server's disk.")
	}
	err := put()
	if derr := a.client.Kernel(id).Delete(ctx); cellhold.KindOf(derr) != cellhold.NotFound {
		err = errors.Join(err, derr)
	}
	err = errors.Join(err, k.Die(ctx, cellhold.StatusInterrupted, "The kernel was shut down."))
	k.cancel()
	if k.done != nil {
		<-k.done
	}
	a.followers.remove(id)
	k.Release()
	return err
}
