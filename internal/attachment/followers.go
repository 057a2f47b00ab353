package attachment

import (
	"context"
	"errors"
	"slices"
	"sync"

	"cellhold"
	"cellhold/internal/command"
	"cellhold/internal/guestapi"
	"cellhold/internal/kernel"
	"cellhold/internal/record"
)

// Followers are the kernels and the commands of a session as the server follows them. They can be read
// after the end of their sandbox. A nil *Followers has none.
type Followers struct {
	mu       sync.Mutex
	order    []cellhold.KernelID
	kernels  map[cellhold.KernelID]*Kernel
	commands *command.Runner // nil when they could not be read
}

// Kernel is one kernel that the server follows.
type Kernel struct {
	*kernel.Kernel
	cancel context.CancelFunc // ends the following
	done   chan struct{}      // closed when that has ended; nil when nothing runs
}

// unserved is a kernel for which nothing runs yet, or ever: its sandbox may have ended.
func unserved(k *kernel.Kernel) *Kernel { return &Kernel{Kernel: k, cancel: func() {}} }

func newFollowers() *Followers { return &Followers{kernels: map[cellhold.KernelID]*Kernel{}} }

// Detached returns followers of kernels and commands that have no sandbox: they bring the cells of an
// earlier server up to what the journal says. Commands that were running are ended as lost. boot is the boot
// id of the agent to which the cells belong, empty when it is gone.
func Detached(ctx context.Context, o Options, kernels []cellhold.Kernel, boot string, pending []record.Cell) (*Followers, error) {
	f := newFollowers()
	var errs []error
	for _, k := range kernels {
		follower, err := kernel.New(ctx, kernel.Options{ID: k.ID, Session: o.Session, Boot: boot, Log: o.Log,
			Journal: o.Journal, Logger: o.Logger, Pending: cellsOf(pending, k.ID)})
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f.add(k.ID, unserved(follower))
	}
	commands, err := command.New(ctx, command.Options{Session: o.Session, Log: o.Log, Journal: o.Journal, Logger: o.Logger})
	if err == nil {
		f.commands = commands
	}
	return f, errors.Join(append(errs, err)...)
}

// Kernels returns the kernels in the order in which they were made.
func (f *Followers) Kernels() []*Kernel {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]*Kernel, 0, len(f.order))
	for _, id := range f.order {
		list = append(list, f.kernels[id])
	}
	return list
}

// Kernel returns the kernel of that id, the first one if it is empty. An unknown id is a NotFound error.
func (f *Followers) Kernel(id cellhold.KernelID) (*Kernel, error) {
	if k := f.kernel(id); k != nil {
		return k, nil
	}
	return nil, cellhold.Errorf(cellhold.NotFound, "The session has no kernel %.40q.", id)
}

func (f *Followers) kernel(id cellhold.KernelID) *Kernel {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if id == "" && len(f.order) > 0 {
		id = f.order[0]
	}
	return f.kernels[id]
}

// Commands returns what follows the commands; nil when they could not be read.
func (f *Followers) Commands() *command.Runner {
	if f == nil {
		return nil
	}
	return f.commands
}

// WaitCell waits until a cell is done; false when no kernel knows it.
func (f *Followers) WaitCell(ctx context.Context, id cellhold.CellID) (cellhold.Cell, bool, error) {
	for _, k := range f.Kernels() {
		if c, ok, err := k.Wait(ctx, id); ok {
			return c.Cell, true, err
		}
	}
	return cellhold.Cell{}, false, nil
}

// LateCell returns a cell that is done with output that is not recorded yet; false when there is none.
func (f *Followers) LateCell(id cellhold.CellID) (cellhold.Cell, bool) {
	for _, k := range f.Kernels() {
		if c, ok := k.Late(id); ok {
			return c.Cell, true
		}
	}
	return cellhold.Cell{}, false
}

// KernelInfo returns what a kernel has said of itself; nil when it has not.
func (f *Followers) KernelInfo(id cellhold.KernelID) *cellhold.KernelInfo {
	if k := f.kernel(id); k != nil {
		return k.Info()
	}
	return nil
}

// Cell returns a cell that is not done, or was done a moment ago; false when no kernel knows it.
func (f *Followers) Cell(id cellhold.CellID) (cellhold.Cell, bool) {
	for _, k := range f.Kernels() {
		if c, ok := k.Cell(id); ok {
			return c.Cell, true
		}
	}
	return cellhold.Cell{}, false
}

// Busy reports whether a cell or a command runs or waits.
func (f *Followers) Busy() bool {
	if f == nil {
		return false
	}
	return slices.ContainsFunc(f.Kernels(), func(k *Kernel) bool { return k.Busy() }) || f.commands != nil && f.commands.Busy()
}

// Idle returns nil when nothing runs, waits or starts, and a Conflict that says what does.
func (f *Followers) Idle() error {
	changing := func(k *Kernel) bool {
		state := k.State().State
		return state == cellhold.KernelStarting || state == cellhold.KernelRestarting
	}
	switch {
	case slices.ContainsFunc(f.Kernels(), func(k *Kernel) bool { return k.Busy() }):
		return cellhold.Errorf(cellhold.Conflict, "A cell runs or waits in the session. Wait for it, or interrupt it.")
	case slices.ContainsFunc(f.Kernels(), changing):
		return cellhold.Errorf(cellhold.Conflict, "A kernel of the session is starting. Retry when it is idle.")
	case f.commands != nil && f.commands.Busy():
		return cellhold.Errorf(cellhold.Conflict, "A command runs in the session. Wait for it, or end it.")
	}
	return nil
}

// WaitIdle waits until all kernels have said how they are. A kernel that is dead is no error.
func (f *Followers) WaitIdle(ctx context.Context) error {
	for _, k := range f.Kernels() {
		if err := k.WaitIdle(ctx); err != nil && ctx.Err() != nil {
			return cellhold.Wrap(cellhold.Unavailable, err, "The kernels did not answer in time.")
		}
	}
	return nil
}

// Die ends all cells and commands, because their sandbox has ended. It can be repeated after an error.
func (f *Followers) Die(ctx context.Context, status cellhold.CellStatus, detail string) error {
	if f == nil {
		return nil
	}
	var errs []error
	for _, k := range f.Kernels() {
		errs = append(errs, k.Die(ctx, status, detail))
	}
	if f.commands == nil {
		return errors.Join(errs...)
	}
	as := cellhold.CommandLost
	if status == cellhold.StatusOOM {
		as = cellhold.CommandOOM
	}
	return errors.Join(append(errs, f.commands.Die(ctx, as, detail))...)
}

// Release lets all wait calls return. It is the last call.
func (f *Followers) Release() {
	if f == nil {
		return
	}
	for _, k := range f.Kernels() {
		k.Release()
	}
	if f.commands != nil {
		f.commands.Release()
	}
}

func (f *Followers) add(id cellhold.KernelID, k *Kernel) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.order = append(f.order, id)
	f.kernels[id] = k
}

func (f *Followers) remove(id cellhold.KernelID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.order = slices.DeleteFunc(f.order, func(x cellhold.KernelID) bool { return x == id })
	delete(f.kernels, id)
}

// cellsOf returns the cells of one kernel.
func cellsOf(cells []record.Cell, id cellhold.KernelID) []record.Cell {
	var own []record.Cell
	for _, c := range cells {
		if c.Kernel == id {
			own = append(own, c)
		}
	}
	return own
}

// startOf is the request that starts a kernel. The startup code belongs to the first one.
func startOf(k cellhold.Kernel, startup string, i int) guestapi.StartKernel {
	r := guestapi.StartKernel{Spec: k.Spec}
	if i == 0 {
		r.Startup = startup
	}
	return r
}
