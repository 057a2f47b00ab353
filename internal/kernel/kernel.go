// Package kernel is the host's side of one kernel: a queue, one cell at a time, and events in order.
//
// It does not decide how a cell ends. The agent in the guest does, because it sees the process and keeps
// running while no server runs. The host adds only facts that it alone knows: that a cell is queued, that
// memory ran out, that the sandbox is gone. Every cell gets an event with its end, even if the sandbox is gone.
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
	"cellhold/internal/record"
)

// Link has the calls to the agent about one kernel.
type Link interface {
	Start(ctx context.Context, r guestapi.StartKernel) error
	Execute(ctx context.Context, r guestapi.Execute) error     // a repeated request does not run the cell again
	Interrupt(ctx context.Context, only cellhold.CellID) error // no id: any running cell
	Input(ctx context.Context, r guestapi.InputReply) error
	Restart(ctx context.Context) error
	Ack(ctx context.Context, seq int64) error // the agent can forget events up to seq
	// Events yields the agent's events with numbers above after. It ends with an error when the link breaks, and
	// without an error when the context ends. If the error is guestapi.ErrForm, the caller must not ask again.
	Events(ctx context.Context, after int64) iter.Seq2[guestapi.Event, error]
}

// Options configures a Kernel. All fields are required unless their comment says otherwise.
type Options struct {
	ID      cellhold.KernelID
	Session cellhold.SessionID
	Boot    string // boot id of the agent
	Link    Link
	Log     *Log
	Journal Journal
	Logger  *slog.Logger
	Pending []record.Cell // cells that were not done when the earlier server ended, in order
	Fresh   bool          // the kernel is new: events of its id in the journal belong to an earlier kernel
	Before  *Kernel       // the Kernel that recorded the agent's events until now; New takes its state, not that of the journal; can be nil

	// CellOutput and SessionOutput bound output in the journal: the bytes of one cell's output, and the
	// bytes of all events of the session. Zero means 256 MiB and 1 GiB.
	CellOutput, SessionOutput int64

	// OOMKills returns the number of processes of the sandbox that the host has killed for lack of memory.
	OOMKills func(ctx context.Context) (int64, error)
	// Memory measures the peak memory of the sandbox while a cell runs. It can be nil. Begin is called for
	// cells that are not short, End for all cells. End returns 0 if the peak is unknown.
	Memory interface {
		Begin(ctx context.Context, c cellhold.CellID)
		End(ctx context.Context, c cellhold.CellID) int64
	}
	// Mirror copies the guest's /mnt/data/output to the host, before the cell is reported done.
	Mirror func(ctx context.Context) error
	// Updates updates displays of earlier cells. It gets the displays with ids of a cell that ends, and
	// returns the size of the records that it has written. It can be called twice for a cell. It can be nil.
	Updates func(ctx context.Context, c record.Cell, updates []notebook.Update) int64
	// Record returns the record of a done cell, so that later output can be added. If it is nil, such
	// output is only in the journal.
	Record func(ctx context.Context, id cellhold.CellID) (record.Cell, error)
	// Changed is called when late output was added to a record. It can be nil. It must not block.
	Changed func()
	// Refold rebuilds the records of cells from their events. It is called if an earlier server was killed before
	// it had written late output. It can be nil.
	Refold func(ctx context.Context) error
	// Done is called after a cell is done and recorded. It can be nil. It must not block.
	Done func(c record.Cell)
	// Stuck is called when the agent did not accept or end a cell in time, and when it broke the protocol. why is the end
	// of a sentence. The owner must then destroy the sandbox and call Die. It must not block.
	Stuck func(why string)
}

// Bounds and waits.
const (
	// maxQueue is the limit of queued cells. A caller that submits more does not read the answers.
	maxQueue = 1000
	// maxQueued is the limit of queued code in bytes, because it is in the server's memory.
	maxQueued = 32 << 20
	// stuckAfter is how long after a cell's deadline the agent can take to end it. Its steps (interrupt,
	// SIGINT, SIGKILL) take less than 10 s, and a loaded host is slow.
	stuckAfter = 45 * time.Second
	// acceptWithin is how long cells can wait while the agent accepts none. It is longer than the two minutes
	// that the agent allows for the start of a kernel. After these two minutes the agent reports a dead kernel.
	acceptWithin = 3 * time.Minute
	// mirrorTimeout bounds the copy of one cell's files: 256 MiB at 10 MB/s.
	mirrorTimeout = 30 * time.Second
	// ackEvery is the number of bytes of events after which the server acknowledges them. Until then the events
	// are stored twice, in the journal and in the agent's spool. The value is far below the limit of the spool,
	// and so large that acknowledgements cost little.
	ackEvery = 256 << 10
	// maxStarts limits the starts of a kernel whose process was killed for lack of memory. Each start takes a
	// second. On a busy machine, one new process in fifty was killed too.
	maxStarts = 4
	// retryFirst and retryMost bound the wait between attempts to reach the agent or the journal.
	retryFirst = 20 * time.Millisecond
	retryMost  = 2 * time.Second
)

// Kernel is one kernel of a session. Run must be running for cells to be executed.
type Kernel struct {
	o     Options
	inbox *inbox
	wake  chan struct{} // capacity 1: wakes the dispatcher

	stalled time.Time // time since which the agent accepts no cell; used by the dispatcher only

	submit sync.Mutex // gives queue and journal the same order
	rec    sync.Mutex // held while events are recorded and applied

	killedForMemory bool // the last process was killed for lack of memory; guarded by rec

	mu        sync.Mutex
	state     cellhold.KernelState // never busy: current != nil means busy
	cause     cellhold.CellStatus
	detail    string
	info      *cellhold.KernelInfo
	cursor    int64 // the agent's number of the newest recorded event
	unacked   int64 // bytes recorded since the last ack
	queue     []*entry
	current   *entry
	done      map[cellhold.CellID]*doneCell // the newest ended cells of this kernel
	order     []cellhold.CellID             // ids in done, oldest first
	late      map[cellhold.CellID]*late
	lateSince time.Time     // time since which a record lacks output; zero if no record does
	lateNext  time.Time     // earliest time of the next write of records
	oom       int64         // memory kills that were not caused by the running cell
	killed    int64         // memory kills at the last count
	gone      bool          // Die was called: the kernel stays dead
	restarts  int           // number of restarts that the agent has reported
	down      bool          // the link is broken and all events that were read from it are recorded
	changed   chan struct{} // closed and replaced when any of the above changes
}

// entry is one cell that is not done.
type entry struct {
	req     guestapi.Execute // the request to the agent; never changes
	cell    record.Cell
	folder  *notebook.Folder
	counted bool                          // memory kills were counted for it; used by the dispatcher only
	sent    bool                          // the agent has accepted it
	begun   time.Time                     // when it was sent to the agent; zero if an earlier server sent it
	usage   *cellhold.Usage               // its usage; set at its end
	sentAt  time.Time                     // time of sent, by the server's clock, because the guest can forge its times
	folded  int64                         // the agent's number of the newest event in folder
	kept    int64                         // bytes of its output in the journal
	held    int64                         // bytes that the log counts for folder
	lost    cellhold.OutputDroppedContent // its dropped output that is not reported yet
	tries   int                           // failed attempts to send it; used by the dispatcher only
	asked   int64                         // the agent's number of the event that asks for input; 0 when none is open

	ending   bool          // its end is being recorded: it must not be sent
	unwanted bool          // interrupt it as soon as the agent has accepted it
	overdue  bool          // the agent did not end it at its deadline
	done     chan struct{} // closed when the cell is done and recorded
	accepted chan struct{} // closed when the agent has accepted the cell
}

// New returns a kernel that continues where the journal ends. Pending cells get their state from the
// journal. Cells that never started will run, and started cells continue.
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

// Run reads and records events, and dispatches cells, until the context ends. It returns when its goroutines have
// stopped. The kernel process keeps running.
func (k *Kernel) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { k.read(ctx) })
	wg.Go(func() { k.record(ctx) })
	wg.Go(func() { k.dispatch(ctx) })
	wg.Wait()
}

// Start asks the agent for the kernel process. WaitIdle waits until it is ready.
func (k *Kernel) Start(ctx context.Context, r guestapi.StartKernel) error {
	return k.o.Link.Start(ctx, r)
}

// Submit queues a cell, or refuses it at once. It returns when the cell is on disk. The end of ctx does not
// stop the cell.
func (k *Kernel) Submit(ctx context.Context, c record.Cell) (record.Cell, error) {
	k.submit.Lock()
	defer k.submit.Unlock()
	position, err := k.admit(weight(c))
	if err != nil {
		return c, err
	}
	c.State, c.Submitted, c.Outputs = cellhold.CellQueued, time.Now().UTC(), []cellhold.Output{}
	ev := record.NewEvent(cellhold.EventCellQueued, k.o.ID, c.ID, cellhold.CellQueuedContent{Position: position})
	// Even if the caller has gone, the cell must be either recorded or refused.
	if err := k.o.Log.Append(context.WithoutCancel(ctx), []record.Event{ev}, &c); err != nil {
		return c, cellhold.Wrap(cellhold.Unavailable, err, "The cell could not be recorded, so it was not run. Check the free space on the server's disk.")
	}
	k.mu.Lock()
	k.queue = append(k.queue, newEntry(c))
	k.mu.Unlock()
	signal(k.wake)
	c.Position = position
	return c, nil
}

// admit returns the number of cells before a new one, or an error if the cell cannot be queued now.
func (k *Kernel) admit(size int) (position int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range k.queue {
		size += weight(e.cell)
	}
	if k.state == cellhold.KernelDead {
		return 0, k.deadError()
	}
	if k.gone {
		return 0, cellhold.Errorf(cellhold.Conflict, "The kernel is being shut down.")
	}
	if len(k.queue) >= maxQueue || size > maxQueued {
		return 0, cellhold.Errorf(cellhold.Exhausted, "%d cells are queued for this kernel; the limits are %d cells and %d MiB of code. Wait until some are done.", len(k.queue), maxQueue, maxQueued>>20)
	}
	position = len(k.queue)
	if k.current != nil {
		position++
	}
	return position, nil
}

// weight returns the bytes of a queued cell: its code, and the parts of a client's request.
func weight(c record.Cell) int {
	if c.Request == nil {
		return len(c.Code)
	}
	return len(c.Code) + len(c.Request.Header) + len(c.Request.Metadata) + len(c.Request.UserExpressions)
}

// deadError returns the error of a dead kernel, with its cause and the remedy. The caller must hold mu.
func (k *Kernel) deadError() error {
	detail := k.detail
	if detail == "" {
		detail = "The kernel is dead."
	}
	return cellhold.Errorf(cellhold.Conflict, "%s Restart the kernel to continue; its variables are lost.", detail)
}

func newEntry(c record.Cell) *entry {
	req := guestapi.Execute{Cell: c.ID, Code: c.Code, Timeout: c.Timeout, AllowStdin: c.AllowStdin, Figures: c.Figures, Before: c.Before, After: c.After}
	if q := c.Request; q != nil {
		req.Request = &guestapi.ExecuteRequest{Header: q.Header, Metadata: q.Metadata, Silent: q.Silent, StoreHistory: q.StoreHistory, UserExpressions: q.UserExpressions}
	}
	return &entry{req: req, cell: c, folder: notebook.New(notebook.Bounds{}), done: make(chan struct{}), accepted: make(chan struct{})}
}

// Restart replaces the kernel process and waits until the new one is idle. The running cell ends, queued
// cells are cancelled, and variables are lost.
func (k *Kernel) Restart(ctx context.Context) error {
	outOfMemory := k.died(cellhold.StatusOOM)
	err := k.replace(ctx)
	// The memory of a process that was killed for lack of memory is freed gradually. The new process can be
	// killed in that time.
	for try := 1; try < maxStarts && err != nil && outOfMemory && k.died(cellhold.StatusOOM, cellhold.StatusSignal); try++ {
		err = k.replace(ctx)
	}
	return err
}

// died reports whether the kernel is dead for one of these causes.
func (k *Kernel) died(of ...cellhold.CellStatus) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state == cellhold.KernelDead && slices.Contains(of, k.cause)
}

// replace is one attempt of Restart.
func (k *Kernel) replace(ctx context.Context) error {
	if err := k.cancelQueue(ctx, cellhold.StatusCancelled, "The kernel was restarted before the cell could run."); err != nil {
		return err
	}
	k.mu.Lock()
	state, cause, detail, restarts := k.state, k.cause, k.detail, k.restarts
	if state == cellhold.KernelRestarting {
		restarts-- // the agent ignores the request and reports only the restart in progress
	}
	k.mu.Unlock()
	k.setState(cellhold.KernelRestarting, "", "")
	if err := k.o.Link.Restart(ctx); err != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.state == cellhold.KernelRestarting && k.restarts == restarts {
			k.state, k.cause, k.detail = state, cause, detail
			k.notify()
		}
		return err
	}
	return k.waitState(ctx, restarts+1)
}

// WaitIdle waits until the kernel can run cells. It fails if the kernel never will.
func (k *Kernel) WaitIdle(ctx context.Context) error { return k.waitState(ctx, 0) }

// waitState is like WaitIdle, but it first waits until the agent has reported the given number of restarts.
func (k *Kernel) waitState(ctx context.Context, restarts int) error {
	for {
		k.mu.Lock()
		changed := k.changed
		settled := k.gone || k.restarts >= restarts && (k.state == cellhold.KernelIdle || k.finallyDead())
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

// State returns the state of the kernel.
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

// Info returns the kernel's description of itself, or nil before it was ready for the first time.
func (k *Kernel) Info() *cellhold.KernelInfo {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.info
}

// Busy reports whether a cell runs or is queued.
func (k *Kernel) Busy() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current != nil || len(k.queue) > 0
}

// Idle reports whether no cell runs or is queued. It waits until a recorded end is applied too, so a caller that has seen
// the end of the last cell finds the kernel idle.
func (k *Kernel) Idle() bool {
	k.rec.Lock()
	defer k.rec.Unlock()
	return !k.Busy()
}

// Cell returns a cell that is not done, with its outputs so far.
func (k *Kernel) Cell(id cellhold.CellID) (record.Cell, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.find(id)
	if e == nil {
		return record.Cell{}, false
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

// Wait waits until a cell is done, and returns it. It returns false if the cell was done before the
// call or was never submitted. If ctx ends first, it returns the unfinished cell and the error of
// ctx.
func (k *Kernel) Wait(ctx context.Context, id cellhold.CellID) (record.Cell, bool, error) {
	k.mu.Lock()
	e := k.find(id)
	k.mu.Unlock()
	if e == nil {
		return record.Cell{}, false, nil
	}
	select {
	case <-e.done:
		return e.cell, true, nil // not modified after done is closed
	case <-ctx.Done():
		c, ok := k.Cell(id)
		if !ok { // ended at the same moment
			return e.cell, true, nil
		}
		return c, true, ctx.Err()
	}
}

// find returns the entry of a cell that is not done. The caller must hold mu.
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

// setState changes the state and wakes its waiters.
func (k *Kernel) setState(s cellhold.KernelState, cause cellhold.CellStatus, detail string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state, k.cause, k.detail = s, cause, detail
	k.notify()
}

// notify wakes all waiters for a change. The caller must hold mu.
func (k *Kernel) notify() {
	close(k.changed)
	k.changed = make(chan struct{})
	signal(k.wake)
}
