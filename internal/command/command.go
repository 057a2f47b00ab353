// Package command follows, from the host, the commands that run in one sandbox.
//
// The agent in the guest starts them, keeps their deadlines and numbers what they put out; this room
// brings that into the session's log, where each event gets its public number, and keeps a record of
// each command. The agent's number is kept with the event, so a replay after the death of the server
// adds nothing twice. The host adds only what it alone can know: that memory ran out, that the sandbox
// is gone. No command is left without its last event.
//
// It refuses to start a command twice, and to decide who may run what.
//
// Lock order: Runner.rec, the log's own, Runner.mu.
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
)

// Link is the way to the agent's end of the commands.
type Link interface {
	Start(ctx context.Context, id cellhold.CommandID, r guestapi.StartCommand) error // the same command twice runs once
	Input(ctx context.Context, id cellhold.CommandID, b []byte, offset int64, eof bool) (taken int64, err error)
	Signal(ctx context.Context, id cellhold.CommandID, number int) error
	Resize(ctx context.Context, id cellhold.CommandID, t cellhold.Terminal) error
	Kill(ctx context.Context, id cellhold.CommandID) error
	Ack(ctx context.Context, seq int64) error // events up to seq may be forgotten
	// Events yields the agent's events after that number, and goes on until the link breaks,
	// which is an error, or the context ends.
	Events(ctx context.Context, after int64) iter.Seq2[guestapi.Event, error]
}

// Log numbers events and shows them to watchers.
type Log interface {
	// AppendWith numbers the events, has keep write them together with what they changed, and
	// then shows them. When keep fails, nothing has happened.
	AppendWith(ctx context.Context, evs []cellhold.Event, keep func(context.Context, []cellhold.Event) error) error
	// Kept is how many bytes all events of the session take.
	Kept() int64
}

// Journal keeps what happened. All methods may be called from any goroutine.
type Journal interface {
	// AppendCommands keeps events together with the records of the commands that they changed: all
	// of it or, when it returns an error, nothing.
	AppendCommands(ctx context.Context, id cellhold.SessionID, evs []cellhold.Event, commands ...cellhold.Command) error
	// Commands yields all records in the order of their start; a damaged one is yielded as an error
	// with its id, and the rest follows.
	Commands(ctx context.Context, id cellhold.SessionID) iter.Seq2[cellhold.Command, error]
	// Read yields the events after that number; a damaged one comes as its number and an error.
	Read(ctx context.Context, id cellhold.SessionID, after int64) iter.Seq2[cellhold.Event, error]
	// Cursor returns the newest number of the agent's own that was kept. Commands have no kernel.
	Cursor(ctx context.Context, id cellhold.SessionID, k cellhold.KernelID, boot string) (int64, error)
}

// Options configures a Runner. All fields are required unless it says otherwise.
type Options struct {
	Session cellhold.SessionID
	Boot    string // the agent's life, from its Info; empty when there is no sandbox any more
	Link    Link   // nil when there is no sandbox any more
	Log     Log
	Journal Journal
	Logger  *slog.Logger
	Known   []cellhold.CommandID // what the agent knows of; others that were running are lost

	// Output and SessionOutput bound the bytes in the journal of one command's output, and of all
	// events of the session from which on there is no room for output. Zero means 256 MiB and 1 GiB.
	Output, SessionOutput int64

	// OOMKills tells how many processes of the sandbox the host has killed for want of memory. May
	// be nil.
	OOMKills func(ctx context.Context) (int64, error)
	// Done is called after a command is done and recorded. May be nil. It must not block.
	Done func()
}

// Bounds and waits.
const (
	defaultOutput        = 256 << 20
	defaultSessionOutput = 1 << 30
	// eventCost is what an event costs in the journal beside its content.
	eventCost = 256
	// ackEvery is how many bytes of events are kept twice, here and in the agent's spool, before
	// the agent is told to forget: far below its bound, and rare enough to cost nothing.
	ackEvery = 256 << 10
	// retryFirst and retryMost bound the wait between attempts to reach the agent or the journal,
	// and startTries is how often a command is sent: the link may be resetting.
	retryFirst = 20 * time.Millisecond
	retryMost  = 2 * time.Second
	startTries = 3
	// drainWait bounds the wait for what a dead sandbox has left in the link.
	drainWait = 2 * time.Second
	// inputPiece is how much input is sent at once: what a command takes without reading.
	inputPiece = 64 << 10
)

// Runner follows the commands of one sandbox. Run must be running for their events to come.
type Runner struct {
	o Options

	rec sync.Mutex // held while events are recorded and applied

	mu      sync.Mutex
	running map[cellhold.CommandID]*entry
	cursor  int64 // the agent's number of the newest event that was seen to
	unacked int64 // bytes since the last ack
	gone    bool  // Die was called: nothing starts any more
	down    bool  // the link is broken and everything read from it is recorded
	changed chan struct{}
}

// entry is one command that is not done.
type entry struct {
	command        cellhold.Command
	stdout, stderr ends
	kept           int64                         // bytes of its output in the journal
	lost           cellhold.OutputDroppedContent // its output that found no room there
	oom            int64                         // memory kills when it began
	turn           chan struct{}                 // capacity 1: held by whoever sends input
	done           chan struct{}                 // closed when the command is done and recorded
}

func newEntry(c cellhold.Command) *entry {
	return &entry{command: c, turn: make(chan struct{}, 1), done: make(chan struct{})}
}

// New returns a runner that goes on where the journal ends. Commands that were running and that the
// agent does not know are ended as lost.
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
	return r, r.endAll(ctx, lost, cellhold.CommandLost, "The sandbox was gone, or had not got the command, when the server came back.")
}

// Start starts a command, or refuses it at once. It returns when the command runs, and when it could
// not be started, which is its end. Watching ends with ctx, running does not.
func (r *Runner) Start(ctx context.Context, c cellhold.Command, env map[string]string) (cellhold.Command, error) {
	ctx = context.WithoutCancel(ctx) // once begun, it must be recorded and sent, not half of it
	c.Session, c.State, c.Started, c.Boot = r.o.Session, cellhold.CommandRunning, time.Now().UTC(), r.o.Boot
	e := newEntry(c)
	e.oom = r.oomKills(ctx)
	if err := r.admit(e); err != nil {
		return c, err
	}
	if err := r.begin(ctx, e); err != nil {
		return c, err
	}
	err := r.send(ctx, c.ID, guestapi.StartCommand{Line: c.Line, Args: c.Args, Env: env, Dir: c.Dir, Timeout: c.Timeout, Terminal: c.Terminal})
	if err != nil {
		r.o.Logger.Warn("starting a command", "command", c.ID, "err", err)
		_ = r.o.Link.Kill(ctx, c.ID) // the answer may have been lost, and not the command
		why := "The sandbox did not take the command."
		if x, ok := errors.AsType[*cellhold.Error](err); ok && x.Kind != cellhold.Internal {
			why = x.Message
		}
		err = errors.Join(err, r.endAll(ctx, []cellhold.CommandID{c.ID}, cellhold.CommandLost, why))
	}
	got, _ := r.Get(c.ID)
	if got.ID == "" { // it ended meanwhile
		got = e.command
	}
	return got, err
}

// admit takes a place for a command.
func (r *Runner) admit(e *entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone || r.o.Link == nil {
		return errNoSandbox
	}
	if len(r.running) >= guestapi.MaxCommands {
		return cellhold.Errorf(cellhold.Exhausted, "%d commands run in this session already, which is the most. End one of them.", len(r.running))
	}
	r.running[e.command.ID] = e
	return nil
}

var errNoSandbox = cellhold.Errorf(cellhold.Unavailable, "The session has no sandbox now. Restart its kernel, which gives it a new one.")

// begin records the start of a command, or gives its place back.
func (r *Runner) begin(ctx context.Context, e *entry) error {
	r.rec.Lock()
	defer r.rec.Unlock()
	r.mu.Lock()
	if r.running[e.command.ID] != e {
		r.mu.Unlock()
		return errNoSandbox // the sandbox has ended meanwhile
	}
	c := e.command
	r.mu.Unlock()
	evs := []cellhold.Event{newEvent(cellhold.EventCommandStarted, c.ID, cellhold.CommandStartedContent{
		Line: c.Line, Args: c.Args, Dir: c.Dir, Terminal: c.Terminal})}
	err := r.append(ctx, evs, &c)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		delete(r.running, c.ID)
		return cellhold.Wrap(cellhold.Unavailable, err, "The command could not be recorded, so it was not run. Is the server's disk full?")
	}
	e.command = c
	return nil
}

// send sends a command to the agent, again when the answer did not come.
func (r *Runner) send(ctx context.Context, id cellhold.CommandID, s guestapi.StartCommand) error {
	wait := retryFirst
	for try := 1; ; try++ {
		err := r.o.Link.Start(ctx, id, s)
		if err == nil || cellhold.KindOf(err) != cellhold.Unavailable || try == startTries || !pause(ctx, wait) {
			return err
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

func newEvent(t cellhold.EventType, id cellhold.CommandID, content any) cellhold.Event {
	ev := cellhold.NewEvent(t, "", "", content)
	ev.Command = id
	return ev
}

// Get returns a command that is not done, with its output so far.
func (r *Runner) Get(id cellhold.CommandID) (cellhold.Command, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.running[id]
	if e == nil {
		return cellhold.Command{}, false
	}
	return e.snapshot(), true
}

// snapshot is the command with its output so far. The caller holds mu.
func (e *entry) snapshot() cellhold.Command {
	c := e.command
	c.Stdout, c.Stderr = e.stdout.output(), e.stderr.output()
	c.Dropped += e.lost.Bytes
	return c
}

// Wait waits until a command that was not done is, and returns it; false when there is no such command
// here, because it is done long since or never was. When ctx ends first it returns the command as it is
// and the context's error.
func (r *Runner) Wait(ctx context.Context, id cellhold.CommandID) (cellhold.Command, bool, error) {
	r.mu.Lock()
	e := r.running[id]
	r.mu.Unlock()
	if e == nil {
		return cellhold.Command{}, false, nil
	}
	select {
	case <-e.done:
		return e.command, true, nil // not written to after done is closed
	case <-ctx.Done():
		c, ok := r.Get(id)
		if !ok { // done at the same moment
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

// Has reports whether that command runs.
func (r *Runner) Has(id cellhold.CommandID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running[id] != nil
}

// Input passes on standard input that begins at offset, some of which may have been sent before; a
// negative offset means the place after all that was sent. It returns how much the command has been
// given since its beginning.
func (r *Runner) Input(ctx context.Context, id cellhold.CommandID, b []byte, offset int64, eof bool) (int64, error) {
	r.mu.Lock()
	e := r.running[id]
	r.mu.Unlock()
	if e == nil {
		return 0, errOver
	}
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
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

// Kill ends a command with what it started, and returns when its end is recorded. One that is over is
// no error.
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
