// Package command follows the commands of one sandbox from the host.
//
// The agent in the guest starts commands, keeps their deadlines and numbers their output. This package
// records the agent's events in the session's log, which gives each event its public number. It also keeps
// a record of each command. The agent's number is stored with the event, so a replay after a crash of the
// server adds nothing twice. The host adds only facts that it alone knows: that memory ran out, or that the
// sandbox is gone. Every started command gets an event with its end, even if the sandbox is gone.
//
// It does not start a command twice, and does not decide who can run commands.
//
// Lock order: Runner.rec, the locks of the log, Runner.mu.
package command

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"cellhold"
	"cellhold/internal/guestapi"
	"cellhold/internal/pause"
	"cellhold/internal/record"
)

// Link has the calls to the agent about commands.
type Link interface {
	Start(ctx context.Context, id cellhold.CommandID, r guestapi.StartCommand) (pid int, err error) // the same command twice runs once
	Input(ctx context.Context, id cellhold.CommandID, b []byte, offset int64, eof bool) (taken int64, err error)
	Signal(ctx context.Context, id cellhold.CommandID, number int) error
	Resize(ctx context.Context, id cellhold.CommandID, t cellhold.Terminal) error
	Kill(ctx context.Context, id cellhold.CommandID) error
	Ack(ctx context.Context, seq int64) error // the agent can forget events up to seq
	// Events yields the agent's events after a number. It ends when the link breaks, with an error, or when
	// the context ends. If the error is guestapi.ErrForm, the caller must not ask again.
	Events(ctx context.Context, after int64) iter.Seq2[guestapi.Event, error]
}

// Log numbers events and shows them to watchers.
type Log interface {
	// AppendWith numbers the events, calls keep to write them together with other changes, and then shows
	// them. If keep fails, nothing has changed.
	AppendWith(ctx context.Context, evs []record.Event, keep func(context.Context, []record.Event) error) error
	// Kept returns the bytes that all events of the session take.
	Kept() int64
}

// Journal stores events and records of commands. Its methods are safe for concurrent use.
type Journal interface {
	// AppendCommands stores events and the records of the commands that they changed. If it returns an
	// error, nothing is stored.
	AppendCommands(ctx context.Context, id cellhold.SessionID, evs []record.Event, commands ...record.Command) error
	// Commands yields all records in the order of their start. For a damaged record it yields an error and
	// a command with only its id, and continues.
	Commands(ctx context.Context, id cellhold.SessionID) iter.Seq2[record.Command, error]
	// Read yields the events after a number. For a damaged event it yields the number and an error.
	Read(ctx context.Context, id cellhold.SessionID, after int64) iter.Seq2[record.Event, error]
	// Cursor returns the highest of the agent's own numbers that is stored. Commands have no kernel.
	Cursor(ctx context.Context, id cellhold.SessionID, k cellhold.KernelID, boot string) (int64, error)
}

// Options configures a Runner. All fields are required unless their comment says otherwise.
type Options struct {
	Session cellhold.SessionID
	Boot    string // boot of the agent, from its Info; empty when the sandbox is gone
	Link    Link   // nil when the sandbox is gone
	Log     Log
	Journal Journal
	Logger  *slog.Logger
	Known   []cellhold.CommandID // the commands that the agent knows; other running commands are lost

	// Output and SessionOutput bound output in the journal: the bytes of one command's output, and the
	// bytes of all events of the session. Zero means 256 MiB and 1 GiB.
	Output, SessionOutput int64

	// OOMKills returns the number of processes of the sandbox that the host has killed for lack of memory. It can be nil.
	OOMKills func(ctx context.Context) (int64, error)
	// Done is called after a command is done and recorded. It can be nil. It must not block.
	Done func()
	// Stuck is called when the agent broke the protocol. why is the end of a sentence. The owner must then destroy the
	// sandbox and call Die. It must not block. It can be nil if there is no Link.
	Stuck func(why string)
}

// Bounds and waits.
const (
	defaultOutput        = 256 << 20
	defaultSessionOutput = 1 << 30
	// eventCost is the size of an event in the journal without its content.
	eventCost = 256
	// ackEvery is the number of bytes of events after which the server acknowledges them. Until then the events
	// are stored twice, in the journal and in the agent's spool. The value is far below the limit of the spool,
	// and so large that acknowledgements cost little.
	ackEvery = 256 << 10
	// retryFirst and retryMost bound the wait between attempts to reach the agent or the journal. startTries is the
	// number of attempts to send a command. An attempt fails while the link is being reset.
	retryFirst = 20 * time.Millisecond
	retryMost  = 2 * time.Second
	startTries = 3
	// drainWait bounds the wait for the last events of a dead sandbox in the link.
	drainWait = 2 * time.Second
	// inputPiece is the amount of input that is sent at once. It is below the size of the agent's buffer, so the agent
	// can accept it before the command reads.
	inputPiece = 64 << 10
)

// Runner follows the commands of one sandbox. It gets their events only while Run runs.
type Runner struct {
	o Options

	rec sync.Mutex // held while events are recorded and applied

	mu      sync.Mutex
	running map[cellhold.CommandID]*entry
	cursor  int64 // the agent's number of the newest event that was handled
	unacked int64 // bytes since the last ack
	gone    bool  // Die was called: no command starts any more
	down    bool  // the link is broken and all events that were read from it are recorded
	changed chan struct{}
}

// entry is one command that is not done.
type entry struct {
	command        record.Command
	stdout, stderr ends
	kept           int64                         // bytes of its output in the journal
	lost           cellhold.OutputDroppedContent // its output for which the journal had no space
	oom            int64                         // memory kills before its start
	sending        chan struct{}                 // capacity 1: held by the request that sends input
	done           chan struct{}                 // closed when the command is done and recorded
}

func newEntry(c record.Command) *entry {
	return &entry{command: c, sending: make(chan struct{}, 1), done: make(chan struct{})}
}

// New returns a runner that continues where the journal ends. Running commands that the agent does not know
// end as lost.
func New(ctx context.Context, o Options) (*Runner, error) {
	o.Output = cmp.Or(o.Output, defaultOutput)
	o.SessionOutput = cmp.Or(o.SessionOutput, defaultSessionOutput)
	r := &Runner{o: o, running: map[cellhold.CommandID]*entry{}, down: true, changed: make(chan struct{})}
	var err error
	if r.cursor, err = o.Journal.Cursor(ctx, o.Session, "", o.Boot); err != nil {
		return nil, err
	}
	if err := r.recover(ctx); err != nil {
		return nil, err
	}
	var lost []cellhold.CommandID
	for id, e := range r.running {
		if e.command.Boot != o.Boot || !slices.Contains(o.Known, id) {
			lost = append(lost, id)
		}
	}
	return r, r.endAll(ctx, lost, cellhold.CommandLost, "The sandbox was gone, or did not have the command, when the server restarted.")
}

// Start starts a command, or refuses it at once. It returns when the command runs. If the command could not be
// started, Start returns when this end is recorded. The end of ctx does not stop the command.
func (r *Runner) Start(ctx context.Context, c record.Command, env map[string]string) (record.Command, error) {
	ctx = context.WithoutCancel(ctx) // from here on, the command must be recorded and sent, or neither
	c.Session, c.State, c.Started, c.Boot = r.o.Session, cellhold.CommandRunning, time.Now().UTC(), r.o.Boot
	e := newEntry(c)
	e.oom = r.oomKills(ctx)
	if err := r.admit(e); err != nil {
		return c, err
	}
	if err := r.begin(ctx, e); err != nil {
		return c, err
	}
	pid, err := r.send(ctx, c.ID, guestapi.StartCommand{Line: c.Line, Args: c.Args, Env: env, Dir: c.Dir, Timeout: c.Timeout, Terminal: c.Terminal})
	if err != nil {
		r.o.Logger.Warn("start a command", "command", c.ID, "err", err)
		_ = r.o.Link.Kill(ctx, c.ID) // the command may have started although the answer was lost
		why := "The sandbox did not accept the command."
		if x, ok := errors.AsType[*cellhold.Error](err); ok && x.Kind != cellhold.Internal {
			why = x.Message
		}
		err = errors.Join(err, r.endAll(ctx, []cellhold.CommandID{c.ID}, cellhold.CommandLost, why))
	}
	return r.started(ctx, e, pid), err
}

// started records the process id of a command, and returns the command.
func (r *Runner) started(ctx context.Context, e *entry, pid int) record.Command {
	r.rec.Lock()
	defer r.rec.Unlock()
	r.mu.Lock()
	running := r.running[e.command.ID] == e
	if running {
		e.command.PID = pid
	}
	c := e.command
	if running {
		c = e.snapshot()
	}
	r.mu.Unlock()
	if !running { // it has ended already, and other goroutines read e.command
		c.PID = pid
		return c
	}
	if err := r.o.Journal.AppendCommands(ctx, r.o.Session, nil, c); err != nil {
		r.o.Logger.Warn("record the process id of a command", "command", c.ID, "err", err) // its end records the id
	}
	return c
}

// admit adds a command if fewer than the limit run.
func (r *Runner) admit(e *entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone || r.o.Link == nil {
		return errNoSandbox
	}
	if len(r.running) >= guestapi.MaxCommands {
		return cellhold.Errorf(cellhold.Exhausted, "The session already runs %d commands; the limit is %d. End one of them.", len(r.running), guestapi.MaxCommands)
	}
	r.running[e.command.ID] = e
	return nil
}

var errNoSandbox = cellhold.Errorf(cellhold.Unavailable, "The session has no sandbox now. Restart its kernel, which gives it a new one.")

// begin records the start of a command. If that fails, it removes the command again.
func (r *Runner) begin(ctx context.Context, e *entry) error {
	r.rec.Lock()
	defer r.rec.Unlock()
	r.mu.Lock()
	if r.running[e.command.ID] != e {
		r.mu.Unlock()
		return errNoSandbox // the sandbox has ended since admit
	}
	c := e.command
	r.mu.Unlock()
	evs := []record.Event{newEvent(cellhold.EventCommandStarted, c.ID, cellhold.CommandStartedContent{
		Line: c.Line, Args: c.Args, Dir: c.Dir, Terminal: c.Terminal})}
	err := r.append(ctx, evs, func() {}, &c)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		delete(r.running, c.ID)
		return cellhold.Wrap(cellhold.Unavailable, err, "The command could not be recorded, so it was not run. Is the server's disk full?")
	}
	e.command = c
	return nil
}

// send sends a command to the agent, and again if the answer did not arrive.
func (r *Runner) send(ctx context.Context, id cellhold.CommandID, s guestapi.StartCommand) (pid int, err error) {
	wait := retryFirst
	for try := 1; ; try++ {
		pid, err := r.o.Link.Start(ctx, id, s)
		if err == nil || cellhold.KindOf(err) != cellhold.Unavailable || try == startTries || !pause.For(ctx, wait) {
			return pid, err
		}
		wait *= 2
	}
}

func (r *Runner) oomKills(ctx context.Context) int64 {
	if r.o.OOMKills == nil {
		return 0
	}
	n, err := r.o.OOMKills(ctx)
	if err != nil {
		return 0
	}
	return n
}

func newEvent(t cellhold.EventType, id cellhold.CommandID, content any) record.Event {
	ev := record.NewEvent(t, "", "", content)
	ev.Command = id
	return ev
}

// Get returns a command that is not done, with its output so far.
func (r *Runner) Get(id cellhold.CommandID) (record.Command, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.running[id]
	if e == nil {
		return record.Command{}, false
	}
	return e.snapshot(), true
}

// snapshot returns the command with its output so far. The caller must hold mu.
func (e *entry) snapshot() record.Command {
	c := e.command
	c.Stdout, c.Stderr = e.stdout.output(), e.stderr.output()
	c.Dropped += e.lost.Bytes
	return c
}

// Wait waits until a command is done, and returns it. It returns false if there is no such command, because
// it was done before or never existed. If ctx ends first, it returns the unfinished command and the error
// of ctx.
func (r *Runner) Wait(ctx context.Context, id cellhold.CommandID) (record.Command, bool, error) {
	r.mu.Lock()
	e := r.running[id]
	r.mu.Unlock()
	if e == nil {
		return record.Command{}, false, nil
	}
	select {
	case <-e.done:
		return e.command, true, nil // not modified after done is closed
	case <-ctx.Done():
		c, ok := r.Get(id)
		if !ok { // ended at the same moment
			return e.command, true, nil
		}
		return c, true, ctx.Err()
	}
}

// Busy reports whether a command runs.
func (r *Runner) Busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.running) > 0
}

// Running returns the commands that run, oldest first.
func (r *Runner) Running() []cellhold.Command {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]cellhold.Command, 0, len(r.running))
	for _, e := range r.running {
		list = append(list, e.command.Command)
	}
	slices.SortFunc(list, func(a, b cellhold.Command) int { return a.Started.Compare(b.Started) })
	return list
}

// Has reports whether a command with that id runs.
func (r *Runner) Has(id cellhold.CommandID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running[id] != nil
}

// Input passes on standard input that begins at offset. Bytes that were sent before are skipped. A negative
// offset means the end of all sent bytes. It returns the number of bytes that the command has received
// since its start.
func (r *Runner) Input(ctx context.Context, id cellhold.CommandID, b []byte, offset int64, eof bool) (int64, error) {
	r.mu.Lock()
	e := r.running[id]
	r.mu.Unlock()
	if e == nil {
		return 0, errOver
	}
	select {
	case e.sending <- struct{}{}:
		defer func() { <-e.sending }()
	case <-e.done:
		return 0, errOver
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	for {
		piece := b[:min(len(b), inputPiece)]
		b = b[len(piece):]
		taken, err := r.o.Link.Input(ctx, id, piece, offset, eof && len(b) == 0)
		if err != nil || len(b) == 0 {
			return taken, err
		}
		if offset >= 0 {
			taken = offset + int64(len(piece))
		}
		offset = taken
	}
}

var errOver = cellhold.Errorf(cellhold.Conflict, "The command has ended.")

// Signal sends a signal to the process group of a command.
func (r *Runner) Signal(ctx context.Context, id cellhold.CommandID, number int) error {
	if !r.Has(id) {
		return errOver
	}
	return r.o.Link.Signal(ctx, id, number)
}

// Resize sets the size of a command's terminal.
func (r *Runner) Resize(ctx context.Context, id cellhold.CommandID, t cellhold.Terminal) error {
	if !r.Has(id) {
		return errOver
	}
	return r.o.Link.Resize(ctx, id, t)
}

// Kill ends a command and its processes, and returns when its end is recorded. If the command has ended,
// Kill returns no error.
func (r *Runner) Kill(ctx context.Context, id cellhold.CommandID) error {
	if !r.Has(id) {
		return nil
	}
	if err := r.o.Link.Kill(ctx, id); err != nil {
		return err
	}
	_, _, err := r.Wait(ctx, id)
	return err
}
