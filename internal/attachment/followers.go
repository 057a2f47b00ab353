package attachment

import (
	"context"
	"errors"
	"slices"
	"sync"

	"cellhold"
	"cellhold/internal/command"
	"cellhold/internal/kernel"
	"cellhold/internal/record"
)

// Followers follows the kernels and the commands of a session: it records the events that the agent sends, and
// keeps their states. Callers can read the states after the end of the sandbox. A nil *Followers has no kernels
// and no commands.
type Followers struct {
	mu       sync.Mutex
	order    []cellhold.KernelID // in the order of creation
	kernels  map[cellhold.KernelID]*Kernel
	commands *command.Runner // nil if the journal's commands could not be read
}

// Kernel is one kernel with the goroutine that follows it.
type Kernel struct {
	*kernel.Kernel
	cancel context.CancelFunc // ends the goroutine
	done   chan struct{}      // closed when the goroutine has ended; nil before it starts
}

// withoutGoroutine returns a kernel whose goroutine has not started. If the sandbox has ended, it never starts.
func withoutGoroutine(k *kernel.Kernel) *Kernel { return &Kernel{Kernel: k, cancel: func() {}} }

func newFollowers() *Followers { return &Followers{kernels: map[cellhold.KernelID]*Kernel{}} }

// Detached returns the followers of a session without a live sandbox. They complete the cells of an earlier
// server from the journal. Commands that were running end as lost. boot is the boot id of the agent that ran
// the cells; it is empty if the agent is gone. pending are the cells that were not done.
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
		f.add(k.ID, withoutGoroutine(follower))
	}
	commands, err := command.New(ctx, command.Options{Session: o.Session, Log: o.Log, Journal: o.Journal, Logger: o.Logger})
	if err == nil {
		f.commands = commands
	}
	return f, errors.Join(append(errs, err)...)
}

// Kernels returns the kernels in the order of their creation.
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

// Kernel returns the kernel with the given id. An empty id means the first kernel. An unknown id is a NotFound
// error.
func (f *Followers) Kernel(id cellhold.KernelID) (*Kernel, error) {
	if k := f.kernel(id); k != nil {
		return k, nil
	}
	return nil, cellhold.Errorf(cellhold.NotFound, "Kernel %.40q not found in this session.", id)
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

// Commands returns the runner of the commands. It is nil if the journal's commands could not be read.
func (f *Followers) Commands() *command.Runner {
	if f == nil {
		return nil
	}
	return f.commands
}

// WaitCell waits until a cell is done. It returns false if no kernel knows the cell.
func (f *Followers) WaitCell(ctx context.Context, id cellhold.CellID) (cellhold.Cell, bool, error) {
	for _, k := range f.Kernels() {
		if c, ok, err := k.Wait(ctx, id); ok {
			return c.Cell, true, err
		}
	}
	return cellhold.Cell{}, false, nil
}

// LateCell returns a cell that is done and has output that is not recorded yet. It returns false if there is
// none.
func (f *Followers) LateCell(id cellhold.CellID) (record.Cell, bool) {
	for _, k := range f.Kernels() {
		if c, ok := k.Late(id); ok {
			return c, true
		}
	}
	return record.Cell{}, false
}

// KernelInfo returns the description that a kernel gave of itself. It is nil if the kernel is unknown or gave
// no description.
func (f *Followers) KernelInfo(id cellhold.KernelID) *cellhold.KernelInfo {
	if k := f.kernel(id); k != nil {
		return k.Info()
	}
	return nil
}

// Cell returns a cell that is not done. It returns false if the cell is done or unknown. Cells that are done
// are in the store.
func (f *Followers) Cell(id cellhold.CellID) (record.Cell, bool) {
	for _, k := range f.Kernels() {
		if c, ok := k.Cell(id); ok {
			return c, true
		}
	}
	return record.Cell{}, false
}

// Busy reports whether a cell or a command is running or queued.
func (f *Followers) Busy() bool {
	if f == nil {
		return false
	}
	return slices.ContainsFunc(f.Kernels(), func(k *Kernel) bool { return k.Busy() }) || f.commands != nil && f.commands.Busy()
}

// Idle checks that no cell or command is running or queued, and that no kernel is starting. Otherwise it
// returns a Conflict error.
func (f *Followers) Idle() error {
	changing := func(k *Kernel) bool {
		state := k.State().State
		return state == cellhold.KernelStarting || state == cellhold.KernelRestarting
	}
	switch {
	case slices.ContainsFunc(f.Kernels(), func(k *Kernel) bool { return !k.Idle() }):
		return cellhold.Errorf(cellhold.Conflict, "A cell of the session is running or queued. Wait for it, or cancel it.")
	case slices.ContainsFunc(f.Kernels(), changing):
		return cellhold.Errorf(cellhold.Conflict, "A kernel of the session is starting. Retry when it is idle.")
	case f.commands != nil && f.commands.Busy():
		return cellhold.Errorf(cellhold.Conflict, "A command of the session is running. Wait for it, or end it.")
	}
	return nil
}

// WaitIdle waits until all kernels have reported their states. A dead kernel is not an error.
func (f *Followers) WaitIdle(ctx context.Context) error {
	for _, k := range f.Kernels() {
		if err := k.WaitIdle(ctx); err != nil && ctx.Err() != nil {
			return cellhold.Wrap(cellhold.Unavailable, err, "The kernels did not answer in time. Retry, or restart the kernels.")
		}
	}
	return nil
}

// Die records that all cells and commands ended, because their sandbox ended. After an error, the caller can
// repeat it.
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
	commandStatus := cellhold.CommandLost
	if status == cellhold.StatusOOM {
		commandStatus = cellhold.CommandOOM
	}
	return errors.Join(append(errs, f.commands.Die(ctx, commandStatus, detail))...)
}

// Release ends all calls that wait for a cell, a kernel or a command. Callers must not call other methods after
// it.
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
