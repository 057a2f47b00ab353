// Package kernel is one kernel seen from the host: a queue, one cell at a time, events in order.
//
// It refuses to decide how a cell ends: the agent in the guest does, because it sees the process,
// and goes on while no server runs. The host adds only what it alone can know: that a cell waits,
// that memory ran out, that the sandbox is gone. No cell is left without its last event.
//
// Lock order: Kernel.submit, Kernel.rec, Log.write, Kernel.mu, Log.mu.
package kernel

import (
	"cmp"
	"context"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/notebook"
)

// Link is the way to the agent's end of one kernel.
type Link interface {
	Start(ctx context.Context, r guestapi.StartKernel) error
	Execute(ctx context.Context, r guestapi.Execute) error     // the same cell twice runs once
	Interrupt(ctx context.Context, only cellhold.CellID) error // no id: whichever cell runs
	Input(ctx context.Context, r guestapi.InputReply) error
	Restart(ctx context.Context) error
	Ack(ctx context.Context, seq int64) error // events up to seq may be forgotten
	// Events yields the agent's events after that number, and goes on until the link breaks,
	// which is an error, or the context ends.
	Events(ctx context.Context, after int64) iter.Seq2[guestapi.Event, error]
}

// Options configures a Kernel. All fields are required unless it says otherwise.
type Options struct {
	ID      cellhold.KernelID
	Session cellhold.SessionID
	Boot    string // the agent's life, from its Info
	Link    Link
	Log     *Log
	Journal Journal
	Logger  *slog.Logger
	Pending []cellhold.Cell // cells that were not done when the server last ended, in order
	Fresh   bool            // the kernel is new: what the journal has of its id is of an earlier one
	Before  *Kernel         // the same kernel, followed until now: it is gone on from there instead of from the journal; may be nil

	// CellOutput and SessionOutput bound the bytes in the journal of one cell's output, and of all
	// events of the session from which on there is no room for output. Zero means 256 MiB and 1 GiB.
	CellOutput, SessionOutput int64

	// OOMKills tells how many processes of the sandbox the host has killed for want of memory.
	OOMKills func(ctx context.Context) (int64, error)
	// Memory measures the most memory that the sandbox uses while a cell runs. May be nil. Begin is
	// called for cells that are not short, End for all; its 0 means that it cannot tell.
	Memory interface {
		Begin(ctx context.Context, c cellhold.CellID)
		End(ctx context.Context, c cellhold.CellID) int64
	}
	// Mirror copies the guest's /mnt/data/output to the host, before the cell is reported done.
	Mirror func(ctx context.Context) error
	// Updates is told what a cell that ends has shown under which display id, for displays of earlier
	// cells to get it too. It may be told twice. It returns the bytes of the records that it has written. May be nil.
	Updates func(ctx context.Context, c cellhold.Cell, updates []notebook.Update) int64
	// Record returns the record of a cell that is done, for output that comes later. Without it, which is nil,
	// such output is only in the journal.
	Record func(ctx context.Context, id cellhold.CellID) (cellhold.Cell, error)
	// Changed is called when a record has got such output. May be nil. It must not block.
	Changed func()
	// Refold makes the records of cells what their events say: the server before this one was killed before it had
	// written late output. May be nil.
	Refold func(ctx context.Context) error
	// Done is called after a cell is done and recorded. May be nil. It must not block.
	Done func(c cellhold.Cell)
	// Stuck is called when the agent did not end a cell in time, for the owner to destroy the
	// sandbox and call Die. It must not block.
	Stuck func(why string)
}

// Bounds and waits.
const (
	// maxQueue is the most cells that wait: a caller who sends more does not read the answers.
	maxQueue = 1000
	// maxQueued is the most bytes of code that wait, because they wait in the server's memory.
	maxQueued = 32 << 20
	// stuckAfter is how long after a cell's deadline the agent may take to end it: its own ladder
	// (interrupt, SIGINT, SIGKILL) takes less than 10 s, and a loaded host is slow.
	stuckAfter = 45 * time.Second
	// takeWithin is how long cells may wait for an agent that does not run any: longer than its own
	// bound for the start of a kernel, two minutes, after which it says that the kernel is dead.
	takeWithin = 3 * time.Minute
	// mirrorTimeout bounds the copying of one cell's files: 256 MiB at 10 MB/s.
	mirrorTimeout = 30 * time.Second
	// ackEvery is how many bytes of events are kept twice, here and in the agent's spool, before
	// the agent is told to forget: far below its bound, and rare enough to cost nothing.
	ackEvery = 256 << 10
	// starvedTries is how often a kernel is started in place of one that was killed for want of memory:
	// each start takes a second, and on a busy machine one in fifty did not survive it.
	starvedTries = 4
	// retryFirst and retryMost bound the wait between attempts to reach the agent or the journal.
	retryFirst = 20 * time.Millisecond
	retryMost  = 2 * time.Second
)

// Kernel is one kernel of a session. Run must be running for cells to be executed.
type Kernel struct {
	o     Options
	inbox *inbox
	wake  chan struct{} // capacity 1: something for the dispatcher to look at

	stalled time.Time // since when there is work that the agent does not take; the dispatcher's own

	submit sync.Mutex // makes the order of the queue that of the journal
	rec    sync.Mutex // held while events are recorded and applied

	killedForMemory bool // how the last process died; guarded by rec

	mu        sync.Mutex
	state     cellhold.KernelState // never busy: that is current != nil
	cause     cellhold.CellStatus
	detail    string
	info      *cellhold.KernelInfo
	cursor    int64 // the agent's number of the newest recorded event
	unacked   int64 // bytes recorded since the last ack
	queue     []*entry
	current   *entry
	done      map[cellhold.CellID]*doneCell // the newest of this kernel's
	order     []cellhold.CellID             // of done, oldest first
	late      map[cellhold.CellID]*late
	lateSince time.Time     // since when the journal has output that a record does not; zero when they agree
	lateNext  time.Time     // when records may be written for it again
	oom       int64         // memory kills that are known not to be the running cell's
	killed    int64         // memory kills at the last look
	gone      bool          // Die was called: nothing revives the kernel
	revived   int           // how often the agent said that it restarts the process
	down      bool          // the link is broken and everything read from it is recorded
	changed   chan struct{} // closed and replaced when any of the above changes
}

// entry is one cell that is not done.
type entry struct {
	req     guestapi.Execute // what the agent is asked for; never changes
	cell    cellhold.Cell
	folder  *notebook.Folder
	counted bool                          // memory kills were counted for it; the dispatcher's own
	sent    bool                          // the agent has accepted it
	begun   time.Time                     // when it was handed to the agent; zero when an earlier server did
	usage   *cellhold.Usage               // what it used, once its end was seen
	sentAt  time.Time                     // when, by this process's clock: those of the guest prove nothing
	folded  int64                         // the agent's number of the newest event in folder
	kept    int64                         // bytes of its output in the journal
	lost    cellhold.OutputDroppedContent // its output that found no room there
	tries   int                           // failed attempts to send it; the dispatcher's own
	asked   int64                         // the agent's number of the event that asks for input; 0 when nothing is asked

	ending   bool          // its end is being recorded: it is not sent any more
	unwanted bool          // it is to be interrupted as soon as the agent has it
	overdue  bool          // the agent did not end it at its deadline
	done     chan struct{} // closed when the cell is done and recorded
}

// New returns a kernel that goes on where the journal ends. Pending cells are brought up to date
// from the journal; those that never started will run, and those that started are waited for.
func New(ctx context.Context, o Options) (*Kernel, error) {
	o.CellOutput = cmp.Or(o.CellOutput, defaultCellOutput)
	o.SessionOutput = cmp.Or(o.SessionOutput, defaultSessionOutput)
	k := &Kernel{o: o, inbox: newInbox(), wake: make(chan struct{}, 1),
		state: cellhold.KernelStarting, down: true, changed: make(chan struct{})}
	var err error
	if k.cursor, err = o.Journal.Cursor(ctx, o.Session, o.ID, o.Boot); err != nil {
		return nil, err
	}
	if o.Fresh {
		return k, nil
	}
	if o.Before != nil {
		k.follow(o.Before)
		return k, nil
	}
	if err := k.recover(ctx); err != nil {
		return nil, err
	}
	return k, nil
}

// Run reads, records and dispatches until the context ends, and returns when all of it has stopped.
// The kernel itself goes on.
func (k *Kernel) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { k.read(ctx) })
	wg.Go(func() { k.record(ctx) })
	wg.Go(func() { k.dispatch(ctx) })
	wg.Wait()
}

// Start asks the agent for the kernel process. The kernel is there when WaitIdle returns.
func (k *Kernel) Start(ctx context.Context, r guestapi.StartKernel) error {
	return k.o.Link.Start(ctx, r)
}

// Submit queues a cell, or refuses it at once. It returns when the cell is on disk. Watching ends
// with ctx, running does not.
func (k *Kernel) Submit(ctx context.Context, c cellhold.Cell) (cellhold.Cell, error) {
	k.submit.Lock()
	defer k.submit.Unlock()
	position, err := k.admit(len(c.Code))
	if err != nil {
		return c, err
	}
	c.State, c.Submitted, c.Outputs = cellhold.CellQueued, time.Now().UTC(), []cellhold.Output{}
	ev := cellhold.NewEvent(cellhold.EventCellQueued, k.o.ID, c.ID, cellhold.CellQueuedContent{Position: position})
	// Once the caller is gone the cell must be either recorded or refused, not half of it.
	if err := k.o.Log.Append(context.WithoutCancel(ctx), []cellhold.Event{ev}, &c); err != nil {
		return c, cellhold.Wrap(cellhold.Unavailable, err, "The cell could not be recorded, so it was not run. Is the server's disk full?")
	}
	k.mu.Lock()
	k.queue = append(k.queue, newEntry(c))
	k.mu.Unlock()
	signal(k.wake)
	c.Position = position
	return c, nil
}

// admit says whether a cell may be queued now, and how many are before it.
func (k *Kernel) admit(size int) (position int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range k.queue {
		size += len(e.req.Code)
	}
	if k.state == cellhold.KernelDead {
		return 0, k.deadError()
	}
	if k.gone {
		return 0, cellhold.Errorf(cellhold.Conflict, "The kernel is being shut down.")
	}
	if len(k.queue) >= maxQueue || size > maxQueued {
		return 0, cellhold.Errorf(cellhold.Exhausted, "%d cells wait for this kernel already. Wait for some of them.", len(k.queue))
	}
	position = len(k.queue)
	if k.current != nil {
		position++
	}
	return position, nil
}

// deadError says that the kernel is dead, how, and what helps. The caller holds mu.
func (k *Kernel) deadError() error {
	detail := k.detail
	if detail == "" {
		detail = "The kernel is dead."
	}
	return cellhold.Errorf(cellhold.Conflict, "%s Restart the kernel to go on; its variables are lost.", detail)
}

func newEntry(c cellhold.Cell) *entry {
	return &entry{req: guestapi.Execute{Cell: c.ID, Code: c.Code, Timeout: c.Timeout, AllowStdin: c.AllowStdin, Figures: c.Figures}, cell: c, folder: notebook.New(notebook.Bounds{}), done: make(chan struct{})}
}

// Restart replaces the kernel process and waits until the new one is idle. The running cell ends,
// waiting cells are cancelled, variables are lost.
func (k *Kernel) Restart(ctx context.Context) error {
	starved := k.died(cellhold.StatusOOM)
	err := k.replace(ctx)
	// What a process had that was killed for want of memory is given back little by little, and the new
	// one can be killed for it.
	for try := 1; try < starvedTries && err != nil && starved && k.died(cellhold.StatusOOM, cellhold.StatusSignal); try++ {
		err = k.replace(ctx)
	}
	return err
}

// died reports whether the kernel is dead for one of these reasons.
func (k *Kernel) died(of ...cellhold.CellStatus) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state == cellhold.KernelDead && slices.Contains(of, k.cause)
}

// replace is Restart, tried once.
func (k *Kernel) replace(ctx context.Context) error {
	if err := k.cancelQueue(ctx, cellhold.StatusCancelled, "The kernel was restarted before the cell could run."); err != nil {
		return err
	}
	k.mu.Lock()
	state, cause, detail, revived := k.state, k.cause, k.detail, k.revived
	if state == cellhold.KernelRestarting {
		revived-- // the agent says so once
	}
	k.mu.Unlock()
	k.setState(cellhold.KernelRestarting, "", "")
	if err := k.o.Link.Restart(ctx); err != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.state == cellhold.KernelRestarting && k.revived == revived {
			k.state, k.cause, k.detail = state, cause, detail
			k.tell()
		}
		return err
	}
	return k.waitState(ctx, revived+1)
}

// WaitIdle waits until the kernel can take cells, or says why it never will.
func (k *Kernel) WaitIdle(ctx context.Context) error { return k.waitState(ctx, 0) }

// waitState is WaitIdle for what comes after that many restarts: what was said before is passed over.
func (k *Kernel) waitState(ctx context.Context, revived int) error {
	for {
		k.mu.Lock()
		changed := k.changed
		settled := k.gone || k.revived >= revived && (k.state == cellhold.KernelIdle || k.finallyDead())
		var err error
		if settled && k.state != cellhold.KernelIdle {
			err = k.deadError()
		}
		k.mu.Unlock()
		if settled {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// State says what the kernel is doing.
func (k *Kernel) State() cellhold.Kernel {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := cellhold.Kernel{ID: k.o.ID, State: k.state, Cause: k.cause, Queued: len(k.queue)}
	if s.State == cellhold.KernelIdle && (k.current != nil || len(k.queue) > 0) {
		s.State = cellhold.KernelBusy
	}
	if k.info != nil {
		s.Language = k.info.Language
	}
	return s
}

// Info is what the kernel said of itself, nil before it was ready for the first time.
func (k *Kernel) Info() *cellhold.KernelInfo {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.info
}

// Busy reports whether a cell runs or waits.
func (k *Kernel) Busy() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current != nil || len(k.queue) > 0
}

// Cell returns a cell that is not done yet, with its outputs so far.
func (k *Kernel) Cell(id cellhold.CellID) (cellhold.Cell, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.find(id)
	if e == nil {
		return cellhold.Cell{}, false
	}
	c := e.cell
	e.fill(&c)
	if e != k.current {
		c.Position = slices.Index(k.queue, e)
		if k.current != nil {
			c.Position++
		}
	}
	return c, true
}

// Wait waits until a cell that was not done is, and returns it; false when there is no such cell
// here, because it is done long since or was never sent. When ctx ends first it returns the cell
// as it is and the context's error.
func (k *Kernel) Wait(ctx context.Context, id cellhold.CellID) (cellhold.Cell, bool, error) {
	k.mu.Lock()
	e := k.find(id)
	k.mu.Unlock()
	if e == nil {
		return cellhold.Cell{}, false, nil
	}
	select {
	case <-e.done:
		return e.cell, true, nil // not written to after done is closed
	case <-ctx.Done():
		c, ok := k.Cell(id)
		if !ok { // done at the same moment
			return e.cell, true, nil
		}
		return c, true, ctx.Err()
	}
}

// find returns the entry of a cell that is not done. The caller holds mu.
func (k *Kernel) find(id cellhold.CellID) *entry {
	if k.current != nil && k.current.req.Cell == id {
		return k.current
	}
	for _, e := range k.queue {
		if e.req.Cell == id {
			return e
		}
	}
	return nil
}

// setState changes the state and tells who waits for it.
func (k *Kernel) setState(s cellhold.KernelState, cause cellhold.CellStatus, detail string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state, k.cause, k.detail = s, cause, detail
	k.tell()
}

// tell wakes all who wait for a change. The caller holds mu.
func (k *Kernel) tell() {
	close(k.changed)
	k.changed = make(chan struct{})
	signal(k.wake)
}
