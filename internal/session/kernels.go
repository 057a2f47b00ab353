package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/kernel"
	"cellhold/internal/lazy"
)

// maxKernels bounds the kernels of one session: each takes 50 MB or more of its memory.
const maxKernels = 8

var (
	kernelPattern = lazy.Regexp(`^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$`)
	notInKernelID = lazy.Regexp(`[^A-Za-z0-9_-]+`)
)

// running is one kernel with what serves it here.
type running struct {
	*kernel.Kernel
	cancel context.CancelFunc // ends the serving
	done   chan struct{}      // closed when it has ended
}

// serve lets a kernel run here, in a place.
func (p *place) serve(ctx context.Context, k *kernel.Kernel) *running {
	ctx, cancel := context.WithCancel(ctx)
	r := &running{Kernel: k, cancel: cancel, done: make(chan struct{})}
	p.wg.Go(func() {
		defer close(r.done)
		k.Run(ctx)
	})
	return r
}

// resting is a kernel that nothing serves: its sandbox is gone.
func resting(k *kernel.Kernel) *running { return &running{Kernel: k, cancel: func() {}} }

// all returns the session's kernels in the order in which they were made.
func (s *Session) all() []*running {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*running, 0, len(s.rec.Kernels))
	for _, k := range s.rec.Kernels {
		if r := s.kernels[k.ID]; r != nil {
			list = append(list, r)
		}
	}
	return list
}

// kernel returns a kernel of the session, nil when it has none of that id. No id is the first one.
func (s *Session) kernel(id cellhold.KernelID) *running {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == "" {
		id = s.rec.Kernels[0].ID
	}
	return s.kernels[id]
}

// usable returns the kernel of that id in a session that is alive.
func (s *Session) usable(id cellhold.KernelID) (*running, error) {
	if state := s.record().State; state != cellhold.SessionReady {
		return nil, cellhold.Errorf(cellhold.Conflict, "The session is %s.", state)
	}
	if k := s.kernel(id); k != nil {
		return k, nil
	}
	return nil, cellhold.Errorf(cellhold.NotFound, "The session has no kernel %.40q.", id)
}

// Kernels describes the session's kernels, in the order in which they were made.
func (s *Session) Kernels() []cellhold.Kernel {
	list := []cellhold.Kernel{}
	for _, k := range s.record().Kernels {
		if r := s.kernel(k.ID); r != nil {
			state := r.State()
			state.Spec = k.Spec
			list = append(list, state)
		}
	}
	return list
}

// Specs are the sorts of kernel that the session's sandbox has.
func (s *Session) Specs(ctx context.Context) ([]cellhold.KernelSpec, error) {
	leave, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return s.specs(ctx)
}

// specs is Specs for who holds the life of a session that is awake, or has entered it.
func (s *Session) specs(ctx context.Context) ([]cellhold.KernelSpec, error) {
	c := s.client()
	if c == nil {
		return nil, cellhold.Errorf(cellhold.Conflict, "The session has no sandbox now. Restart its kernel to give it a new one.")
	}
	return c.Specs(ctx)
}

// KernelRequest asks for one more kernel.
type KernelRequest struct {
	Spec string            // name of the kernelspec
	ID   cellhold.KernelID // zero means one made of the kernelspec's name
}

// AddKernel starts one more kernel and returns when it is idle. When it fails, nothing of it is left.
func (s *Session) AddKernel(ctx context.Context, r KernelRequest) (cellhold.Kernel, error) {
	release, err := s.awake(ctx)
	if err != nil {
		return cellhold.Kernel{}, err
	}
	defer release()
	if _, err := s.usable(""); err != nil {
		return cellhold.Kernel{}, err
	}
	if err := s.checkSpec(ctx, r.Spec); err != nil {
		return cellhold.Kernel{}, err
	}
	id, err := s.newKernelID(r)
	if err != nil {
		return cellhold.Kernel{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.m.o.StartTimeout, errStartTimeout)
	defer cancel()
	if err := s.addKernel(ctx, cellhold.Kernel{ID: id, Spec: r.Spec, State: cellhold.KernelStarting}); err != nil {
		clean, cancel := cleanup(ctx)
		defer cancel()
		err = errors.Join(err, s.dropKernel(clean, id))
		if errors.Is(context.Cause(ctx), errStartTimeout) {
			return cellhold.Kernel{}, cellhold.Wrap(cellhold.Unavailable, err, "The kernel did not start within %s.", s.m.o.StartTimeout)
		}
		return cellhold.Kernel{}, err
	}
	k := s.kernel(id).State()
	k.Spec = r.Spec
	return k, nil
}

// checkSpec refuses a kernelspec that the image does not have, and says which it has.
func (s *Session) checkSpec(ctx context.Context, name string) error {
	specs, err := s.specs(ctx)
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
	return cellhold.Errorf(cellhold.Invalid, "The image has no kernelspec %.100q; it has %s.", name, strings.Join(names, ", "))
}

// newKernelID checks the id that the caller wants, or makes one: the kernelspec's name, with a number
// from the second one on.
func (s *Session) newKernelID(r KernelRequest) (cellhold.KernelID, error) {
	taken := s.record().Kernels
	has := func(id cellhold.KernelID) bool {
		return slices.ContainsFunc(taken, func(k cellhold.Kernel) bool { return k.ID == id })
	}
	if len(taken) >= maxKernels {
		return "", cellhold.Errorf(cellhold.Exhausted, "The session has %d kernels, which is the most. Delete one first.", len(taken))
	}
	if r.ID != "" {
		if !kernelPattern().MatchString(string(r.ID)) {
			return "", cellhold.Errorf(cellhold.Invalid, "A kernel id is 1 to 40 letters, digits, '-' or '_', and begins with a letter or digit.")
		}
		if has(r.ID) {
			return "", cellhold.Errorf(cellhold.Conflict, "The session has a kernel %q already.", r.ID)
		}
		return r.ID, nil
	}
	name := strings.Trim(notInKernelID().ReplaceAllString(r.Spec, "-"), "-_")
	name = name[:min(len(name), 36)] // room for the number
	if name == "" {
		name = "kernel"
	}
	id := cellhold.KernelID(name)
	for n := 2; has(id); n++ {
		id = cellhold.KernelID(fmt.Sprintf("%s-%d", name, n))
	}
	return id, nil
}

// addKernel records a kernel, starts it and waits until it is idle. The caller holds the life.
func (s *Session) addKernel(ctx context.Context, k cellhold.Kernel) error {
	s.mu.Lock()
	p := s.place
	s.mu.Unlock()
	if p == nil {
		return cellhold.Errorf(cellhold.Conflict, "The sandbox has ended. Restart the first kernel to get a new one.")
	}
	o := s.kernelOptions(p, k.ID, nil)
	o.Fresh = true
	fresh, err := kernel.New(ctx, o)
	if err != nil {
		return err
	}
	rec := s.change(func(r *cellhold.Session) { r.Kernels = append(slices.Clone(r.Kernels), k) })
	if err := s.m.o.Store.PutSession(ctx, rec); err != nil {
		return cellhold.Wrap(cellhold.Unavailable, err, "The kernel could not be recorded. Is the server's disk full?")
	}
	if err := s.log.Append(ctx, []cellhold.Event{cellhold.NewEvent(cellhold.EventKernelState, k.ID, "",
		cellhold.KernelStateContent{State: cellhold.KernelStarting})}); err != nil {
		return err
	}
	if !s.seat(p, k.ID, fresh) {
		return cellhold.Errorf(cellhold.Unavailable, "The sandbox ended while the kernel was being started.")
	}
	if err := fresh.Start(ctx, guestapi.StartKernel{Spec: k.Spec}); err != nil {
		return err
	}
	return fresh.WaitIdle(ctx)
}

// seat lets a new kernel run in a place, unless that is gone.
func (s *Session) seat(p *place, id cellhold.KernelID, k *kernel.Kernel) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.place != p {
		return false
	}
	s.kernels[id] = p.serve(p.run, k)
	return true
}

// RemoveKernel ends a kernel: its running cell is interrupted, waiting ones are cancelled. The first one
// stays as long as the session, which is named after it in notebooks.
func (s *Session) RemoveKernel(ctx context.Context, id cellhold.KernelID) error {
	release, err := s.awake(ctx)
	if err != nil {
		return err
	}
	defer release()
	if _, err := s.usable(id); err != nil {
		return err
	}
	if id == s.record().Kernels[0].ID {
		return cellhold.Errorf(cellhold.Conflict, "The first kernel stays as long as its session. Restart it, or end the session.")
	}
	return s.dropKernel(ctx, id)
}

// dropKernel is RemoveKernel for whoever holds the life. The record goes first: what is left in the
// sandbox after a crash is removed at the next adoption.
func (s *Session) dropKernel(ctx context.Context, id cellhold.KernelID) error {
	k := s.kernel(id)
	if k != nil {
		if err := k.Retire(ctx); err != nil {
			return cellhold.Wrap(cellhold.Unavailable, err, "The end of waiting cells could not be recorded. Is the server's disk full?")
		}
	}
	rec := s.change(func(r *cellhold.Session) {
		r.Kernels = slices.DeleteFunc(slices.Clone(r.Kernels), func(k cellhold.Kernel) bool { return k.ID == id })
	})
	err := s.m.o.Store.PutSession(ctx, rec)
	if k == nil {
		return err
	}
	if c := s.client(); c != nil {
		if derr := c.Kernel(id).Delete(ctx); cellhold.KindOf(derr) != cellhold.NotFound {
			err = errors.Join(err, derr)
		}
	}
	err = errors.Join(err, k.Die(ctx, cellhold.StatusInterrupted, "The kernel was shut down."))
	k.cancel()
	if k.done != nil {
		<-k.done
	}
	s.mu.Lock()
	delete(s.kernels, id)
	s.mu.Unlock()
	k.Release()
	return err
}

// dieAll ends all kernels and commands because the sandbox is gone.
func (s *Session) dieAll(ctx context.Context, status cellhold.CellStatus, detail string) error {
	var errs []error
	for _, k := range s.all() {
		errs = append(errs, k.Die(ctx, status, detail))
	}
	return errors.Join(append(errs, s.endCommands(ctx, status, detail))...)
}

// of returns those cells that are a kernel's.
func of(cells []cellhold.Cell, id cellhold.KernelID) []cellhold.Cell {
	var own []cellhold.Cell
	for _, c := range cells {
		if c.Kernel == id {
			own = append(own, c)
		}
	}
	return own
}
